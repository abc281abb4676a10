"""The ASGI application: the fast path and Django's handler, with tracing, a bounded body, and the hooks of start and stop."""

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aichat.settings")

import django
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, get_resolver

django.setup(set_prefix=False)

from aichat.api import admission
from aichat.core.background import lifecycle
from aichat.core.config import checks, reachable
from aichat.core.database import outages
from aichat.core.telemetry import spans, tracing
from aichat.core.web import responses
from aichat.core.web.addresses import below_prefix, canonical_scope, with_prefix
from aichat.core.web.compression import BODY_LIMIT, BODY_TOO_LARGE, inflated
from aichat.core.web.fast_path.handler import FastPathHandler, Receive, Scope, Send, is_fast_path, start

logger = logging.getLogger(__name__)
Headers = Mapping[bytes, bytes]
CLIENT_LEFT = 499  # nginx's word for a request that got no answer because its client left


class Application(ASGIHandler):
    """Serves HTTP and the lifespan protocol (https://asgi.readthedocs.io/en/latest/specs/lifespan.html)."""

    def __init__(self) -> None:
        super().__init__()
        self.fast_path = FastPathHandler()
        self.in_one_thread = BaseHandler()
        self.in_one_thread.load_middleware()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        elif scope["type"] == "http":
            if settings.URL_PREFIX:
                scope = below_prefix(scope)
            headers = dict(scope["headers"])
            traced = Traced(scope, headers, send)
            try:
                scope = canonical_scope(scope)
                limit, refusal = await admission.of_body(scope)
                scope[BODY_LIMIT] = limit
                if refusal is not None:
                    await traced.send(start(refusal, []))
                    await traced.send({"type": "http.response.body", "body": refusal.content})
                    return
                receive = bounded(scope, headers, receive, limit)
                if b"content-encoding" in headers:
                    receive = await inflated(scope, receive)
                handler = self.fast_path if is_fast_path(scope) else super().__call__
                await handler(scope, receive, traced.send)
                await asyncio.sleep(0)  # the event loop sends what was written in a turn at the end of the turn
            finally:
                traced.end()
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await lifecycle.startup()
                except Exception as error:
                    logger.exception("the start failed")
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await lifecycle.shutdown()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Run a synchronous view in one thread together with all its middleware.

        Django's asynchronous chain changes to a thread and back for each middleware: about fifteen times a request.
        """
        if is_synchronous(request):
            return await sync_to_async(self.in_one_thread.get_response)(request)
        return await super().get_response_async(request)

    def create_request(self, scope: Mapping[str, Any], body_file: Any) -> tuple[Any, Any]:
        """Make Django's request. A request that Django can't read (its query is not UTF-8) is answered in our error shape."""
        request, refusal = super().create_request(with_prefix(scope), body_file)
        if refusal is not None:
            refusal = responses.unreadable_address()
        return request, refusal


def is_synchronous(request: HttpRequest) -> bool:
    """Whether the URL conf leads to a synchronous view. False for static files and unknown paths."""
    try:
        return not iscoroutinefunction(get_resolver().resolve(request.path_info).func)
    except Resolver404:
        return False


class Traced:
    """The trace of one request: it adds the request ID to the response, and writes the one access line at the end.

    After the answer's end it does what the client need not wait for (`tracing.after_answer`).

    Tracing is here and not in a middleware, because every response passes here: also a refusal before the middleware runs,
    the end of a stream, and a response that is missing because the client left.
    """

    def __init__(self, scope: Scope, headers: Headers, send: Send) -> None:
        self.scope, self.pass_on = scope, send
        request_id, traceparent = headers.get(b"x-request-id", b""), headers.get(b"traceparent", b"")
        self.trace = scope["aichat.trace"] = tracing.begin(request_id.decode("latin-1"), traceparent.decode("latin-1"))
        self.trace.after = []  # until `end`
        self.trace.address = scope["client"][0] if scope.get("client") else ""
        self.span = spans.begin_request(self.trace, scope) if spans.enabled else None
        self.status, self.finished = CLIENT_LEFT, False

    async def send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], *tracing.encoded_headers(self.trace)]}
            await self.pass_on(message)
        else:
            await self.pass_on(message)
            if not message.get("more_body", False):
                self.finished = True

    def end(self) -> None:
        path = self.scope["path"]
        tracing.log_access(
            self.trace, method=self.scope["method"], path=path, status=self.status, finished=self.finished
        )
        if self.span is not None:
            spans.end_request(self.span, self.trace, self.scope["method"], self.status)
        tracing.answered(self.trace)


def bounded(scope: Scope, headers: Headers, receive: Receive, limit: int) -> Receive:
    """Wrap `receive` so that it passes on at most `limit` bytes, and no client can fill the memory or the disk.

    Beyond the limit the wrapper reads and drops as many bytes again, because a client that is still sending may not read the
    refusal; then it ends the body. `BodyLimitMiddleware` refuses a request that is marked in the scope.
    """
    received, over = 0, False
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit:
        scope[BODY_TOO_LARGE] = over = True

    async def bounded_receive() -> Mapping[str, Any]:
        nonlocal received, over
        if over and not received:
            received = 1  # nothing is read of a body that announced itself as too large
            return {"type": "http.request", "body": b"", "more_body": False}
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message
            if over:
                continue  # Django waits for the client's leaving now
            received += len(message.get("body", b""))
            if received <= limit:
                return message
            scope[BODY_TOO_LARGE] = True
            over = received > 2 * limit
            return {**message, "body": b"", "more_body": message.get("more_body", False) and not over}

    return bounded_receive


if problem := reachable.database_problem(settings.DATABASES["default"]):
    logger.warning("%s Requests get 503 until then.", problem)
    outages.told()
for warning in checks.stop_on_errors(of_database=not problem):
    logger.warning("%s %s", warning.msg, warning.hint or "")
application = Application()
