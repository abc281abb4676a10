"""JSON responses and the one error shape of every path."""

import logging
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson
from django.conf import settings
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views import defaults
from django.views.csrf import csrf_failure as django_csrf_failure
from rest_framework import exceptions
from rest_framework.response import Response

from aichat.core.database import transactions
from aichat.core.errors import (
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
from aichat.core.telemetry import tracing

logger = logging.getLogger(__name__)
PRINTABLE_HOST = re.compile(r"[A-Za-z0-9._-]{1,100}|\[[0-9A-Fa-f:.]{1,45}\]")
# Docker's, Podman's and Lima's names of the machine that runs a container.
HOSTS_OF_CONTAINERS = {
    "host.docker.internal",
    "gateway.docker.internal",
    "host.containers.internal",
    "host.lima.internal",
}


def as_api_error(error: BaseException) -> ApiError:
    """The API error for any exception; an unexpected one becomes `internal_error` without details."""
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
    if transactions.is_unavailable(error):
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
    return JsonResponse(problem.body(tracing.request_id()), status=problem.status, headers=error_headers(problem))


def unreadable_address() -> JsonResponse:
    """The 400 for a request whose query is not UTF-8, which Django refuses before its middleware runs."""
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
    """Whether the request is for a page of the admin: pages get Django's HTML errors, all else gets JSON."""
    return request.path_info.startswith("/admin/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if is_page(request):
        return defaults.bad_request(request, exception)
    if isinstance(exception, RequestDataTooBig):
        return error_response(exception)
    if isinstance(exception, DisallowedHost):
        return error_response(InvalidRequest(unknown_host(request.META.get("HTTP_HOST", ""))))
    return error_response(InvalidRequest())


def unknown_host(host: str) -> str:
    """The message for a Host header that is not in ALLOWED_HOSTS, with the mend for whoever runs the server."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if not PRINTABLE_HOST.fullmatch(name):
        return "The Host header names no host that is served here: add the server's name to ALLOWED_HOSTS."
    why = " (the name by which a container reaches the machine it runs on)" if name in HOSTS_OF_CONTAINERS else ""
    return f"The host {name!r}{why} is not served here: add it to ALLOWED_HOSTS, as in ALLOWED_HOSTS=localhost,{name}."


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return defaults.permission_denied(request, exception) if is_page(request) else error_response(PermissionDenied())


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    return django_csrf_failure(request, reason) if is_page(request) else error_response(PermissionDenied())


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if is_page(request):
        return defaults.page_not_found(request, exception)
    return error_response(NotFound(f"There is no {request.path} here. {base_urls(request)}"))


def base_urls(request: HttpRequest) -> str:
    """A hint for whoever gave a client a wrong base URL: the right ones, on the host that was asked."""
    try:
        host = request.build_absolute_uri(f"{settings.URL_PREFIX}/").rstrip("/")
    except DisallowedHost:
        host = f"http://HOST{settings.URL_PREFIX}"
    return (
        f"The base URL is {host}/v1 for OpenAI clients, {host} for Anthropic clients and Azure endpoints; "
        f"all paths are listed at {settings.URL_PREFIX}/api/docs/."
    )


def server_error(request: HttpRequest) -> HttpResponseBase:
    return defaults.server_error(request) if is_page(request) else error_response(ApiError())


# --- JSON -------------------------------------------------------------------------------------------------------------


def json_bytes(value: Any) -> bytes:
    return orjson.dumps(value, default=str)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """A JSON response of `value`, or of bytes that are JSON already; `headers` may name another Content-Type."""
    body = value if isinstance(value, bytes) else json_bytes(value)
    return HttpResponse(body, status=status, headers={"Content-Type": "application/json", **(headers or {})})
