"""The hot URLs, served by a thin handler: Django's URL resolver, middleware and error pages, called plainly.

Django's own ASGI handler spends about 1.5 ms of CPU a request on what a generation does not need: threads for signals and
for middleware that is not asynchronous, a file on disk for the body, a task for the view. Here the request is made of
what is asked for (`request.py`), and the hooks of the same middleware run as ordinary functions, in the same order
(`middleware.py`), so that every header and every refusal is the same: `tests/core/web/test_fast_path.py` compares
them. Everything else, OPTIONS too, is served by Django's handler.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, cast

from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import get_resolver

from aichat.core.web import responses
from aichat.core.web.fast_path.middleware import HeaderPairs, MiddlewareChain
from aichat.core.web.fast_path.request import FastPathRequest

FAST_PATHS = {
    ("POST", "/api/v1/chat"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/responses"),
}
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


def is_fast_path(scope: Scope) -> bool:
    return (scope["method"], scope["path"]) in FAST_PATHS and not get_script_prefix(scope)


class FastPathHandler:
    """Serves the requests that `is_hot`."""

    def __init__(self) -> None:
        self.layers = MiddlewareChain()
        self.matches = {path: get_resolver().resolve(path) for _, path in FAST_PATHS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read(receive)
        if body is None:
            return  # the client left while it was sending
        try:
            request = FastPathRequest(scope, body)
        except UnicodeDecodeError:
            await send_whole(responses.unreadable_address(), [], send)
            return
        with CancelledWhenLeft(receive) as client:
            response, headers = await self.layers.respond(request, self.view)
            if isinstance(response, StreamingHttpResponse):
                async with aclosing(cast(Any, aiter(response))) as parts:
                    await send(start(response, headers))
                    async for part in parts:
                        await send({"type": "http.response.body", "body": part, "more_body": True})
                client.may_leave()
                await send({"type": "http.response.body"})
            else:
                client.may_leave()
                await send_whole(response, headers, send)

    async def view(self, request: HttpRequest) -> HttpResponseBase:
        match = request.resolver_match = self.matches[request.path]
        try:
            response: HttpResponseBase = await match.func(request, *match.args, **match.kwargs)
        except Exception as error:
            response = response_for_exception(request, error)
        return response


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


class CancelledWhenLeft:
    """Cancels what runs inside when the client leaves, until it `may_leave`.

    It is listened for from `LISTEN_AFTER` seconds on: most refusals and answers of the cache are through by then, and
    spare themselves the task.
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

    def may_leave(self) -> None:
        self.timer.cancel()
        if self.listener is not None:
            self.listener.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.may_leave()
        # Else somebody else cancelled it.
        return kind is asyncio.CancelledError and self.left and self.working is not None and not self.working.uncancel()


def start(response: HttpResponseBase, headers: HeaderPairs) -> Mapping[str, Any]:
    """The message that begins a response; `headers` are those it has besides its own."""
    own = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    cookies = [(b"Set-Cookie", cookie.OutputString().encode("ascii")) for cookie in response.cookies.values()]
    return {"type": "http.response.start", "status": response.status_code, "headers": [*own, *cookies, *headers]}


async def send_whole(response: HttpResponseBase, headers: HeaderPairs, send: Send) -> None:
    await send(start(response, headers))
    for body, is_last in ASGIHandler.chunk_bytes(cast(HttpResponse, response).content):
        await send({"type": "http.response.body", "body": body, "more_body": not is_last})
