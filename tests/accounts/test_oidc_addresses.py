"""Where the issuer's keys are fetched: what an issuer says must not have us call the operator's network."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import URLError

import pytest

from accounts import oidc
from aichat.core.outbound import public_addresses

KEYS = {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}


class Keys:
    """A server on this machine that publishes `answer`; `asked` are the paths it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: bytes = json.dumps(KEYS).encode()
        keys = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                keys.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(keys.answer)))
                self.end_headers()
                self.wfile.write(keys.answer)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def keys(settings: Any) -> Iterator[Keys]:
    settings.OIDC_ISSUER, settings.ALLOW_PRIVATE_OIDC = "https://sso.example", False
    found = Keys()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "0"])
def test_keys_on_this_machine_are_not_fetched_for_an_issuer_of_the_internet(keys: Keys, host: str) -> None:
    with pytest.raises(URLError, match="is a private address"):
        oidc.get_json(f"http://{host}:{keys.port}/keys")
    assert keys.asked == []


def test_the_operator_may_allow_an_issuer_in_the_own_network(keys: Keys, settings: Any) -> None:
    settings.ALLOW_PRIVATE_OIDC = True
    assert oidc.get_json(f"http://localhost:{keys.port}/keys") == KEYS


def test_an_issuer_without_tls_is_one_of_the_own_network(keys: Keys, settings: Any) -> None:
    settings.OIDC_ISSUER = f"http://localhost:{keys.port}"
    assert oidc.get_json(f"{settings.OIDC_ISSUER}/keys") == KEYS


def test_the_address_that_was_checked_is_the_one_that_is_connected(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that says another address when it is asked again is asked once."""
    said = ["10.0.0.1", "127.0.0.1"]

    def resolve(host: str, port: int, *_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (said.pop(), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(public_addresses, "is_public", lambda address: address == "127.0.0.1")
    assert oidc.get_json(f"http://sso.example:{keys.port}/keys") == KEYS
    assert len(said) == 1


def test_a_proxy_of_the_environment_is_no_way_round(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{keys.port}")
    with pytest.raises(URLError, match="is a private address"):
        oidc.get_json("http://127.0.0.1:9/keys")
    assert keys.asked == []


@pytest.mark.parametrize(
    "answer",
    ["[]", '"x"', "nul", "[" * 100_000, '{"issuer":1}', '{"issuer":"https://sso.example","jwks_uri":1}',
     '{"issuer":"https://sso.example","jwks_uri":"https://a b/"}', '{"issuer":"https://sso.example","jwks_uri":"https://[/"}'],
)  # fmt: skip
def test_an_issuer_that_answers_nonsense_is_one_that_can_t_be_reached(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    keys.answer = answer.encode()
    asked, right = [], oidc.get_json

    def get_json(address: str) -> Any:
        asked.append(address)
        if len(asked) > 1:  # the address of the keys, as it was said
            return right(address)
        return json.loads(keys.answer)

    monkeypatch.setattr(oidc, "get_json", get_json)
    issuer = oidc.IssuerKeys("https://sso.example")
    with pytest.raises(oidc.IdentityProviderUnavailable):
        issuer.named("any")
