"""Request tracing and the body limit, for sync and async requests alike."""

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from aichat import tracing
from aichat.errors import PayloadTooLarge
from aichat.rest import EventStream, error_response

access = logging.getLogger("aichat.access")
GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class Middleware:
    """Both kinds of request from one pair of hooks: `before` may answer itself, `after` sees every response."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self.__acall__(request)
        response = self.before(request) or self.get_response(request)
        assert isinstance(response, HttpResponseBase)
        return self.after(request, response)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.before(request)
        if response is None:
            answer = self.get_response(request)
            assert isinstance(answer, Awaitable)
            response = await answer
        return self.after(request, response)

    def before(self, request: HttpRequest) -> HttpResponseBase | None:
        return None

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response


class TraceMiddleware(Middleware):
    """Takes or makes the request ID, answers it on every response, and writes one access line per request."""

    def before(self, request: HttpRequest) -> None:
        tracing.begin(request.headers.get("X-Request-ID", ""), request.headers.get("traceparent", ""))

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        trace = tracing.current() or tracing.begin()
        response["X-Request-ID"] = trace.request_id

        def write_access_line() -> None:
            # The path without its query: a careless client may put a secret there.
            facts = {
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "duration_ms": round((perf_counter() - trace.started) * 1000, 2),
            }
            access.info("%(method)s %(path)s %(status)s", facts, extra=facts)

        if isinstance(response, EventStream):
            response.on_end.append(write_access_line)
        else:
            write_access_line()
        return response


class BodyLimitMiddleware(Middleware):
    """Refuses a body over MAX_REQUEST_BYTES: its length was announced, or `aichat/asgi.py` found out while reading."""

    def before(self, request: HttpRequest) -> HttpResponseBase | None:
        limit = settings.MAX_REQUEST_BYTES
        announced = request.META.get("CONTENT_LENGTH") or "0"
        scope = getattr(request, "scope", {})
        if scope.get("aichat.body_too_large") or (announced.isdigit() and int(announced) > limit):
            return error_response(PayloadTooLarge(f"The request is larger than {limit} bytes (MAX_REQUEST_BYTES)."))
        return None
