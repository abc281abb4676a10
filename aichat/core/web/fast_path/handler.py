"""The fast path: a thin ASGI handler for the URLs that generate, with Django's URL resolver, middleware and error pages.

Django's own ASGI handler spends about 1.5 ms of CPU a request on what a generation does not need: threads for signals and
for middleware that is not asynchronous, a file on disk for the body, a task for the view. The fast path makes the parts of
a request when they are read (`request.py`) and calls the hooks of the same middleware as ordinary functions in the same
order (`middleware.py`), so every header and refusal is the same: `tests/core/web/test_fast_path.py` compares them.
Django's handler serves everything else, OPTIONS too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, cast

from django.conf import settings
from django.core.handlers.exception import response_for_exception
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import get_resolver

from aichat.core.telemetry import tracing
from aichat.core.web import responses
from aichat.core.web.fast_path.middleware import HeaderPairs, MiddlewareChain
from aichat.core.web.fast_path.request import FastPathRequest

FAST_PATHS = {
    ("POST", "/api/v1/chat"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/responses"),
}
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


def is_fast_path(scope: Scope) -> bool:
    return (scope["method"], scope["path"]) in FAST_PATHS and scope.get("root_path", "") == settings.URL_PREFIX


class FastPathHandler:
    """Serves the requests for which `is_fast_path` is true."""

    def __init__(self) -> None:
        self.middleware = MiddlewareChain()
        self.matches = {path: get_resolver().resolve(path) for _, path in FAST_PATHS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read(receive)
        if body is None:
            return  # the client left while it was sending
        try:
            request = FastPathRequest(scope, body)
        except UnicodeDecodeError:
            refusal = responses.unreadable_address()
            await send(start(refusal, []))
            await send({"type": "http.response.body", "body": refusal.content})
            return
        with CancelledWhenLeft(receive) as client:
            response, headers = await self.middleware.respond(request, self.view)
            if isinstance(response, StreamingHttpResponse):
                async with aclosing(cast(Any, aiter(response))) as parts:
                    await send(start(response, headers))
                    async for part in parts:
                        await send({"type": "http.response.body", "body": part, "more_body": True})
        if client.left:
            return
        if isinstance(response, StreamingHttpResponse):
            await send({"type": "http.response.body"})
        else:
            await send(start(response, headers))
            await send({"type": "http.response.body", "body": cast(HttpResponse, response).content})

    async def view(self, request: FastPathRequest) -> HttpResponseBase:
        match = request.resolver_match = self.matches[request.path_info]
        trace: tracing.Trace = request.scope["aichat.trace"]
        trace.route = match.route
        try:
            response: HttpResponseBase = await match.func(request, *match.args, **match.kwargs)
        except Exception as error:
            response = response_for_exception(request, error)
        return response


async def read(receive: Receive) -> bytes | None:
    """Read the body, whose length `receive` bounds; None when the client left while it was sending."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


class CancelledWhenLeft:
    """Context manager that cancels the current task when the client leaves before its end; then `left` is true.

    Listening begins after `LISTEN_AFTER` seconds: most refusals and cached answers are sent by then, and need no task.
    """

    LISTEN_AFTER = 0.05

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.left = False
        self.listener: asyncio.Task[None] | None = None

    def __enter__(self) -> "CancelledWhenLeft":
        self.working = asyncio.current_task()
        self.timer = asyncio.get_running_loop().call_later(self.LISTEN_AFTER, self.start)
        return self

    def start(self) -> None:
        self.listener = asyncio.get_running_loop().create_task(self.listen())

    async def listen(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.left = True
        assert self.working is not None
        self.working.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.timer.cancel()
        if self.listener is not None:
            self.listener.cancel()
        # A cancellation that is not the listener's is passed on.
        return kind is asyncio.CancelledError and self.left and self.working is not None and not self.working.uncancel()


def start(response: HttpResponseBase, headers: HeaderPairs) -> Mapping[str, Any]:
    """The ASGI message that begins a response; `headers` are added to the response's own."""
    own = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    if response.cookies:
        own += [(b"Set-Cookie", cookie.OutputString().encode("ascii")) for cookie in response.cookies.values()]
    return {"type": "http.response.start", "status": response.status_code, "headers": [*own, *headers]}
