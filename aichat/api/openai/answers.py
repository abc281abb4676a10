"""The answers of OpenAI's endpoints, for the OpenAPI document: https://platform.openai.com/docs/api-reference

Members that OpenAI's format does not have (thoughts, pictures) are written as DeepSeek and OpenRouter write them.
"""

from typing import Any, Literal

from aichat.core.web.answer_models import Answer, Error, Events, Maybe

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class InputTokens(Answer):
    cached_tokens: int


class OutputTokens(Answer):
    reasoning_tokens: int


class CompletionUsage(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: InputTokens
    completion_tokens_details: OutputTokens


class CalledFunction(Answer):
    """`arguments` is JSON in a text, as the model wrote it."""

    name: str
    arguments: str


class AnswerToolCall(Answer):
    id: str
    type: Literal["function"]
    function: CalledFunction
    extra_content: Maybe[dict[str, Any]] = None


class ImageLink(Answer):
    url: str


class AnswerImage(Answer):
    """A picture that the model made; `url` may be the picture itself, as data:image/png;base64,…"""

    type: Literal["image_url"]
    image_url: ImageLink


class Logprobs(Answer):
    """The log probabilities of tokens, as the provider sends them."""

    content: Maybe[list[dict[str, Any]] | None] = None
    refusal: Maybe[list[dict[str, Any]] | None] = None


class OfAnAnswer(Answer):
    """What a message and a delta may have besides their text and calls."""

    reasoning_content: Maybe[str] = None
    reasoning_details: Maybe[list[dict[str, Any]]] = None
    images: Maybe[list[AnswerImage]] = None
    annotations: Maybe[list[dict[str, Any]]] = None


class AnsweredMessage(OfAnAnswer):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: Maybe[list[AnswerToolCall]] = None
    function_call: Maybe[CalledFunction] = None


class CompletionChoice(Answer):
    index: int
    message: AnsweredMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None


class ChatCompletion(Answer):
    """`created` is in seconds since 1970."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage


class PieceOfFunction(Answer):
    name: Maybe[str] = None
    arguments: Maybe[str] = None


class PieceOfToolCall(Answer):
    """Pieces with the same `index` are of one call: their arguments are joined."""

    index: int
    id: Maybe[str] = None
    type: Maybe[Literal["function"]] = None
    function: Maybe[PieceOfFunction] = None
    extra_content: Maybe[dict[str, Any]] = None


class CompletionDelta(OfAnAnswer):
    role: Maybe[Literal["assistant"]] = None
    content: Maybe[str] = None
    tool_calls: Maybe[list[PieceOfToolCall]] = None
    function_call: Maybe[PieceOfFunction] = None


class ChunkChoice(Answer):
    index: int
    delta: CompletionDelta
    finish_reason: FinishReason | None
    logprobs: Logprobs | None


class ChatCompletionChunk(Answer):
    """With `stream_options.include_usage` each chunk has `usage`, null until the last one, which has no choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Maybe[CompletionUsage | None] = None


class ChatCompletionEvents(Events[ChatCompletionChunk | Error]):
    pass


class TextChoice(Answer):
    index: int
    text: str
    finish_reason: FinishReason | None
    logprobs: None


class TextCompletion(Answer):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Maybe[CompletionUsage | None] = None


class TextCompletionEvents(Events[TextCompletion | Error]):
    pass


class EmbeddingUsage(Answer):
    prompt_tokens: int
    total_tokens: int


class Embedding(Answer):
    """`embedding` is a list of numbers, or base64 of little-endian 32-bit floats."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(Answer):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Moderation(Answer):
    """The verdict on one input, as the provider sends it. The categories are the provider's."""

    flagged: bool
    categories: dict[str, bool | None]
    category_scores: dict[str, float]
    category_applied_input_types: Maybe[dict[str, list[str]]] = None


class ModerationList(Answer):
    id: str
    model: str
    results: list[Moderation]


class Transcription(Answer):
    """`verbose_json` has the further members, as the provider sends them."""

    text: str
    task: Maybe[str] = None
    language: Maybe[str] = None
    duration: Maybe[float | str] = None
    segments: Maybe[list[dict[str, Any]]] = None
    words: Maybe[list[dict[str, Any]]] = None
    usage: Maybe[dict[str, Any]] = None


class MadeImage(Answer):
    """`url` when that was asked for, else `b64_json`."""

    b64_json: Maybe[str] = None
    url: Maybe[str] = None


class ImageList(Answer):
    created: int
    data: list[MadeImage]


class Prices(Answer):
    """Prices in credits: for a million tokens of input, a million of output, a request, a picture."""

    input: str
    output: str
    request: str
    image: str


class ModelEntry(Answer):
    """A model for the clients of OpenAI (`object`, `created`, `owned_by`) and of Anthropic (`type`, `display_name` …)."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    type: Literal["model"]
    display_name: str
    created_at: str
    kind: str
    vision: Maybe[bool] = None
    context_window: Maybe[int] = None
    max_output_tokens: Maybe[int] = None
    prices: Maybe[Prices] = None


class ModelList(Answer):
    object: Literal["list"]
    data: list[ModelEntry]
    has_more: Literal[False]
    first_id: str | None
    last_id: str | None
