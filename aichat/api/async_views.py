"""Async views and event streams, shared by every endpoint that generates.

DRF has no async views. These views skip DRF's request cycle, but use its permissions, our authentication and errors, and
the same OpenAPI document.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import Any, ClassVar, TypeVar

import orjson
from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from rest_framework.permissions import AllowAny
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from accounts import rate_limits
from accounts.authentication import Caller
from accounts.rate_limits import CallerThrottle
from aichat.api import idempotent
from aichat.api.confirmation import Confirmation
from aichat.api.event_stream import Body, Feed
from aichat.core.background import lifecycle
from aichat.core.errors import InvalidRequest, MethodNotAllowed, PermissionDenied
from aichat.core.telemetry import spans, tracing
from aichat.core.web import responses, sse
from aichat.core.web.addresses import deployment_of
from aichat.core.web.json_bodies import MOST_VALUES, check_structure
from aichat.flags import evaluation
from aichat.generation import pipeline as generation
from aichat.generation import spans as generation_spans
from aichat.generation.request import Failed, Freshness, Generate, GenerationRequest, ResponseFormat
from aichat.idempotency.keys import HEADER, Answer

KEEP_ALIVE_SECONDS = 15.0
AUTHENTICATION = list(api_settings.DEFAULT_AUTHENTICATION_CLASSES)
BODY_ON_THE_LOOP = 128 * 1024  # bytes of a body that is read at once; a larger one would hold up other requests
_validator = ThreadPoolExecutor(1, "large-bodies")
B = TypeVar("B", bound=BaseModel)
T = TypeVar("T")


class AsyncView(APIView):
    """An endpoint whose handlers are coroutines: `async def post(self, request, caller, …)`.

    AsyncView subclasses APIView for the OpenAPI document, routing and permissions; DRF's request cycle does not run. Every
    handler has an authenticated caller, so no view is `Public`. A view whose class attributes would have no effect here
    is refused when its class or its route is made.
    """

    allowed: ClassVar[tuple[str, ...]] = ()  # HTTP methods
    # Whether the handler may begin before the caller is confirmed: then it does nothing but read before it calls `respond`.
    is_confirmed_late: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        handlers = [name for name in cls.http_method_names if hasattr(cls, name) and name != "options"]
        for name in handlers:
            if not iscoroutinefunction(getattr(cls, name)):
                raise TypeError(f"{cls.__qualname__}.{name} must be `async def`.")
        if "get" in handlers and "head" not in handlers and "head" in cls.http_method_names:
            handlers.append("head")  # served by `get`, as in every Django view
        cls.allowed = tuple(name.upper() for name in handlers)
        refuse_without_effect(cls, vars(cls))

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        refuse_without_effect(cls, initkwargs)
        return super().as_view(**initkwargs)

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        try:
            if request.method not in self.allowed:
                return refuse_method(request, self.allowed)
            handle = partial(self.handle, request, args, kwargs)
            confirmation = Confirmation(request, counts=bool(self.throttle_classes))
            if (known := confirmation.known) and self.is_confirmed_late and not rate_limits.was_refused(known):
                try:
                    response = await handle(known, confirmation)
                except Exception:
                    if await confirmation.caller() is known:
                        raise
                else:
                    if await is_still(known, confirmation, response):
                        return response
            return await handle(await confirmation.caller(), None)
        except Exception as error:
            return responses.error_response(error)

    async def handle(
        self,
        request: HttpRequest,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        caller: Caller,
        confirmation: Confirmation | None,
    ) -> HttpResponseBase:
        """Check the view's permissions and call its handler; `confirmation` is that of a caller who is not confirmed yet.

        Feature flags are ready then: nothing in the handler waits for them. Raises `PermissionDenied`.
        """
        request.user, request.auth = caller.user, caller  # type: ignore[attr-defined]  # as DRF's requests have them
        request.confirmation = confirmation  # type: ignore[attr-defined]  # for `respond`
        await evaluation.ready()
        for permission in self.get_permissions():
            if not permission.has_permission(request, self):  # type: ignore[arg-type]
                raise PermissionDenied(getattr(permission, "message", ""))
        if confirmation is not None:
            confirmation.is_permitted = True
        handler = getattr(self, request.method.lower())  # type: ignore[union-attr]
        response: HttpResponseBase = await handler(request, caller, *args, **kwargs)
        return response


async def is_still(known: Caller, confirmation: Confirmation, response: HttpResponseBase) -> bool:
    """Whether the caller is `known`. If not, the response is closed: it may be a stream that keeps its client waiting."""
    is_known = False
    try:
        is_known = await confirmation.caller() is known
    finally:
        if not is_known and isinstance(response, sse.EventStream):
            await response.events.aclose()
    return is_known


def refuse_without_effect(view: type[AsyncView], attributes: Mapping[str, Any]) -> None:
    """Raise `TypeError` for class attributes of DRF that an `AsyncView` does not honour as they are."""
    name = view.__qualname__
    if list(attributes.get("authentication_classes", AUTHENTICATION)) != AUTHENTICATION:
        raise TypeError(f"{name}.authentication_classes has no effect: an AsyncView always has bearer authentication.")
    if not {*attributes.get("throttle_classes", ())} <= {CallerThrottle}:
        raise TypeError(
            f"{name}.throttle_classes may be [CallerThrottle] or empty: an AsyncView calls no other throttle."
        )
    for attribute in ("parser_classes", "renderer_classes", "content_negotiation_class", "versioning_class"):
        if attribute in attributes:
            raise TypeError(f"{name}.{attribute} has no effect: an AsyncView reads and writes its bodies itself.")
    if any(issubclass(one, AllowAny) for one in attributes.get("permission_classes", ()) if isinstance(one, type)):
        raise TypeError(f"{name} can't be public: an AsyncView always has a caller.")


def refuse_method(request: HttpRequest, allowed: Sequence[str]) -> HttpResponse:
    """The 405 for a method that the view lacks; for OPTIONS the methods that it has."""
    if request.method == "OPTIONS":
        response = HttpResponse(status=204)
    else:
        response = responses.error_response(MethodNotAllowed(f"{request.method} is not allowed here."))
    response["Allow"] = ", ".join([*allowed, "OPTIONS"])
    return response


async def parse(model: type[B], request: HttpRequest) -> B:
    """The request's JSON body as `model`; errors name the first field at fault.

    A body over `BODY_ON_THE_LOOP` bytes is validated in a thread of its own, one at a time. A model whose lists are
    long by nature states `most_values`.
    """
    if request.content_type != "application/json":
        raise responses.unsupported_media_type()
    body, deployment = request.body or b"null", deployment_of(request)
    if len(body) <= BODY_ON_THE_LOOP:
        return validate(model, body, deployment)
    return await asyncio.get_running_loop().run_in_executor(_validator, validate, model, body, deployment)


async def beside_the_loop(request: HttpRequest, work: Callable[..., T], *arguments: Any) -> T:
    """Do work whose time grows with the body: in a thread for a body over `BODY_ON_THE_LOOP` bytes, else at once."""
    if len(request.body) <= BODY_ON_THE_LOOP:
        return work(*arguments)
    return await asyncio.get_running_loop().run_in_executor(_validator, work, *arguments)


def validate(model: type[B], body: bytes, deployment: str) -> B:
    """Parse a JSON text as `model`. Raises `InvalidRequest` that names the first field at fault."""
    most = getattr(model, "most_values", MOST_VALUES)
    if len(body) >= most:  # a shorter one can't have so many
        check_structure(body, most)
    try:
        return model.model_validate_json(named_deployment(body, deployment) if deployment else body)
    except ValidationError as error:
        raise refusal(error) from None


def refusal(error: ValidationError) -> InvalidRequest:
    """The 400 of a body that is not valid, naming the first field at fault."""
    problem = main_problem(error.errors(include_url=False, include_input=False))
    if problem["type"] == "json_invalid":
        return InvalidRequest(f"The body is not valid JSON: {problem['ctx']['error']}.")
    where = [str(step) for step in problem["loc"] if not is_union_branch(step)]
    name = ".".join(where) or None
    message = "It is not supported here" if problem["type"] == "none_required" else problem["msg"]
    return InvalidRequest(f"{name or 'The body'}: {message.removeprefix('Value error, ')}.", param=name)


def named_deployment(body: bytes, deployment: str) -> bytes:
    """The JSON body with the model that an Azure path names as its `model`, whatever the body says."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body  # the caller refuses it
    return orjson.dumps({**found, "model": deployment}) if isinstance(found, dict) else body


def main_problem(problems: Sequence[ErrorDetails]) -> ErrorDetails:
    """The first problem; among the branches of a union, the one of the branch that matched furthest."""
    first = problems[0]
    field = tuple(takewhile(lambda step: not is_union_branch(step), first["loc"]))
    return max((item for item in problems if item["loc"][: len(field)] == field), key=lambda item: len(item["loc"]))


def is_union_branch(step: int | str) -> bool:
    """Whether a step of pydantic's error location names a branch of a union instead of a field."""
    if not isinstance(step, str):
        return False
    return step in {"str", "int", "float", "bool"} or "[" in step or step.startswith("constrained-")


async def respond(
    request: HttpRequest,
    caller: Caller,
    prepare: Callable[[], Awaitable[tuple[GenerationRequest, ResponseFormat]]],
    generate: Generate = generation.generate,
) -> HttpResponseBase:
    """Respond to a request that generates: with one body or an event stream, replayed for an Idempotency-Key.

    `prepare` returns the generation request and the format of its answer; it may raise `ApiError` to refuse.
    `generate` makes the answer: a chat, unless the endpoint is for something else. A caller who is not confirmed yet is so
    before anything is spent, stored or shown.
    """
    confirmation: Confirmation | None = request.confirmation  # type: ignore[attr-defined]
    if confirmation is not None:
        if HEADER in request.headers or generate is not generation.generate:
            await confirmation.of_known()
        else:
            generate = partial(generation.generate, confirm=confirmation.of_known)
    recording = await idempotent.begin(request, caller) if HEADER in request.headers else None
    if isinstance(recording, Answer):
        return recording.response()
    try:
        generation_request, response_format = await prepare()
        if "Cache-Control" in request.headers:
            generation_request = replace(generation_request, freshness=freshness(request.headers["Cache-Control"]))
        if recording is not None:
            generation_request, response_format = recording.of(generation_request, response_format)
            generate = recording.around(generate)
        if spans.enabled:
            generate = generation_spans.around(generate)
        if generation_request.stream:
            return await stream(generation_request, response_format, generate)
    except BaseException:  # a client that left while its request was being prepared is a CancelledError
        if recording is not None:
            await recording.free()
        raise
    # In a task of its own: when the client leaves, the answer is still finished, stored and billed. It frees the key itself.
    end = await lifecycle.finish(generate(generation_request, None))
    if isinstance(end, Failed):
        raise end.error
    body, headers = response_format.whole(end.result)
    kind = {name: headers.pop(name) for name in ("Content-Type",) if name in headers}
    tracing.answer_with(headers)  # Django's response would take six calls for each
    return responses.json_response(body, headers=kind)


def freshness(cache_control: str) -> Freshness:
    """Return what a Cache-Control header asks of the prompt cache; `no-store` wins over `no-cache`."""
    directives = cache_control.lower()
    for asked in (Freshness.UNSTORED, Freshness.NEW):
        if asked.value in directives:
            return asked
    return Freshness.ANY


async def stream(
    generation_request: GenerationRequest, response_format: ResponseFormat, generate: Generate
) -> sse.EventStream:
    """Respond with an event stream.

    The first event is awaited before the headers go out, so that refusals and early failures have a real status; after
    `KEEP_ALIVE_SECONDS` headers and comment lines go out to keep proxies alive, and later failures are error events.
    """

    feed = Feed(
        generation_request.caller,
        partial(generate, generation_request),
        response_format,
        KEEP_ALIVE_SECONDS,
        goes_on_as=generation_request.goes_on_as,
    )
    try:
        first = await feed.next()
    except BaseException:
        await feed.close()
        raise
    return sse.EventStream(Body(feed, first), **(feed.headers or {}))
