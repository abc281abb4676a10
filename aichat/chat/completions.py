"""The OpenAI-compatible endpoint: https://platform.openai.com/docs/api-reference/chat/object"""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import Caller, calling
from accounts.permissions import IsUser
from aichat import rest, tracing
from aichat.catalog import routing, snapshot
from aichat.catalog.snapshot import ModelInfo
from aichat.chat.bodies import CompletionBody
from aichat.chat.views import answer_headers, stream_headers
from aichat.errors import ApiError
from aichat.generation import experiments
from aichat.generation.call import Call, Completed, Event, Failed, Piece, Result, Started
from aichat.generation.failures import STATUSES
from aichat.generation.http import AsyncView, parse, respond
from aichat.openapi import CHAT_HEADERS, EVENTS_SCHEMA, charges, may_answer

OBJECT = {"type": "object", "additionalProperties": True}
DONE = b"data: [DONE]\n\n"
HERE = "\0delta"  # no model is called so


class CompletionsView(AsyncView):
    permission_classes = [IsUser]

    @extend_schema(
        summary="Chat completion (OpenAI-compatible)",
        request=CompletionBody,
        responses={
            (200, "application/json"): OpenApiResponse(OBJECT, "A `chat.completion` object."),
            (200, "text/event-stream"): OpenApiResponse(EVENTS_SCHEMA, "`chat.completion.chunk`s, then `[DONE]`."),
        },
    )
    @may_answer(*STATUSES)
    @charges(*CHAT_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """For any OpenAI client, with `/v1` as its base URL. Model `auto` is the default route."""
        body = parse(CompletionBody, request)
        return await respond(request, caller, lambda: prepare(caller, body))


async def prepare(caller: Caller, body: CompletionBody) -> tuple[Call, "CompletionForm"]:
    call = Call(
        caller=caller,
        model=body.model,
        messages=body.message_dicts(),
        stream=body.stream,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        parameters=body.parameters(),
    )
    call = experiments.treated(call, await experiments.treatment(caller, body.model))
    return call, CompletionForm(include_usage=body.stream_options is not None and body.stream_options.include_usage)


def completion(result: Result) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": result.text or None, "refusal": None}
    if result.tool_calls:
        message["tool_calls"] = result.tool_calls
    return {
        **envelope(result, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": result.finish_reason, "logprobs": None}],
        "usage": usage(result),
    }


def envelope(result: Result, kind: str) -> dict[str, Any]:
    """`created` is the time in the result's ID, so that all chunks and every replay say the same."""
    created = (result.id.int >> 80) // 1000
    return {"id": f"chatcmpl-{result.id.hex}", "object": kind, "created": created, "model": result.model}


def usage(result: Result) -> dict[str, Any]:
    tokens = result.usage
    return {
        "prompt_tokens": tokens.input_tokens,
        "completion_tokens": tokens.output_tokens,
        "total_tokens": tokens.input_tokens + tokens.output_tokens,
        "prompt_tokens_details": {"cached_tokens": tokens.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning_tokens},
    }


@dataclass(slots=True)
class CompletionForm:
    """Answers as `chat.completion`s. With `include_usage` every chunk has a `usage` member, null until the last."""

    include_usage: bool
    started: Result | None = None
    before: bytes = b""  # what stands around the delta of a piece, encoded once for all of them
    after: bytes = b""

    def whole(self, result: Result) -> tuple[bytes, dict[str, str]]:
        return rest.json_bytes(completion(result)), answer_headers(result)

    def headers(self, event: Event) -> dict[str, str]:
        return stream_headers(event)

    def encode(self, event: Event) -> bytes:
        match event:
            case Piece(text, tool_calls):
                delta: dict[str, Any] = {"content": text} if text else {}
                if tool_calls:
                    delta["tool_calls"] = tool_calls
                return self.before + rest.json_bytes(delta) + self.after
            case Started(result):
                self.started = result
                self.before, self.after = self.chunk(HERE).split(rest.json_bytes(HERE))
                return self.chunk({"role": "assistant", "content": ""})
            case Completed(result):
                return self.chunk({}, result.finish_reason) + self.usage_chunk(result) + DONE
            case Failed(error):
                return self.encode_error(error)

    def usage_chunk(self, result: Result) -> bytes:
        if not self.include_usage:
            return b""
        return rest.server_sent_event(
            {**envelope(result, "chat.completion.chunk"), "choices": [], "usage": usage(result)}
        )

    def chunk(self, delta: Any, finish_reason: str | None = None) -> bytes:
        assert self.started
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        body = {**envelope(self.started, "chat.completion.chunk"), "choices": [choice]}
        return rest.server_sent_event({**body, "usage": None} if self.include_usage else body)

    def encode_error(self, error: ApiError) -> bytes:
        """The official SDKs raise `APIError` for a chunk with an `error` member."""
        return rest.server_sent_event(error.body(tracing.request_id()))


class ModelsView(APIView):
    permission_classes = [IsUser]

    @extend_schema(
        operation_id="models_list", summary="List models (OpenAI-compatible)", responses={200: OpenApiResponse(OBJECT)}
    )
    def get(self, request: Request) -> Response:
        """The models the caller can use; `auto` is the default route."""
        models = routing.listed(snapshot.current(), calling(request))
        created = min((model.created for model in models), default=0)
        auto = {"id": routing.AUTO, "object": "model", "created": created, "owned_by": "aichat"}
        return Response({"object": "list", "data": [auto, *(describe(model) for model in models)]})


class ModelView(APIView):
    permission_classes = [IsUser]

    @extend_schema(summary="One model (OpenAI-compatible)", responses={200: OpenApiResponse(OBJECT)})
    def get(self, request: Request, slug: str) -> Response:
        """404 `model_not_found` unless the caller can use it."""
        catalog = snapshot.current()
        if slug == routing.AUTO:
            first = routing.candidates(catalog, calling(request), slug)[0]
            return Response({**describe(first), "id": slug, "owned_by": "aichat"})
        model = catalog.get(slug)
        if model is None or not model.is_callable or not model.is_open_to(calling(request)):
            raise routing.ModelNotFound(slug)
        return Response(describe(model))


def describe(model: ModelInfo) -> dict[str, Any]:
    return {"id": model.slug, "object": "model", "created": model.created, "owned_by": model.provider.slug}
