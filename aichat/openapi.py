"""The OpenAPI document: which errors each operation can answer with, and what drf-spectacular can't know of streams.

What follows from a route itself (its level, its path, its body) is said here once for all; a view names what only it
can answer with `@may_answer(409)`.
"""

from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent

Handler = TypeVar("Handler", bound=Callable[..., Any])

# OpenAPI 3.1 can't describe a stream's events one by one: what the response says in words is what holds.
EVENTS_SCHEMA: dict[str, Any] = {"description": "Server-sent events."}

ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "code", "message", "param", "request_id"],
            "properties": {
                "type": {"type": "string"},
                "code": {"type": "string"},
                "message": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "request_id": {"type": "string"},
            },
        }
    },
}
ERRORS = {
    400: "The request is not valid: `param` names the field.",
    401: "No token, or one that is unknown, expired or revoked.",
    402: "Not enough credits: `required` and `available` say how many.",
    403: "The caller may not do this.",
    404: "There is nothing here, or it is not the caller's; or they do not belong to what `X-Organization` names.",
    406: "`Accept` wants something else.",
    409: "Something else is under way or was answered before: an `Idempotency-Key`, a running job.",
    413: "The body is larger than the server allows.",
    415: "The body is not sent as `application/json`.",
    429: "Too many requests: `Retry-After` says how many seconds to wait.",
    500: "A fault of the server.",
    502: "The AI provider failed.",
    503: "The server, its database or a provider is not available: `Retry-After` says when to try again.",
    504: "The AI provider did not answer in time.",
}


def may_answer(*statuses: int) -> Callable[[Handler], Handler]:
    """Names errors that a view's method answers for reasons of its own."""

    def name(handler: Handler) -> Handler:
        handler.errors = statuses  # type: ignore[attr-defined]
        return handler

    return name


class Schema(AutoSchema):
    """drf-spectacular's `DEFAULT_SCHEMA_CLASS` here: every operation states each error status it can answer."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation = super().get_operation(*args, **kwargs)
        if operation is not None:
            error = ResolvedComponent("Error", ResolvedComponent.SCHEMA, ERROR_SCHEMA, "Error")  # type: ignore[no-untyped-call]
            self.registry.register_on_missing(error)
            content = {"application/json": {"schema": error.ref}}
            for status in sorted(set(self.errors(operation))):
                operation["responses"][str(status)] = {"description": ERRORS[status], "content": content}
        return operation

    def errors(self, operation: dict[str, Any]) -> Iterator[int]:
        handler = getattr(self.view, self.method.lower())
        yield from getattr(handler, "errors", ())
        yield from (500, 503)
        if not iscoroutinefunction(handler):
            yield 406  # async views answer what they answer, whatever was asked for
        if "requestBody" in operation:
            yield from (400, 413, 415)
        if any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
            yield 400
        if "{" in self.path:
            yield 404
        if operation.get("security"):
            yield from (401, 404, 429)
        if any(getattr(one, "level", "") not in ("PUBLIC", "USER") for one in self.view.permission_classes):
            yield 403
