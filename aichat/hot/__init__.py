"""The hot URLs, served by a thin handler: Django's request, URL resolver, middleware and error pages, called plainly.

Django's own ASGI handler spends about 1.5 ms of CPU a request on what a generation does not need: threads for signals and
for middleware that is not asynchronous, a file on disk for the body, a task for the view. Here the hooks of the same
middleware objects run as ordinary functions, in the same order, so that every header and every refusal is the same
(`tests/test_hot.py` compares them). Everything else, OPTIONS too, is served by Django's handler.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from io import BytesIO
from typing import Any, cast

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from django.urls import ResolverMatch, get_resolver
from django.utils.module_loading import import_string

from aichat.middleware import Middleware

HOT = {("POST", "/api/v1/chat"), ("POST", "/v1/chat/completions")}
# Middleware without any effect on them: there is no session, form, message or file, and bearer tokens can't be forged by
# another site. All other middleware of the settings runs here too; a test knows this list.
WITHOUT_EFFECT = {
    "aichat.middleware.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
}
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Before = Callable[[HttpRequest], HttpResponseBase | None]
After = Callable[[HttpRequest, HttpResponseBase], HttpResponseBase]


def is_hot(scope: Scope) -> bool:
    return (scope["method"], scope["path"]) in HOT and not get_script_prefix(scope)


class HotHandler:
    """Serves the requests that `is_hot`. `django` makes requests and encodes headers as it does for all others."""

    def __init__(self, django: ASGIHandler) -> None:
        self.django = django
        self.layers = [hooks(path) for path in settings.MIDDLEWARE if path not in WITHOUT_EFFECT]
        self.matches = {path: get_resolver().resolve(path) for _, path in HOT}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read(receive)
        if body is None:
            return  # the client left while it was sending
        request, refusal = self.django.create_request(scope, BytesIO(body))
        if request is None:
            await self.django.send_response(refusal, send)  # type: ignore[arg-type]
            return
        with cancelled_when_left(receive) as listener:
            response = await self.respond(request)
            if not isinstance(response, StreamingHttpResponse):
                listener.cancel()
                await self.django.send_response(response, send)
                return
            await send({"type": "http.response.start", "status": response.status_code, "headers": encoded(response)})
            async with aclosing(cast(Any, aiter(response))) as parts:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            listener.cancel()
            await send({"type": "http.response.body"})

    async def respond(self, request: ASGIRequest) -> HttpResponseBase:
        """The view's response inside all layers: a layer that answers itself, or fails, is passed by those around it."""
        response: HttpResponseBase | None = None
        passed: list[After | None] = []
        for before, after in self.layers:
            passed.append(after)
            if before is not None:
                try:
                    response = before(request)
                except Exception as error:
                    passed.pop()
                    response = response_for_exception(request, error)
            if response is not None:
                break
        if response is None:
            response = await self.view(request, self.matches[request.path])
        for after in reversed(passed):
            if after is not None:
                try:
                    response = after(request, response)
                except Exception as error:
                    response = response_for_exception(request, error)
        return response

    async def view(self, request: ASGIRequest, match: ResolverMatch) -> HttpResponseBase:
        request.resolver_match = match
        try:
            response: HttpResponseBase = await match.func(request, *match.args, **match.kwargs)
        except Exception as error:
            response = response_for_exception(request, error)
        return response


class CommonMiddlewareOfHotUrls(CommonMiddleware):
    """They are what they are: nothing is looked up to know whether a slash is missing."""

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return False


def hooks(path: str) -> tuple[Before | None, After | None]:
    """What a middleware does before and after the view."""
    kind = import_string(path)
    if kind is CommonMiddleware:
        kind = CommonMiddlewareOfHotUrls
    middleware = kind(_no_next)
    match middleware:
        case Middleware():
            return middleware.before, middleware.after
        case CorsMiddleware():
            return middleware.check_preflight, middleware.add_response_headers
    return getattr(middleware, "process_request", None), getattr(middleware, "process_response", None)


def _no_next(request: HttpRequest) -> HttpResponseBase:
    raise AssertionError("the thin handler calls the hooks itself")


async def read(receive: Receive) -> bytes | None:
    """The request's body, which `receive` bounds; None when the client left."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


@contextmanager
def cancelled_when_left(receive: Receive) -> "Iterator[asyncio.Task[None]]":
    """Cancels what runs inside when the client leaves. The task given is cancelled when that no longer matters."""
    working = asyncio.current_task()
    assert working is not None
    left = False

    async def listen() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        working.cancel()

    listener = asyncio.get_running_loop().create_task(listen())
    try:
        yield listener
    except asyncio.CancelledError:
        if not left or working.uncancel():
            raise  # somebody else cancelled it
    finally:
        listener.cancel()


def encoded(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
