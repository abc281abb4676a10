"""The answers of the Responses API, for the OpenAPI document: https://platform.openai.com/docs/api-reference/responses"""

from typing import Annotated, Any, Literal

from pydantic import Field

from aichat.core.web.answer_models import Answer, Events, Maybe

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class OutputText(Answer):
    type: Literal["output_text"]
    text: str
    annotations: list[dict[str, Any]]
    logprobs: list[dict[str, Any]]


class SummaryText(Answer):
    type: Literal["summary_text"]
    text: str


class OutputMessage(Answer):
    type: Literal["message"]
    id: str
    status: Status
    role: Literal["assistant"]
    content: list[OutputText]


class ReasoningItem(Answer):
    """Thoughts. `encrypted_content` is what the model needs back with the next request."""

    type: Literal["reasoning"]
    id: str
    summary: list[SummaryText]
    encrypted_content: Maybe[str | None] = None


class FunctionCallItem(Answer):
    type: Literal["function_call"]
    id: str
    status: Status
    call_id: str
    name: str
    arguments: str
    namespace: Maybe[str] = None


class CustomToolCallItem(Answer):
    type: Literal["custom_tool_call"]
    id: str
    status: Status
    call_id: str
    name: str
    input: str
    namespace: Maybe[str] = None


class ImageItem(Answer):
    """A picture that the model made; `result` is base64."""

    type: Literal["image_generation_call"]
    id: str
    status: Status
    result: str


OutputItem = Annotated[
    OutputMessage | ReasoningItem | FunctionCallItem | CustomToolCallItem | ImageItem, Field(discriminator="type")
]


class CachedTokens(Answer):
    cached_tokens: int
    cache_write_tokens: int


class ThoughtTokens(Answer):
    reasoning_tokens: int


class ResponseUsage(Answer):
    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ThoughtTokens
    total_tokens: int


class ResponseFailure(Answer):
    code: str
    message: str


class IncompleteDetails(Answer):
    reason: Literal["max_output_tokens", "content_filter"]


class ReasoningSettings(Answer):
    effort: str | None
    summary: str | None


class Response(Answer):
    """A `response` object. The members after `usage` repeat the request."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Status
    error: ResponseFailure | None
    incomplete_details: IncompleteDetails | None
    model: str
    output: list[OutputItem]
    usage: ResponseUsage | None
    background: Literal[False]
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None
    metadata: dict[str, Any]
    parallel_tool_calls: bool
    previous_response_id: None
    prompt_cache_key: str | None
    reasoning: ReasoningSettings
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: Literal[False]
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["disabled"]
    user: str | None


class Numbered(Answer):
    sequence_number: int


class ResponseEvent(Numbered):
    type: Literal[
        "response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed"
    ]
    response: Response


class ItemEvent(Numbered):
    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: OutputItem


class OfAnItem(Numbered):
    item_id: str
    output_index: int


class ContentPartEvent(OfAnItem):
    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: int
    part: OutputText


class TextDelta(OfAnItem):
    type: Literal["response.output_text.delta"]
    content_index: int
    delta: str
    logprobs: list[dict[str, Any]]


class TextDone(OfAnItem):
    type: Literal["response.output_text.done"]
    content_index: int
    text: str
    logprobs: list[dict[str, Any]]


class SummaryPartEvent(OfAnItem):
    type: Literal["response.reasoning_summary_part.added", "response.reasoning_summary_part.done"]
    summary_index: int
    part: SummaryText


class SummaryDelta(OfAnItem):
    type: Literal["response.reasoning_summary_text.delta"]
    summary_index: int
    delta: str


class SummaryDone(OfAnItem):
    type: Literal["response.reasoning_summary_text.done"]
    summary_index: int
    text: str


class InputDelta(OfAnItem):
    type: Literal["response.function_call_arguments.delta", "response.custom_tool_call_input.delta"]
    delta: str


class ArgumentsDone(OfAnItem):
    type: Literal["response.function_call_arguments.done"]
    arguments: str
    name: str


class InputDone(OfAnItem):
    type: Literal["response.custom_tool_call_input.done"]
    input: str


class ErrorEvent(Numbered):
    """An error before the response began; `error` has all its members."""

    type: Literal["error"]
    code: str
    message: str
    param: str | None
    error: dict[str, Any]


class ResponseEvents(
    Events[
        Annotated[
            ResponseEvent
            | ItemEvent
            | ContentPartEvent
            | TextDelta
            | TextDone
            | SummaryPartEvent
            | SummaryDelta
            | SummaryDone
            | InputDelta
            | ArgumentsDone
            | InputDone
            | ErrorEvent,
            Field(discriminator="type"),
        ]
    ]
):
    pass
