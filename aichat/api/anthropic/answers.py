"""The answers of Anthropic's Messages API, for the OpenAPI document: https://platform.claude.com/docs/en/api/messages"""

from typing import Annotated, Any, Literal

from pydantic import Field

from aichat.core.web.answer_models import Answer, Events

StopReason = Literal["end_turn", "max_tokens", "tool_use", "refusal", "stop_sequence"]


class TextBlock(Answer):
    type: Literal["text"]
    text: str


class ThinkingBlock(Answer):
    """Thoughts; `signature` is what the model needs back with the next request."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinkingBlock(Answer):
    type: Literal["redacted_thinking"]
    data: str


class ToolUseBlock(Answer):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


ContentBlock = Annotated[TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock, Field(discriminator="type")]


class CacheCreation(Answer):
    ephemeral_5m_input_tokens: int
    ephemeral_1h_input_tokens: int


class ThinkingTokens(Answer):
    thinking_tokens: int


class MessageUsage(Answer):
    """`input_tokens` are those that were neither read from a cache nor written to one."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    cache_creation: CacheCreation
    output_tokens: int
    output_tokens_details: ThinkingTokens


class Stop(Answer):
    stop_reason: StopReason | None
    stop_sequence: str | None


class AnthropicMessage(Stop):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[ContentBlock]
    usage: MessageUsage


class TokenCount(Answer):
    input_tokens: int


class MessageStart(Answer):
    type: Literal["message_start"]
    message: AnthropicMessage


class Ping(Answer):
    type: Literal["ping"]


class BlockStart(Answer):
    type: Literal["content_block_start"]
    index: int
    content_block: ContentBlock


class TextDeltaBlock(Answer):
    type: Literal["text_delta"]
    text: str


class ThinkingDeltaBlock(Answer):
    type: Literal["thinking_delta"]
    thinking: str


class SignatureDeltaBlock(Answer):
    type: Literal["signature_delta"]
    signature: str


class InputDeltaBlock(Answer):
    """A piece of the tool's input: the pieces joined are JSON."""

    type: Literal["input_json_delta"]
    partial_json: str


class BlockDelta(Answer):
    type: Literal["content_block_delta"]
    index: int
    delta: Annotated[
        TextDeltaBlock | ThinkingDeltaBlock | SignatureDeltaBlock | InputDeltaBlock, Field(discriminator="type")
    ]


class BlockStop(Answer):
    type: Literal["content_block_stop"]
    index: int


class MessageDelta(Answer):
    type: Literal["message_delta"]
    delta: Stop
    usage: MessageUsage


class MessageStop(Answer):
    type: Literal["message_stop"]


class AnthropicError(Answer):
    """An error in Anthropic's shape; `error` also has the members of this API's own (`code`, `param` …)."""

    type: Literal["error"]
    error: dict[str, Any]
    request_id: str


class MessageEvents(
    Events[
        Annotated[
            MessageStart | Ping | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | AnthropicError,
            Field(discriminator="type"),
        ]
    ]
):
    pass
