"""How answers look on every path: one error shape, one paging, one event stream."""

import logging
import math
from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

import orjson
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views import defaults
from django.views.csrf import csrf_failure as django_csrf_failure
from rest_framework import exceptions
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from aichat import db, tracing
from aichat.errors import (
    ApiError,
    DatabaseUnavailable,
    InvalidRequest,
    MethodNotAllowed,
    NotAuthenticated,
    NotFound,
    PayloadTooLarge,
    PermissionDenied,
    RateLimited,
)

logger = logging.getLogger(__name__)


class CursorPages(CursorPagination):
    """`{"next", "previous", "results"}`, newest first; `?page_size=` up to 200."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
    ordering = "-id"

    def decode_cursor(self, request: Request) -> Any:
        try:
            return super().decode_cursor(request)
        except exceptions.NotFound:
            raise InvalidRequest("Take the cursor from `next` or `previous`.", param="cursor") from None


class Negotiation(DefaultContentNegotiation):
    """DRF's, except that a `?format=` there is no renderer for is a wrong parameter and no 404."""

    def filter_renderers(self, renderers: Any, format: str) -> Any:
        if format not in (known := [renderer.format for renderer in renderers]):
            raise InvalidRequest(f"Write {' or '.join(known)}.", param="format")
        return super().filter_renderers(renderers, format)


class JSONParser(BaseParser):
    """Strict JSON: what no database can store (lone surrogates, NaN) and what is nested without end is refused here."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return orjson.loads(stream.read())
        except orjson.JSONDecodeError as error:
            raise exceptions.ParseError(str(error)) from None


# --- Errors -----------------------------------------------------------------------------------------------------------


def as_api_error(error: BaseException) -> ApiError:
    """Any exception as the API error a client gets; what nobody foresaw is an `internal_error` without details."""
    match error:
        case ApiError():
            return error
        case exceptions.ValidationError():
            param, message = first_problem(error.detail)
            return InvalidRequest(message, param=param)
        case exceptions.ParseError():
            return InvalidRequest(f"The body is not valid JSON: {error.detail}")
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return NotAuthenticated()
        case exceptions.PermissionDenied() | DjangoPermissionDenied():
            return PermissionDenied()
        case exceptions.NotFound() | Http404():
            return NotFound()
        case exceptions.Throttled():
            return RateLimited(retry_after=getattr(error, "wait", None))
        case exceptions.MethodNotAllowed():
            return MethodNotAllowed(str(error.detail))
        case exceptions.NotAcceptable():
            return ApiError(
                "Answers are application/json: change the Accept header.", status=406, code="not_acceptable"
            )
        case exceptions.UnsupportedMediaType():
            return unsupported_media_type()
        case exceptions.APIException():
            return ApiError(str(error.detail), status=error.status_code, code=str(error.default_code))
        case RequestDataTooBig():
            return PayloadTooLarge("The request is larger than MAX_REQUEST_BYTES allows.")
    if db.is_unavailable(error):
        logger.error("database unavailable: %s", error.__cause__ or error)  # MongoDB's wraps its cause without a word
        return DatabaseUnavailable(retry_after=1)
    logger.error("unhandled error", exc_info=error)
    return ApiError()


def unsupported_media_type() -> ApiError:
    return ApiError("Send the body as application/json.", status=415, code="unsupported_media_type")


def first_problem(detail: Any, path: str = "") -> tuple[str | None, str]:
    """The first field at fault and its message, from the nested structure of a DRF `ValidationError`."""
    if isinstance(detail, dict):
        key, value = next(iter(detail.items()))
        name = path if key == "non_field_errors" else f"{path}.{key}".lstrip(".")
        return first_problem(value, name)
    if isinstance(detail, list):
        position = next((i for i, item in enumerate(detail) if item), 0)
        nested = isinstance(detail[position], dict | list)
        return first_problem(detail[position], f"{path}.{position}".lstrip(".") if nested else path)
    return path or None, str(detail)


def error_response(error: BaseException) -> JsonResponse:
    problem = as_api_error(error)
    response = JsonResponse(problem.body(tracing.request_id()), status=problem.status)
    for name, value in error_headers(problem).items():
        response[name] = value
    return response


def unreadable_address() -> JsonResponse:
    """What Django refuses before there is a request: the query is no UTF-8."""
    return error_response(InvalidRequest("The address is not UTF-8: percent-encode it."))


def error_headers(problem: ApiError) -> dict[str, str]:
    headers = {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
    return headers


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's `EXCEPTION_HANDLER`."""
    problem = as_api_error(error)
    return Response(
        problem.body(tracing.request_id()),
        status=problem.status,
        headers=error_headers(problem),
        content_type="application/json",  # whatever the answer would have been, CSV for one
    )


def is_page(request: HttpRequest) -> bool:
    """Whether a person in a browser is asking (the admin): pages get Django's HTML errors, all else gets JSON."""
    return request.path.startswith("/admin/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if is_page(request):
        return defaults.bad_request(request, exception)
    if isinstance(exception, RequestDataTooBig):
        return error_response(exception)
    if isinstance(exception, DisallowedHost):
        return error_response(InvalidRequest("This host name is not served here: add it to ALLOWED_HOSTS."))
    return error_response(InvalidRequest())


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return defaults.permission_denied(request, exception) if is_page(request) else error_response(PermissionDenied())


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    return django_csrf_failure(request, reason) if is_page(request) else error_response(PermissionDenied())


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if is_page(request):
        return defaults.page_not_found(request, exception)
    return error_response(NotFound(f"There is no {request.path} here: see /api/docs/."))


def server_error(request: HttpRequest) -> HttpResponseBase:
    return defaults.server_error(request) if is_page(request) else error_response(ApiError())


# --- Event streams ----------------------------------------------------------------------------------------------------


EVENT_STREAM = "text/event-stream; charset=utf-8"


class Events(Protocol):
    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None: ...


class EventStream(StreamingHttpResponse):
    """Server-sent events, encoded, from an async generator or what can be closed like one.

    Iterating it is iterating the events themselves, so that whoever closes the iterator closes them, at once: what they
    must settle when the client leaves does not wait for garbage collection.
    """

    def __init__(self, events: Events, **headers: str) -> None:
        super().__init__(events, content_type=EVENT_STREAM)
        self.events = events
        self["Cache-Control"] = "no-store"
        self["X-Accel-Buffering"] = "no"  # nginx would collect the events otherwise
        for name, value in headers.items():
            self[name] = value

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.events


async def in_turn(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """For ASGI, where Django would collect a plain iterator first, with a warning."""
    for part in parts:
        yield part


def json_bytes(value: Any) -> bytes:
    return orjson.dumps(value, default=str)


def server_sent_event(data: Any, event: str = "") -> bytes:
    """One event of https://html.spec.whatwg.org/multipage/server-sent-events.html; `data` is JSON or ready bytes."""
    payload = data if isinstance(data, bytes) else json_bytes(data)
    name = b"event: " + event.encode() + b"\n" if event else b""
    return name + b"data: " + payload + b"\n\n"


KEEP_ALIVE = b": waiting\n\n"


def json_response(value: Any, status: int = 200) -> HttpResponse:
    body = value if isinstance(value, bytes) else json_bytes(value)
    return HttpResponse(body, status=status, content_type="application/json")
