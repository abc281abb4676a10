"""The vocabulary of what providers do besides chats and images: embeddings, moderation, speech, transcription.

An adapter is a small translator from one of these requests to one HTTP format and back. Each raises `ProviderError` for
everything but a whole answer. Policy (deadlines, fallback, circuit breaking, billing) is written once, around them, in
`aichat/generation/single_call.py`.
"""

import asyncio
from array import array
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from aichat.providers.base import Endpoint, ImageAnswer, Usage
from aichat.providers.usage import UsageReport

if TYPE_CHECKING:
    Vector = array[float]  # of 32-bit floats
else:
    Vector = array  # which can't be subscripted before Python 3.12
Input = str | Sequence[int]  # a text, or its tokens


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts (or token lists) to embed, each as one vector of `dimensions` numbers (None: as many as the model has)."""

    model: str
    inputs: Sequence[Input]
    dimensions: int | None
    request_id: str


@dataclass(frozen=True, slots=True)
class EmbeddingAnswer:
    """One vector for each input, in their order. `usage` is None when the provider reported none."""

    vectors: list[Vector]
    usage: Usage | None


async def embed_in_batches(
    inputs: Sequence[Input], size: int, embed: Callable[[Sequence[Input]], Coroutine[Any, Any, EmbeddingAnswer]]
) -> EmbeddingAnswer:
    """Embed at most `size` inputs a call, by calls at the same time; return their answers as one, in order.

    It has no usage when one of them has none. When one call fails, the others are ended, and its error is raised: nobody
    would use their answers, and a fallback may already ask another provider.
    """
    calls = [asyncio.create_task(embed(inputs[start : start + size])) for start in range(0, len(inputs), size)]
    try:
        answers = await asyncio.gather(*calls)
    finally:
        for call in calls:
            call.cancel()
    usages = [answer.usage for answer in answers if answer.usage]
    tokens = sum(usage.input_tokens for usage in usages)
    return EmbeddingAnswer(
        [vector for answer in answers for vector in answer.vectors],
        Usage(input_tokens=tokens) if len(usages) == len(answers) else None,
    )


class EmbeddingAdapter(Protocol):
    takes_tokens: ClassVar[bool]  # whether an input may be a list of tokens

    async def embed(self, request: EmbeddingRequest, endpoint: Endpoint) -> EmbeddingAnswer: ...


@dataclass(frozen=True, slots=True)
class ModerationRequest:
    """Texts and pictures to classify, as OpenAI's `input`: https://platform.openai.com/docs/api-reference/moderations"""

    model: str
    input: Any
    request_id: str


@dataclass(frozen=True, slots=True)
class ModerationAnswer:
    """One of OpenAI's result objects (`flagged`, `categories`, `category_scores`) for each input."""

    results: list[dict[str, Any]]


class ModerationAdapter(Protocol):
    async def moderate(self, request: ModerationRequest, endpoint: Endpoint) -> ModerationAnswer: ...


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A text to speak.

    `format` is one of mp3, opus, aac, flac, wav, pcm (None: the provider's usual one). `speed` 1 is the voice's own.
    """

    model: str
    text: str
    voice: str
    format: str | None
    speed: float | None
    instructions: str | None
    request_id: str


@dataclass(frozen=True, slots=True)
class SpeechAnswer:
    """The whole audio with its content type, and the provider's usage if it reported any."""

    audio: bytes
    content_type: str
    usage: Usage | None = None


# Hears each piece of audio as it comes, with its content type.
SoundSink = Callable[[bytes, str], None]


class SpeechAdapter(Protocol):
    formats: ClassVar[tuple[str, ...]]  # the usual one first
    takes_speed: ClassVar[bool]

    async def speak(self, request: SpeechRequest, endpoint: Endpoint, hear: SoundSink) -> SpeechAnswer:
        """The whole audio. An adapter that gets it in pieces passes each to `hear` at once."""
        ...


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """A file of audio to write down. `response_format` is OpenAI's: json, text, srt, vtt or verbose_json."""

    model: str
    audio: bytes
    filename: str
    content_type: str
    response_format: str
    fields: Sequence[tuple[str, str]]  # language, prompt, temperature …, as the client gave them
    request_id: str


@dataclass(frozen=True, slots=True)
class TranscriptionAnswer:
    """The transcript in the format asked for: the text itself, or OpenAI's JSON object with a `text`.

    `usage` is None when the provider reported none.
    """

    body: dict[str, Any] | str
    usage: Usage | None


class TranscriptionAdapter(Protocol):
    formats: ClassVar[tuple[str, ...]]

    async def transcribe(self, request: TranscriptionRequest, endpoint: Endpoint) -> TranscriptionAnswer: ...


@dataclass(frozen=True, slots=True)
class ImageEditRequest:
    """`n` pictures of `size` made of `images` (each with its content type) by `prompt`; `mask` says where to change."""

    model: str
    prompt: str
    images: Sequence[tuple[bytes, str]]
    mask: bytes | None
    size: str
    n: int
    request_id: str


@dataclass(frozen=True, slots=True)
class ImageEditAnswer:
    """The encoded images as the provider sent them: at least one. `usage` is None when the provider reported none."""

    images: list[bytes]
    usage: Usage | None

    @classmethod
    def of(cls, answer: ImageAnswer) -> "ImageEditAnswer":
        """The same pictures, with what the provider says they took, if both sides of it can be believed."""
        usage = believed(answer.report)
        return cls(answer.images, replace(usage, images=answer.billed) if usage and usage.output_tokens else None)


class ImageEditAdapter(Protocol):
    tokens_per_image: ClassVar[int]  # the most output tokens one image is billed

    async def edit(self, request: ImageEditRequest, endpoint: Endpoint) -> ImageEditAnswer: ...


def believed(report: UsageReport) -> Usage | None:
    """The tokens of a report; None when it has none that can be believed."""
    reading = report.reading()
    if not reading.input or reading.doubts:
        return None
    return Usage(
        input_tokens=reading.input,
        output_tokens=reading.output or 0,
        cached_input_tokens=reading.cached,
        reasoning_tokens=reading.reasoning,
    )
