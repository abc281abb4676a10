"""Completes the OpenAPI document: the errors that each operation can answer with, and the headers of answers.

Errors that follow from a route itself (its level, its path, its body) are found here; a view names further ones with
`@may_answer(409)`.
"""

from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction
from typing import Any, TypeVar
from uuid import UUID

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import get_lib_doc_excludes
from drf_spectacular.utils import OpenApiParameter

from aichat.core.web.answer_models import Error
from aichat.core.web.drf import AnyAccept, StrictMembers

# Of answers; those that are not text are whole numbers.
HEADERS = {
    "X-Request-ID": "The request's ID: the one the client sent, or one made here.",
    "RateLimit-Limit": "Requests the caller has in a period.",
    "RateLimit-Remaining": "Requests left in this period.",
    "RateLimit-Reset": "Seconds until the period is over.",
    "Retry-After": "Seconds to wait before trying again, where it is known.",
    "Idempotent-Replayed": "`true`: the answer to an earlier request with this `Idempotency-Key`.",
    "X-Provider": "The provider that answered.",
    "X-Model": "The model that answered.",
    "X-Credits-Charged": "What it cost, in credits. Not on streams: it is in their last event.",
    "X-Credits-Low": "`true`: less than LOW_CREDITS are left.",
    "X-Dropped-Parameters": "The request's parameters that were not sent to the model that answered.",
    "X-Max-Tokens-Capped": "The longest answer the credits covered, in tokens, when that is less than was asked for.",
    "X-Cache": "`hit`, `miss`, or `bypass` when the prompt cache had nothing to do with it.",
    "Age": "Seconds since a cached answer was made.",
}
WHOLE_NUMBERS = {
    "Age",
    "Retry-After",
    "X-Max-Tokens-Capped",
    *(name for name in HEADERS if name.startswith("RateLimit")),
}
LIMITED = tuple(name for name in HEADERS if name.startswith("RateLimit"))
PICTURE_HEADERS = ("X-Provider", "X-Model", "X-Credits-Charged")
CHAT_HEADERS = (*PICTURE_HEADERS, "X-Credits-Low", "X-Max-Tokens-Capped", "X-Dropped-Parameters", "X-Cache", "Age")
ORGANIZATION = OpenApiParameter(
    "X-Organization", UUID, OpenApiParameter.HEADER, description="With a login token: the organization to act for."
)
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    OpenApiParameter.HEADER,
    description="Makes it safe to send again, for 24 hours: the first answer is replayed, nothing is charged twice.",
)
CACHE_CONTROL = OpenApiParameter(
    "Cache-Control", str, OpenApiParameter.HEADER, enum=["no-cache", "no-store"],
    description="`no-cache` asks for a fresh answer; `no-store` also keeps it out of the prompt cache.",
)  # fmt: skip

Handler = TypeVar("Handler", bound=Callable[..., Any])

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


def classes_that_describe_nothing() -> list[Any]:
    """Base classes whose docstrings don't describe an answer: a serializer without a docstring gets no description."""
    return [*get_lib_doc_excludes(), StrictMembers]  # type: ignore[no-untyped-call]


def may_answer(*statuses: int) -> Callable[[Handler], Handler]:
    """Names errors that a view's method answers for reasons of its own."""

    def name(handler: Handler) -> Handler:
        handler.errors = statuses  # type: ignore[attr-defined]
        return handler

    return name


def charges(*headers: str) -> Callable[[Handler], Handler]:
    """Marks a method that moves credits, and so takes an `Idempotency-Key`; `headers` are those its answer has."""

    def name(handler: Handler) -> Handler:
        handler.charges, handler.headers = True, headers  # type: ignore[attr-defined]
        return handler

    return name


class Schema(AutoSchema):
    """drf-spectacular's `DEFAULT_SCHEMA_CLASS` here: every operation states each error status it can answer."""

    @property
    def handler(self) -> Any:
        return getattr(self.view, self.method.lower())

    @property
    def is_public(self) -> bool:
        return any(getattr(one, "level", "") == "PUBLIC" for one in self.view.permission_classes)

    def get_override_parameters(self) -> list[Any]:
        found = [*super().get_override_parameters()]
        if not self.is_public:
            found.append(ORGANIZATION)
        if getattr(self.handler, "charges", False):
            found.append(IDEMPOTENCY_KEY)
        if "X-Cache" in getattr(self.handler, "headers", ()):
            found.append(CACHE_CONTROL)
        return found

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation = super().get_operation(*args, **kwargs)
        if operation is not None:
            error = self.resolve_serializer(Error, "response")  # type: ignore[arg-type]  # an extension takes Pydantic's
            content = {"application/json": {"schema": error.ref}}
            for status in sorted(set(self.errors(operation))):
                operation["responses"][str(status)] = {"description": ERRORS[status], "content": content}
            for status, response in operation["responses"].items():
                response["headers"] = {name: header(name) for name in self.headers(status, operation)}
        return operation

    def headers(self, status: str, operation: dict[str, Any]) -> Iterator[str]:
        """The names of the headers that an answer of this status can have."""
        yield "X-Request-ID"
        if "429" in operation["responses"]:
            yield from LIMITED
        if getattr(self.handler, "charges", False) and status != "409":
            yield "Idempotent-Replayed"
        if status < "3":
            yield from getattr(self.handler, "headers", ())
        if status in {"409", "429", "503"}:
            yield "Retry-After"

    def errors(self, operation: dict[str, Any]) -> Iterator[int]:
        yield from getattr(self.handler, "errors", ())
        yield from (500, 503)
        if not iscoroutinefunction(self.handler) and self.view.content_negotiation_class is not AnyAccept:
            yield 406  # async views ignore the Accept header
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
        refuses = [getattr(one, "refuses_limited_keys", None) for one in self.view.permission_classes]
        if any(refuse(self.view, self.method) for refuse in refuses if refuse):
            yield 403


def header(name: str) -> dict[str, Any]:
    kind = "integer" if name in WHOLE_NUMBERS else "string"
    return {"description": HEADERS[name], "schema": {"type": kind}}
