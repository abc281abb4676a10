"""Clients reach an endpoint by whatever credential header, address, encoding and origin their SDK uses."""

import gzip
import json
import zlib
from typing import Any

import httpx
import openai
import pytest

from accounts.models import AccessToken
from tests.conftest import Actor

HELLO: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
COMPLETIONS = "/v1/chat/completions"
KEY_HEADERS = ("Authorization", "x-api-key", "api-key")


def sent_in(header: str, secret: str) -> dict[str, str]:
    return {header: f"Bearer {secret}" if header == "Authorization" else secret}


@pytest.mark.parametrize("header", KEY_HEADERS)
@pytest.mark.parametrize("path", [COMPLETIONS, "/v1/models", "/api/v1/credits"])
def test_a_key_is_taken_from_any_of_the_three_headers(http: httpx.Client, alice: Actor, header: str, path: str) -> None:
    body = HELLO if path == COMPLETIONS else None
    answer = http.request("POST" if body else "GET", path, json=body, headers=sent_in(header, alice.key))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", [COMPLETIONS, "/api/v1/credits"])
def test_two_keys_that_differ_are_refused_and_two_that_agree_are_one(
    http: httpx.Client, alice: Actor, bob: Actor, path: str
) -> None:
    method, body = ("POST", HELLO) if path == COMPLETIONS else ("GET", None)
    agreeing = {**sent_in("Authorization", alice.key), **sent_in("x-api-key", alice.key)}
    assert http.request(method, path, json=body, headers=agreeing).status_code == 200
    for first, second in (("Authorization", "x-api-key"), ("x-api-key", "api-key"), ("Authorization", "api-key")):
        headers = {**sent_in(first, alice.key), **sent_in(second, bob.key)}
        refused = http.request(method, path, json=body, headers=headers)
        assert refused.status_code == 401 and "different credentials" in refused.json()["error"]["message"]


def test_a_revoked_key_is_refused_in_every_header(http: httpx.Client, alice: Actor) -> None:
    AccessToken.objects.filter(user=alice.user).delete()
    for header in KEY_HEADERS:
        refused = http.post(COMPLETIONS, json=HELLO, headers=sent_in(header, alice.key))
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/",
        "/chat/completions",
        "/chat/completions/",
        "/v1/v1/chat/completions",
        "/openai/v1/chat/completions",
        "/openai/deployments/demo/chat/completions?api-version=2026-10-01",
        "/api/v1/chat/",
    ],
)
def test_an_address_a_client_makes_of_its_base_url_is_served(http: httpx.Client, alice: Actor, path: str) -> None:
    body = {"message": "Hello"} if "/api/" in path else HELLO
    answer = http.post(path, json=body, headers=alice.headers)
    assert answer.status_code == 200 and "You wrote: Hello" in answer.text


@pytest.mark.parametrize("path", ["/models", "/v1/models/", "/openai/models?api-version=1", "/openai/v1/models/demo"])
def test_models_are_listed_at_every_address_whatever_is_accepted(http: httpx.Client, alice: Actor, path: str) -> None:
    answer = http.get(path, headers={**alice.headers, "Accept": "text/event-stream"})
    assert answer.status_code == 200 and "demo" in answer.text


def test_an_azure_deployment_decides_the_model_whatever_the_body_says(http: httpx.Client, alice: Actor) -> None:
    path = "/openai/deployments/{}/chat/completions"
    for body in ({**HELLO, "model": "gpt-99"}, {"messages": HELLO["messages"]}):
        answer = http.post(path.format("demo"), json=body, headers={"api-key": alice.key})
        assert answer.json()["model"] == "demo"
    unknown = http.post(path.format("gpt-99"), json=HELLO, headers={"api-key": alice.key})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("query", ["deployment=", "deployment=&x=1", "deployment=%20"])
def test_an_empty_deployment_in_the_query_decides_nothing(http: httpx.Client, alice: Actor, query: str) -> None:
    assert http.post(f"{COMPLETIONS}?{query}", json=HELLO, headers=alice.headers).status_code in (200, 404)


def test_one_idempotency_key_is_not_shared_by_two_deployments(http: httpx.Client, alice: Actor) -> None:
    headers = {"api-key": alice.key, "Idempotency-Key": "k1"}
    assert http.post("/openai/deployments/demo/chat/completions", json=HELLO, headers=headers).status_code == 200
    other = http.post("/openai/deployments/auto/chat/completions", json=HELLO, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")


def test_azures_client_class_chats_and_streams(server: str, alice: Actor) -> None:
    azure = openai.AzureOpenAI(azure_endpoint=server, api_key=alice.key, api_version="2026-10-01", max_retries=0)
    messages: Any = HELLO["messages"]
    answer = azure.chat.completions.create(model="demo", messages=messages)
    assert (answer.choices[0].message.content or "").endswith("You wrote: Hello")
    chunks = list(azure.chat.completions.create(model="demo", messages=messages, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).endswith("Hello")


def test_an_unknown_path_says_what_the_base_url_is(http: httpx.Client, alice: Actor) -> None:
    answer = http.post("/v2/chat", json=HELLO, headers=alice.headers)
    assert answer.status_code == 404
    assert f"{str(http.base_url).rstrip('/')}/v1 for OpenAI clients" in answer.json()["error"]["message"]


def test_an_unknown_host_is_named_with_the_mend(http: httpx.Client) -> None:
    answer = http.post(COMPLETIONS, json=HELLO, headers={"Host": "host.docker.internal:8000"})
    message = answer.json()["error"]["message"]
    assert answer.status_code == 400
    assert "'host.docker.internal'" in message and "container" in message and "ALLOWED_HOSTS=" in message
    strange = http.post(COMPLETIONS, json=HELLO, headers={"Host": "<b>x</b>"})
    assert strange.status_code == 400 and "<b>" not in strange.text


# --- Bodies that come compressed --------------------------------------------------------------------------------------


def compressed(http: httpx.Client, who: Actor, raw: bytes, encoding: str = "gzip", path: str = COMPLETIONS) -> Any:
    headers = {**who.headers, "Content-Type": "application/json", "Content-Encoding": encoding}
    return http.post(path, content=raw, headers=headers)


@pytest.mark.parametrize("squeeze", [gzip.compress, zlib.compress], ids=["gzip", "zlib"])
def test_a_compressed_body_is_read_by_async_and_drf_views(http: httpx.Client, alice: Actor, squeeze: Any) -> None:
    encoding = "gzip" if squeeze is gzip.compress else "deflate"
    chat = compressed(http, alice, squeeze(json.dumps(HELLO).encode()), encoding)
    assert chat.status_code == 200 and "You wrote: Hello" in chat.text
    login = {"email": alice.user.email, "password": "correct horse battery staple"}
    drf = compressed(http, alice, squeeze(json.dumps(login).encode()), encoding, "/api/v1/auth/login")
    assert drf.status_code == 200, drf.text


def test_a_body_that_inflates_beyond_the_limit_is_refused(http: httpx.Client, alice: Actor, settings: Any) -> None:
    settings.MAX_REQUEST_BYTES = 100_000
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < settings.MAX_REQUEST_BYTES
    refused = compressed(http, alice, bomb)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "payload_too_large")
    exact = gzip.compress(json.dumps(HELLO).encode().ljust(100_000))
    assert compressed(http, alice, exact).status_code == 200


@pytest.mark.parametrize(
    ("raw", "encoding", "status"),
    [
        (b"not gzip", "gzip", 400),
        (gzip.compress(b"{}" * 500, mtime=0)[:-9], "gzip", 400),
        (gzip.compress(b"", mtime=0) * 101, "gzip", 400),
        (b"{}", "br", 415),
        (b"", "zstd", 415),
    ],
    ids=["no gzip", "cut off", "very many members", "brotli", "zstd"],
)
def test_a_body_that_cannot_be_inflated_is_refused_by_name(
    http: httpx.Client, alice: Actor, raw: bytes, encoding: str, status: int
) -> None:
    refused = compressed(http, alice, raw, encoding)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, "Content-Encoding")
    assert "default-src 'none'" in refused.headers["Content-Security-Policy"]
