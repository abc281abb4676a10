"""`POST /v1/completions`, the legacy text endpoint: https://platform.openai.com/docs/api-reference/completions

The prompt is sent to a chat model as one user message.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema
from pydantic import BaseModel, ConfigDict, Field, field_validator

from accounts.authentication import Caller
from accounts.models import Scope
from accounts.permissions import IsUser
from aichat.api.async_views import AsyncView, parse, respond
from aichat.api.fields import LARGEST_NUMBER, LimitedText, Temperature, Text
from aichat.api.headers import answer_headers, stream_headers
from aichat.api.openai.answers import TextCompletion, TextCompletionEvents
from aichat.api.openai.chat_completions import DONE, usage
from aichat.api.openai.schemas import SEED, StreamOptions
from aichat.core.errors import ApiError
from aichat.core.telemetry import tracing
from aichat.core.web import responses, sse
from aichat.core.web.openapi import CHAT_HEADERS, charges, may_answer
from aichat.generation import experiments
from aichat.generation.errors import STATUSES
from aichat.generation.request import Completed, Failed, GenerationEvent, GenerationRequest, Piece, Result, Started


class TextCompletionBody(BaseModel):
    """`POST /v1/completions`. Only one answer to one prompt of text is made; other fields are those of a chat."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str = Field(min_length=1, max_length=100)
    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)] = Field(
        description="A text, or a list of one; token lists can't be read by chat models."
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=LARGEST_NUMBER)
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(ge=0, le=1, strict=False)] | None = None
    seed: int | None = Field(None, ge=-SEED, lt=SEED)
    stop: LimitedText | Annotated[list[LimitedText], Field(max_length=4)] | None = None
    echo: bool | None = Field(None, description="Whether the answer begins with the prompt.")
    n: Literal[1] | None = Field(None, description="Only 1.")
    best_of: Literal[1] | None = Field(None, description="Only 1.")
    logprobs: Literal[0] | None = Field(None, description="Not supported.")
    suffix: str | None = Field(None, max_length=0, description="Not supported.")

    @field_validator("prompt", mode="before")
    @classmethod
    def is_text(cls, prompt: Any) -> Any:
        if isinstance(prompt, list) and any(isinstance(item, int | list) for item in prompt[:1]):
            raise ValueError("write the prompt as text: chat models take no token lists")
        if isinstance(prompt, list) and len(prompt) > 1:
            raise ValueError("send one prompt a request")
        return prompt

    @property
    def text(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]

    def parameters(self) -> dict[str, Any]:
        """The parameters of a chat: everything but the prompt and what this endpoint decides."""
        ours = {
            "model",
            "prompt",
            "stream",
            "stream_options",
            "max_tokens",
            "echo",
            "n",
            "best_of",
            "logprobs",
            "suffix",
        }
        return self.model_dump(exclude=ours, exclude_none=True)


class TextCompletionsView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.CHAT
    is_confirmed_late = True

    @extend_schema(
        summary="Text completion (OpenAI-compatible, legacy)",
        request=TextCompletionBody,
        responses={
            (200, "application/json"): TextCompletion,
            (200, "text/event-stream"): OpenApiResponse(TextCompletionEvents, "`text_completion`s, then `[DONE]`."),
        },
    )
    @may_answer(*STATUSES)
    @charges(*CHAT_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """For clients from before chats: the prompt becomes a user's message to a chat model."""
        body = await parse(TextCompletionBody, request)
        return await respond(request, caller, partial(prepare, caller, body))


async def prepare(caller: Caller, body: TextCompletionBody) -> tuple[GenerationRequest, "TextCompletionFormat"]:
    asked = GenerationRequest(
        caller=caller,
        model=body.model,
        messages=[{"role": "user", "content": body.text}],
        param_names={"messages": "prompt"},
        stream=bool(body.stream),
        max_tokens=body.max_tokens,
        parameters=body.parameters(),
    )
    include_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    return await experiments.treated(asked), TextCompletionFormat(include_usage, body.text if body.echo else "")


@dataclass(slots=True)
class TextCompletionFormat:
    """Answers as `text_completion`s. `echoed` is what stands before the model's text."""

    include_usage: bool
    echoed: str = ""
    started: Result | None = None

    def whole(self, result: Result) -> tuple[bytes, dict[str, str]]:
        body = {**self.body(result, self.echoed + result.text, result.finish_reason), "usage": usage(result)}
        return responses.json_bytes(body), answer_headers(result)

    def headers(self, event: GenerationEvent) -> dict[str, str]:
        return stream_headers(event)

    def encode(self, event: GenerationEvent) -> bytes:
        match event:
            case Started(result):
                self.started = result
                return self.chunk(result, self.echoed) if self.echoed else b""
            case Piece():
                assert self.started
                return self.chunk(self.started, event.text) if event.text else b""
            case Completed(result):
                return self.chunk(result, "", result.finish_reason) + self.usage_chunk(result) + DONE
            case Failed(error):
                return self.encode_error(error)

    def encode_error(self, error: ApiError) -> bytes:
        return sse.server_sent_event(error.body(tracing.request_id()))

    def chunk(self, result: Result, text: str, finish_reason: str | None = None) -> bytes:
        body = self.body(result, text, finish_reason)
        return sse.server_sent_event({**body, "usage": None} if self.include_usage else body)

    def usage_chunk(self, result: Result) -> bytes:
        if not self.include_usage:
            return b""
        return sse.server_sent_event({**envelope(result), "choices": [], "usage": usage(result)})

    def body(self, result: Result, text: str, finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": None}
        return {**envelope(result), "choices": [choice]}


def envelope(result: Result) -> dict[str, Any]:
    created = (result.id.int >> 80) // 1000
    return {"id": f"cmpl-{result.id.hex}", "object": "text_completion", "created": created, "model": result.model}
