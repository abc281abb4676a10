"""`POST /v1/chat/completions`: https://platform.openai.com/docs/api-reference/chat/object"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema

from accounts.authentication import Caller
from accounts.models import Scope
from accounts.permissions import IsUser
from aichat.api.async_views import AsyncView, parse, respond
from aichat.api.headers import answer_headers, stream_headers
from aichat.api.openai.answers import ChatCompletion, ChatCompletionEvents
from aichat.api.openai.schemas import CompletionBody
from aichat.core.errors import ApiError
from aichat.core.telemetry import tracing
from aichat.core.web import responses, sse
from aichat.core.web.openapi import CHAT_HEADERS, charges, may_answer
from aichat.generation import experiments
from aichat.generation.errors import STATUSES
from aichat.generation.request import (
    Completed,
    Failed,
    GenerationEvent,
    GenerationRequest,
    Piece,
    Result,
    Started,
    as_function,
)

DONE = b"data: [DONE]\n\n"
CALL_REASON = "function_call"  # the finish reason that clients of `functions` know instead of `tool_calls`
HERE = "\0delta"  # marks the place of the delta in a chunk that is encoded once; no other member holds a NUL


class CompletionsView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.CHAT
    is_confirmed_late = True

    @extend_schema(
        summary="Chat completion (OpenAI-compatible)",
        request=CompletionBody,
        responses={
            (200, "application/json"): ChatCompletion,
            (200, "text/event-stream"): OpenApiResponse(ChatCompletionEvents, "The chunks, then `[DONE]`."),
        },
    )
    @may_answer(*STATUSES)
    @charges(*CHAT_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """Answers any OpenAI client whose base URL ends in `/v1`. Model `auto` is the default route."""
        body = await parse(CompletionBody, request)
        answer_format = FunctionCallFormat if body.functions else CompletionFormat
        return await respond(request, caller, partial(prepare, caller, body, answer_format))


async def prepare(
    caller: Caller, body: CompletionBody, answer_format: "type[CompletionFormat]"
) -> tuple[GenerationRequest, "CompletionFormat"]:
    generation_request = GenerationRequest(
        caller=caller,
        model=body.model,
        messages=body.message_dicts(),
        stream=bool(body.stream),
        max_tokens=body.max_completion_tokens or body.max_tokens,
        parameters=body.parameters(),
    )
    return await experiments.treated(generation_request), answer_format(
        include_usage=body.stream_options is not None and bool(body.stream_options.include_usage)
    )


def completion(result: Result) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": result.text or None, "refusal": None}
    if result.tool_calls:
        message["tool_calls"] = result.tool_calls
    message |= extras(result)
    choice = {"index": 0, "message": message, "finish_reason": result.finish_reason, "logprobs": result.logprobs}
    return {**envelope(result, "chat.completion"), "choices": [choice], "usage": usage(result)}


def extras(answer: Result | Piece) -> dict[str, Any]:
    """The members of a message or delta that OpenAI's format does not have, as DeepSeek and OpenRouter write them."""
    found: dict[str, Any] = {}
    if answer.reasoning:
        found["reasoning_content"] = answer.reasoning
    if answer.reasoning_details:
        found["reasoning_details"] = answer.reasoning_details
    if answer.images:
        found["images"] = [{"type": "image_url", "image_url": {"url": url}} for url in answer.images]
    if answer.annotations:
        found["annotations"] = answer.annotations
    return found


def envelope(result: Result, kind: str) -> dict[str, Any]:
    """The members every object has. `created` is the time in the result's ID, equal in all chunks and replays."""
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
class CompletionFormat:
    """Encodes answers as `chat.completion`s. With `include_usage` every chunk has `usage`, null until the last."""

    include_usage: bool
    started: Result | None = None
    before: bytes = b""  # with `after`: what stands around the delta of a chunk, encoded once for all chunks
    after: bytes = b""

    def whole(self, result: Result) -> tuple[bytes, dict[str, str]]:
        return responses.json_bytes(completion(result)), answer_headers(result)

    def headers(self, event: GenerationEvent) -> dict[str, str]:
        return stream_headers(event)

    def encode(self, event: GenerationEvent) -> bytes:
        match event:
            case Piece():
                return self.piece(event)
            case Started(result):
                self.started = result
                self.before, self.after = self.chunk(HERE).split(responses.json_bytes(HERE))
                return self.chunk({"role": "assistant", "content": ""})
            case Completed(result):
                return self.ending(result, result.finish_reason)
            case Failed(error):
                return self.encode_error(error)

    def piece(self, piece: Piece) -> bytes:
        delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
        if not piece.is_text:
            if piece.tool_calls:
                delta["tool_calls"] = piece.tool_calls
            delta |= extras(piece)
            if piece.logprobs:
                return self.chunk(delta, logprobs=piece.logprobs)
        return self.before + responses.json_bytes(delta) + self.after

    def ending(self, result: Result, finish_reason: str | None) -> bytes:
        return self.chunk({}, finish_reason) + self.usage_chunk(result) + DONE

    def usage_chunk(self, result: Result) -> bytes:
        if not self.include_usage:
            return b""
        return sse.server_sent_event(
            {**envelope(result, "chat.completion.chunk"), "choices": [], "usage": usage(result)}
        )

    def chunk(self, delta: Any, finish_reason: str | None = None, logprobs: Any = None) -> bytes:
        assert self.started
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs}
        body = {**envelope(self.started, "chat.completion.chunk"), "choices": [choice]}
        return sse.server_sent_event({**body, "usage": None} if self.include_usage else body)

    def encode_error(self, error: ApiError) -> bytes:
        """Encode an error as a chunk with an `error` member, for which the official SDKs raise `APIError`."""
        return sse.server_sent_event(error.body(tracing.request_id()))


class FunctionCallFormat(CompletionFormat):
    """Answers as `chat.completion`s whose call is in `function_call`: a client of `functions` knows one call, without ID."""

    def whole(self, result: Result) -> tuple[bytes, dict[str, str]]:
        body = completion(result)
        choice = body["choices"][0]
        calls = choice["message"].pop("tool_calls", None)
        if calls:
            choice["message"]["function_call"] = as_function(calls[0])
        choice["finish_reason"] = finish_reason(result)
        return responses.json_bytes(body), answer_headers(result)

    def encode(self, event: GenerationEvent) -> bytes:
        match event:
            case Piece() if event.tool_calls:
                delta: dict[str, Any] = {"content": event.text} if event.text else {}
                first = [call for call in event.tool_calls if call.get("index", 0) == 0]
                pieces = [self.chunk({**delta, "function_call": as_function(call)}) for call in first]
                return b"".join(pieces)
            case Completed(result):
                return self.ending(result, finish_reason(result))
            case _:
                return super().encode(event)


def finish_reason(result: Result) -> str | None:
    return CALL_REASON if result.finish_reason == "tool_calls" else result.finish_reason
