"""Async views and event streams, shared by every endpoint that generates.

DRF has no async views. These views skip DRF's request cycle, but use its permissions, our authentication and errors, and
the same OpenAPI document.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, TypeVar

import orjson
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from rest_framework.views import APIView

from accounts import rate_limits, stream_limits
from accounts.authentication import Caller, credential
from accounts.caller_cache import Recognition
from aichat.api import idempotent
from aichat.api.event_stream import Body, Feed
from aichat.core.background import lifecycle
from aichat.core.errors import InvalidRequest, MethodNotAllowed, PermissionDenied
from aichat.core.web import responses, sse
from aichat.core.web.addresses import deployment_of
from aichat.flags import evaluation
from aichat.generation import pipeline as generation
from aichat.generation.request import Ending, EventSink, Freshness, Generate, GenerationRequest, ResponseFormat
from aichat.idempotency.keys import Answer

KEEP_ALIVE_SECONDS = 15.0
B = TypeVar("B", bound=BaseModel)


class AsyncView(APIView):
    """An endpoint whose handlers are coroutines: `async def post(self, request, caller)`.

    Subclasses APIView for the OpenAPI document and its routing only. States its level as any DRF view; there is always
    a caller, so none is `Public`.
    """

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        try:
            allowed = [method for method in ("GET", "POST", "DELETE") if hasattr(self, method.lower())]
            if request.method not in allowed:
                return refuse_method(request, allowed)
            handler = getattr(self, request.method.lower())
            caller = await self.admit(request)
            response: HttpResponseBase = await handler(request, caller, *args, **kwargs)
            return response
        except Exception as error:
            return responses.error_response(error)

    async def admit(self, request: HttpRequest) -> Caller:
        """Who asks, when their role and their rate allow it: asked of Redis in one round trip, when they are known."""
        recognition = Recognition(credential(request.headers), request.headers.get("X-Organization", ""))
        # Their rate is asked for before it is sure that nothing changed: the hit is theirs in any case.
        asked = rate_limits.asked(recognition.found.caller) if recognition.found else None
        caller = await recognition.caller()
        await rate_limits.hit_caller_async(caller, asked)
        request.user, request.auth = caller.user, caller  # type: ignore[attr-defined]  # as DRF's requests have them
        await evaluation.ready()  # a permission may ask for one
        for permission in self.get_permissions():
            if not permission.has_permission(request, self):  # type: ignore[arg-type]
                raise PermissionDenied(getattr(permission, "message", ""))
        return caller


def refuse_method(request: HttpRequest, allowed: list[str]) -> HttpResponse:
    """The 405 for a method that the view lacks; for OPTIONS the methods that it has."""
    if request.method == "OPTIONS":
        response = HttpResponse(status=204)
    else:
        response = responses.error_response(MethodNotAllowed(f"{request.method} is not allowed here."))
    response["Allow"] = ", ".join([*allowed, "OPTIONS"])
    return response


def parse(model: type[B], request: HttpRequest) -> B:
    """Validate the request's JSON body as `model`. Raises `InvalidRequest` naming the first field at fault."""
    if request.content_type != "application/json":
        raise responses.unsupported_media_type()
    try:
        return model.model_validate_json(named_deployment(request, request.body) or b"null")
    except ValidationError as error:
        problem = main_problem(error.errors(include_url=False, include_input=False))
        if problem["type"] == "json_invalid":
            raise InvalidRequest(f"The body is not valid JSON: {problem['ctx']['error']}.") from None
        where = [str(step) for step in problem["loc"] if not is_union_branch(step)]
        name = ".".join(where) or None
        message = "It is not supported here" if problem["type"] == "none_required" else problem["msg"]
        raise InvalidRequest(f"{name or 'The body'}: {message.removeprefix('Value error, ')}.", param=name) from None


def named_deployment(request: HttpRequest, body: bytes) -> bytes:
    """The JSON body with the model that an Azure path names as its `model`, whatever the body says; else unchanged."""
    deployment = deployment_of(request)
    if not deployment:
        return body
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
    return isinstance(step, str) and (step in {"str", "int", "float", "bool"} or "[" in step)


async def respond(
    request: HttpRequest, caller: Caller, prepare: Callable[[], Awaitable[tuple[GenerationRequest, ResponseFormat]]]
) -> HttpResponseBase:
    """Respond to a request that generates: with one body or an event stream, replayed for an Idempotency-Key.

    `prepare` returns the generation request and the format of its answer; it may raise `ApiError` to refuse.
    """
    recording = await idempotent.begin(request, caller)
    if isinstance(recording, Answer):
        return recording.response()
    if recording is None:
        return await _respond(*await prepared(request, prepare), generation.generate)
    try:
        generation_request, response_format = recording.of(*await prepared(request, prepare))
        return await _respond(generation_request, response_format, recording.generate)
    except BaseException:  # a client that left while its request was being prepared is a CancelledError
        await recording.free()
        raise


async def prepared(
    request: HttpRequest, prepare: Callable[[], Awaitable[tuple[GenerationRequest, ResponseFormat]]]
) -> tuple[GenerationRequest, ResponseFormat]:
    """The generation request and its format from `prepare`, with the freshness that Cache-Control asks for."""
    generation_request, response_format = await prepare()
    directives = request.headers.get("Cache-Control", "").lower()
    for freshness in (Freshness.UNSTORED, Freshness.NEW):
        if freshness.value in directives:
            return replace(generation_request, freshness=freshness), response_format
    return generation_request, response_format


async def _respond(
    generation_request: GenerationRequest, response_format: ResponseFormat, generate: Generate
) -> HttpResponseBase:
    if generation_request.stream:
        return await stream(generation_request, response_format, generate)
    # In a task of its own: when the client leaves, the answer is still finished, stored and billed.
    result = generation.whole(await lifecycle.finish(generate(generation_request, generation.discard)))
    body, headers = response_format.whole(result)
    response = responses.json_response(body)
    for name, value in headers.items():
        response[name] = value
    return response


async def stream(
    generation_request: GenerationRequest, response_format: ResponseFormat, generate: Generate
) -> sse.EventStream:
    """Respond with an event stream, which counts as one of those the caller may have open at once.

    The first event is awaited before the headers go out, so that refusals and early failures have a real status; after
    `KEEP_ALIVE_SECONDS` headers and comment lines go out to keep proxies alive, and later failures are error events.
    """

    async def work(sink: EventSink) -> Ending:
        async with stream_limits.counted(generation_request.caller.user.pk):
            return await generate(generation_request, sink)

    feed = Feed(work, response_format, KEEP_ALIVE_SECONDS)
    try:
        first = await feed.next()
    except BaseException:
        await feed.close()
        raise
    return sse.EventStream(Body(feed, first), **(feed.headers or {}))
