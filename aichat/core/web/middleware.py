"""Middleware of our own, for sync and async requests alike: tracing, security headers, the body limit, static files."""

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponsePermanentRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware

from aichat.core.errors import InvalidRequest, NotFound, PayloadTooLarge
from aichat.core.telemetry import tracing
from aichat.core.web.compression import BODY_LIMIT, BODY_PROBLEM, BODY_TOO_LARGE
from aichat.core.web.responses import error_response
from aichat.core.web.sse import in_turn

PROBES = {"/healthz", "/readyz", "/metrics"}
GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class Middleware:
    """Base of sync and async middleware with one pair of hooks: `before` may respond, `after` sees every response.

    A middleware whose `after` changes nothing but responses to some paths names their beginning as `below`.
    """

    sync_capable = True
    async_capable = True
    below = ""

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
    """Writes the route, and the user of an admin page, into the trace.

    Where no ASGI server began a trace (in tests), this middleware begins one and adds the headers `asgi.Traced` would.
    """

    def before(self, request: HttpRequest) -> None:
        if not is_traced(request):
            trace = tracing.begin(request.headers.get("X-Request-ID", ""), request.headers.get("traceparent", ""))
            trace.address = request.META.get("REMOTE_ADDR", "")

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        trace = tracing.current()
        if trace is None:
            return response
        if not is_traced(request):
            for name, value in tracing.answer_headers(trace).items():
                response[name] = value
        if request.resolver_match:
            trace.route = request.resolver_match.route
        user = getattr(request, "_cached_user", None)  # set when somebody looked at request.user
        if user is not None and user.is_authenticated:
            tracing.bind(user=user.pk)
        return response


def is_traced(request: HttpRequest) -> bool:
    return "aichat.trace" in getattr(request, "scope", {})


def policy(**sources: str) -> str:
    """A Content-Security-Policy that allows nothing but what is named, and no embedding anywhere."""
    allowed = {"default_src": "'none'", "base_uri": "'none'", "frame_ancestors": "'none'", "form_action": "'none'"}
    return "; ".join(f"{name.replace('_', '-')} {value}" for name, value in {**allowed, **sources}.items())


SELF = "'self'"
API_POLICY = policy()
DOCS_POLICY = policy(
    script_src=SELF, style_src=f"{SELF} 'unsafe-inline'", img_src=f"{SELF} data:", font_src=SELF, connect_src=SELF
)
# Unfold's pages are written for Alpine.js, which compiles the attributes it finds (eval), and set colours in style
# elements and attributes. Scripts come only from our own files: a script that somebody writes into a page never runs.
ADMIN_POLICY = policy(
    script_src=f"{SELF} 'unsafe-eval'",
    style_src=f"{SELF} 'unsafe-inline'",
    img_src=f"{SELF} data:",
    font_src=SELF,
    connect_src=SELF,
    form_action=SELF,
)


class ContentPolicyMiddleware(Middleware):
    """Adds the Content-Security-Policy: what a browser may load and run because of a response."""

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.path_info.startswith("/admin/"):
            found = ADMIN_POLICY
        elif request.path_info.startswith("/api/docs/"):
            found = DOCS_POLICY
        else:
            found = API_POLICY
        response.headers.setdefault("Content-Security-Policy", found)
        return response


class HostMiddleware(CommonMiddleware):
    """Django's CommonMiddleware, which does not check the Host of probes: they ask an address, not a host name."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        return None if request.path_info in PROBES else super().process_request(request)


class NulMiddleware(Middleware):
    """Refuses an address with the character NUL, which PostgreSQL can't compare: 400 in the query, 404 in the path."""

    def before(self, request: HttpRequest) -> HttpResponseBase | None:
        scope = getattr(request, "scope", None)
        query = scope.get("query_string", b"") if scope is not None else request.META["QUERY_STRING"].encode()
        if b"%00" in query or b"\0" in query:
            return error_response(InvalidRequest("The query has the character NUL."))
        return error_response(NotFound()) if "\0" in request.path else None


class BodyLimitMiddleware(Middleware):
    """Refuses a body that `aichat/asgi.py` has marked in the ASGI scope: too large for the route, or not inflatable.

    Without an ASGI server (in tests) the announced length decides.
    """

    def before(self, request: HttpRequest) -> HttpResponseBase | None:
        limit = settings.MAX_REQUEST_BYTES
        if (scope := getattr(request, "scope", None)) is not None:
            is_too_large, limit = BODY_TOO_LARGE in scope, scope.get(BODY_LIMIT, limit)
            if BODY_PROBLEM in scope and not is_too_large:
                return error_response(scope[BODY_PROBLEM])
        else:
            announced = request.headers.get("Content-Length") or "0"
            is_too_large = announced.isdigit() and int(announced) > limit
        if not is_too_large:
            return None
        response = error_response(PayloadTooLarge(f"The request is larger than {limit} bytes."))
        response["Connection"] = "close"  # the rest of the body is not waited for
        return response


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise, which uses a thread for static files only."""

    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        super().__init__(get_response)
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        answer: HttpResponseBase | Awaitable[HttpResponseBase]
        answer = self.__acall__(request) if self.is_async else super().__call__(request)
        return answer

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        file = await sync_to_async(self.find_file)(path) if self.autorefresh else self.files.get(path)
        if file is not None:
            response: HttpResponseBase = await sync_to_async(self.serve)(file, request)
            if isinstance(response, StreamingHttpResponse):
                response.streaming_content = in_turn(response.streaming_content)  # type: ignore[arg-type]
        else:
            response = await self.get_response(request)
        return response
