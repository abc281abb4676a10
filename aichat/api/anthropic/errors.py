"""Anthropic's shape of errors: https://platform.claude.com/docs/en/api/errors

Every error under `/v1/messages` has it, whoever refused: the view, a middleware, or the URL resolver. The members of our
own shape (`code`, `param` …) stand beside Anthropic's.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from aichat.core.errors import ApiError, InvalidRequest
from aichat.core.telemetry import tracing
from aichat.core.web.middleware import Middleware

PATH = "/v1/messages"
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class UnsupportedThread(InvalidRequest):
    """Conversations are not kept here. The SDKs' tool runners read `details`, and go on without a thread."""

    def __init__(self) -> None:
        super().__init__(
            "Conversations are not kept here: send the whole conversation, without `thread`.",
            param="thread",
            details={"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
        )


def error_body(error: Mapping[str, Any], status: int) -> dict[str, Any]:
    """The body of an error answer, from the `error` object of our own shape."""
    fallback = "invalid_request_error" if status < 500 else "api_error"
    return {
        "type": "error",
        "error": {**error, "type": TYPES.get(status, fallback)},
        "request_id": error.get("request_id") or tracing.request_id(),
    }


def error_event(error: ApiError) -> dict[str, Any]:
    """The data of an `error` event."""
    return error_body(error.body(tracing.request_id())["error"], error.status)


class AnthropicErrorsMiddleware(Middleware):
    """Answers errors below `/v1/messages` in Anthropic's shape, and names the request in Anthropic's header too."""

    below = PATH

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not request.path_info.startswith(PATH):
            return response
        response["request-id"] = tracing.request_id()
        if response.status_code >= 400 and isinstance(response, HttpResponse):
            error = error_of(response.content)
            if error is not None:
                response.content = orjson.dumps(error_body(error, response.status_code))
                response["Content-Length"] = str(len(response.content))  # a middleware within has set that of the other
        return response


def error_of(raw: bytes) -> dict[str, Any] | None:
    """The error object of a body in our own shape; None for any other body."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    error = body.get("error") if isinstance(body, dict) and body.get("type") != "error" else None
    return error if isinstance(error, dict) else None
