"""The thin handler answers as Django's own does: the same requests to both, and every header and refusal compared."""

import asyncio
import json
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse

from aichat.asgi import Application
from aichat.core.web.fast_path import handler
from aichat.core.web.fast_path.handler import FAST_PATHS
from aichat.core.web.fast_path.middleware import WITHOUT_EFFECT, MiddlewareChain
from aichat.core.web.fast_path.request import FastPathRequest
from tests.conftest import Actor

pytestmark = pytest.mark.django_db(transaction=True)
CHAT, COMPLETIONS = "/api/v1/chat", "/v1/chat/completions"
HELLO = {"message": "Hello", "model": "demo"}
APP = "https://app.example.com"
CHANGING = {"x-request-id", "x-conversation-id", "x-message-id", "ratelimit-remaining", "ratelimit-reset"}
Answer = tuple[int, list[tuple[str, str]], bytes]


async def asked(application: Application, path: str, headers: dict[str, str], body: bytes, **scope: Any) -> Answer:
    sent: list[Any] = []
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    left = asyncio.Event()

    async def receive() -> Any:
        if incoming:
            return incoming.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": "localhost", "content-type": "application/json", **headers}
    await application(
        {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
            **scope,
        },
        receive,
        send,
    )
    start, *parts = sent
    named = sorted((name.decode().lower(), value.decode()) for name, value in start["headers"])
    return start["status"], named, b"".join(part.get("body", b"") for part in parts)


@pytest.fixture
def both(catalog: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Answer, Answer]]:
    """The same request to the thin handler and to Django's."""

    def ask(path: str = CHAT, headers: dict[str, str] | None = None, body: Any = HELLO, **scope: Any) -> Any:
        application = Application()
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answers = []
        for served in (FAST_PATHS, set[tuple[str, str]]()):
            monkeypatch.setattr(handler, "FAST_PATHS", served)
            answers.append(asyncio.run(asked(application, path, headers or {}, raw, **scope)))
        return answers

    return ask


def steady(answer: Answer) -> tuple[int, list[tuple[str, str]]]:
    """Status and headers, without the values that differ from one request to the next."""
    status, headers, _ = answer
    return status, [(name, "" if name in CHANGING else value) for name, value in headers]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/v1/embeddings"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer sk-wrong"}, 401),
        ({"Host": "evil.example.com"}, 400),
        ({"Origin": APP}, 401),
        ({"Origin": "https://evil.example.com"}, 401),
        ({"X-Request-ID": "mine"}, 401),
        ({"Content-Length": "99999999"}, 413),
        ({"X-Forwarded-Proto": "https"}, 401),
    ],
)
def test_a_refusal_is_the_same(
    both: Callable[..., Any], settings: Any, path: str, headers: dict[str, str], status: int
) -> None:
    settings.CORS_ALLOWED_ORIGINS = [APP]
    thin, stock = both(path, headers)
    assert steady(thin) == steady(stock)
    assert thin[0] == status
    names = dict(thin[1])
    assert names["x-content-type-options"] == "nosniff"
    assert ("x-frame-options" in names) == (status == 401)  # what is refused further out has no content to be framed
    assert "default-src 'none'" in names["content-security-policy"]
    assert ("access-control-allow-origin" in names) == (headers.get("Origin") == APP)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_the_same(both: Callable[..., Any], settings: Any, alice: Actor, stream: bool) -> None:
    settings.CORS_ALLOWED_ORIGINS = [APP]
    thin, stock = both(CHAT, {**alice.headers, "Origin": APP}, {**HELLO, "stream": stream})
    # A conversation's ID has one length, so even Content-Length is the same.
    assert steady(thin) == steady(stock)
    names = dict(thin[1])
    assert thin[0] == 200 and "ratelimit-limit" in names and names["access-control-allow-origin"] == APP
    assert b"demo model" in thin[2] or b"delta" in thin[2]


@pytest.mark.parametrize(
    ("headers", "scheme", "status"),
    [({}, "http", 301), ({"X-Forwarded-Proto": "https"}, "http", 401), ({"X-Forwarded-Proto": "http"}, "http", 301)],
)
def test_https_is_enforced_the_same(
    both: Callable[..., Any], settings: Any, headers: dict[str, str], scheme: str, status: int
) -> None:
    settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = True, 31_536_000
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    thin, stock = both(CHAT, headers, scheme=scheme)
    assert steady(thin) == steady(stock)
    assert thin[0] == status
    assert ("strict-transport-security" in dict(thin[1])) == (status == 401)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"message": ""}', b"\xff\xfe"])
def test_a_bad_body_is_refused_the_same(both: Callable[..., Any], alice: Actor, body: bytes) -> None:
    thin, stock = both(CHAT, alice.headers, body)
    assert steady(thin) == steady(stock) and thin[0] == 400


def test_a_body_that_grows_too_large_is_refused_the_same(both: Callable[..., Any], settings: Any) -> None:
    settings.MAX_REQUEST_BYTES = 1000
    thin, stock = both(CHAT, {}, b"x" * 1500)
    assert steady(thin) == steady(stock) and thin[0] == 413


def test_a_query_that_is_not_utf8_is_refused_the_same(both: Callable[..., Any]) -> None:
    thin, stock = both(CHAT, {}, query_string=b"\xff=1")
    assert steady(thin) == steady(stock) and thin[0] == 400


def test_a_defect_is_a_500_the_same(both: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("aichat.api.async_views.AsyncView.dispatch", broken)
    thin, stock = both(CHAT)
    assert steady(thin) == steady(stock) and thin[0] == 500
    assert b"secret" not in thin[2]


def test_every_middleware_runs_or_is_known_to_have_no_effect() -> None:
    assert set(django_settings.MIDDLEWARE) >= WITHOUT_EFFECT
    assert len(Application().fast_path.middleware.all) == len(django_settings.MIDDLEWARE) - len(WITHOUT_EFFECT)


def test_only_posts_to_hot_urls_are_hot() -> None:
    assert handler.is_fast_path({"method": "POST", "path": CHAT})
    others = [("OPTIONS", CHAT), ("GET", CHAT), ("POST", f"{CHAT}/"), ("POST", "/api/v1/credits")]
    assert not any(handler.is_fast_path({"method": method, "path": path}) for method, path in others)
    assert not handler.is_fast_path({"method": "POST", "path": CHAT, "root_path": "/prefix"})


@pytest.mark.parametrize("path", [f"/ai{CHAT}", CHAT, "/ai/chat/completions", "/ai/v1/nothing"])
def test_an_answer_below_a_prefix_is_the_same(
    both: Callable[..., Any], settings: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    settings.URL_PREFIX, settings.FORCE_SCRIPT_NAME = "/ai", "/ai"
    served: list[str] = []
    respond = MiddlewareChain.respond

    async def watched(self: MiddlewareChain, request: FastPathRequest, view: Any) -> Any:
        served.append(request.path)
        return await respond(self, request, view)

    monkeypatch.setattr(MiddlewareChain, "respond", watched)
    thin, stock = both(path)
    assert steady(thin) == steady(stock)
    assert served == {
        f"/ai{CHAT}": [f"/ai{CHAT}"],
        CHAT: [f"/ai{CHAT}"],
        "/ai/chat/completions": [f"/ai{COMPLETIONS}"],
    }.get(path, [])


class Watched(dict[str, Any]):
    """Notes which names are looked up."""

    def __init__(self, facts: Any) -> None:
        super().__init__(facts)
        self.seen: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.seen.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self.seen.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.seen.add(str(name))
        return super().__contains__(name)


@pytest.mark.parametrize("given", [{}, {"origin": APP}, {"x-forwarded-proto": "https", "user-agent": "curl"}])
def test_layers_asked_once_look_at_nothing_but_what_is_compared(settings: Any, given: dict[str, str]) -> None:
    settings.CORS_ALLOWED_ORIGINS, settings.CORS_ALLOW_PRIVATE_NETWORK = [APP], True
    settings.USE_X_FORWARDED_HOST = settings.USE_X_FORWARDED_PORT = True
    settings.SECURE_PROXY_SSL_HEADER, settings.SECURE_HSTS_SECONDS = ("HTTP_X_FORWARDED_PROTO", "https"), 1
    settings.DISALLOWED_USER_AGENTS = [re.compile("^evil")]
    layers = MiddlewareChain()
    pairs = [(name.encode(), value.encode()) for name, value in {"host": "localhost", **given}.items()]
    request = FastPathRequest({"method": "POST", "path": CHAT, "headers": pairs, "scheme": "https"}, b"{}")
    meta, headers = Watched(request.META), Watched(request.headers)
    request.META, request.headers = meta, headers  # type: ignore[assignment]
    assert layers.cached_headers(request)
    compared = {name.decode() for name in layers.varying}
    assert headers.seen <= compared
    names = {name.removeprefix("HTTP_").replace("_", "-").lower() for name in meta.seen}
    assert names - compared <= {"server-name", "server-port"}  # the scope's own, which are compared too


async def test_what_a_layer_refuses_is_not_remembered_and_what_is_remembered_has_a_bound(
    monkeypatch: pytest.MonkeyPatch, catalog: None
) -> None:
    monkeypatch.setattr("aichat.core.web.fast_path.middleware.MOST", 3)
    application = Application()
    usual = application.fast_path.middleware.cached
    for _ in range(2):
        assert (await asked(application, CHAT, {"Host": "evil.example.com"}, b"{}"))[0] == 400
    assert not usual
    for number in range(5):
        await asked(application, CHAT, {"Origin": f"https://{number}.example.com"}, b"{}")
    assert len(usual) == 2


async def test_a_view_has_the_last_word_on_what_layers_only_add(monkeypatch: pytest.MonkeyPatch) -> None:
    async def view(*args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponse(b"x", headers={"Content-Security-Policy": "mine", "Vary": "accept"})

    monkeypatch.setattr("aichat.api.async_views.AsyncView.dispatch", view)
    _, headers, _ = await asked(Application(), CHAT, {}, b"{}")
    assert [value for name, value in headers if name == "content-security-policy"] == ["mine"]
    assert [value for name, value in headers if name == "vary"] == ["accept, origin"]


@pytest.mark.parametrize("prefix", ["", "/ai"])
def test_a_request_has_what_djangos_has(settings: Any, prefix: str) -> None:
    settings.URL_PREFIX, settings.FORCE_SCRIPT_NAME = prefix, prefix or None
    pairs = [
        (b"host", b"localhost"),
        (b"content-type", b"application/json; charset=utf-8"),
        (b"accept", b"a"),
        (b"accept", b"b"),
        (b"x_spoofed", b"1"),
    ]
    scope = {"method": "POST", "path": CHAT, "query_string": b"a=1", "headers": pairs}
    ours, django = FastPathRequest(scope, b"{}"), ASGIRequest({**scope, "path": prefix + CHAT}, BytesIO(b"{}"))
    for name in (
        "method",
        "path",
        "path_info",
        "script_name",
        "content_type",
        "content_params",
        "META",
        "GET",
        "body",
        "COOKIES",
    ):
        assert getattr(ours, name) == getattr(django, name)
    assert ours.get_full_path() == django.get_full_path()
    for header in ("Content-Type", "ACCEPT", "X-Spoofed", "x_spoofed", "Host"):
        assert ours.headers.get(header) == django.headers.get(header)
        assert (header in ours.headers) == (header in django.headers)
