"""The demo provider's embeddings, moderation, speech and transcription: deterministic, without key or network."""

import asyncio
import hashlib
import io
import math
import re
import struct
from array import array
from typing import Any, ClassVar

from PIL import Image

from aichat.providers.base import Endpoint, Usage
from aichat.providers.demo.images import draw
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.single_calls import (
    EmbeddingAnswer,
    EmbeddingRequest,
    ImageEditAnswer,
    ImageEditRequest,
    Input,
    ModerationAnswer,
    ModerationRequest,
    SoundSink,
    SpeechAnswer,
    SpeechRequest,
    TranscriptionAnswer,
    TranscriptionRequest,
    Vector,
)
from aichat.providers.wav import as_wav

DIMENSIONS = 1536
PLACES = 16  # of a vector that one word changes
CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
RATE = 16_000  # samples of the demo voice a second


class DemoEmbeddings:
    """Hashes words to a few places of the vector, so that texts which share words are near each other.

    Feature hashing: Weinberger et al., Feature Hashing for Large Scale Multitask Learning (ICML 2009).
    """

    takes_tokens: ClassVar[bool] = True

    async def embed(self, request: EmbeddingRequest, endpoint: Endpoint) -> EmbeddingAnswer:
        size = request.dimensions or DIMENSIONS
        vectors = await asyncio.to_thread(lambda: [embedded(each, size) for each in request.inputs])
        return EmbeddingAnswer(vectors, Usage(input_tokens=sum(len(words_of(each)) for each in request.inputs)))


def words_of(text: Input) -> list[str]:
    """The words of a text, or the tokens of a token list, of which each counts as one token."""
    return re.findall(r"\w+", text.lower()) or [text] if isinstance(text, str) else [str(token) for token in text]


def embedded(text: Input, size: int) -> Vector:
    """A vector of length 1."""
    total = [0.0] * size
    for word in words_of(text):
        for place in struct.unpack(f"<{PLACES}I", hashlib.shake_128(word.encode()).digest(4 * PLACES)):
            total[(place >> 1) % size] += 1.0 if place & 1 else -1.0
    length = math.sqrt(sum(value * value for value in total))
    if not length:  # every place was hit as often by a plus as by a minus
        total[0] = length = 1.0
    return array("f", (value / length for value in total))


class DemoModeration:
    """Flags the word "violence", so that a client's handling of a flagged text can be tried."""

    async def moderate(self, request: ModerationRequest, endpoint: Endpoint) -> ModerationAnswer:
        given = request.input if isinstance(request.input, list) else [request.input]
        if given and all(isinstance(item, dict) for item in given):  # the parts of one message
            given = [" ".join(str(item.get("text", "")) for item in given)]
        return ModerationAnswer([judged(str(text)) for text in given])


def judged(text: str) -> dict[str, Any]:
    is_violent = "violence" in text.lower()
    scores = {name: 0.99 if is_violent and name == "violence" else 0.01 for name in CATEGORIES}
    return {
        "flagged": is_violent,
        "categories": {name: score > 0.5 for name, score in scores.items()},
        "category_scores": scores,
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }


class DemoSpeech:
    """Hums a tone for each word. The answer is WAV whatever format is asked for: there is no encoder at hand."""

    formats: ClassVar[tuple[str, ...]] = ("wav", "mp3", "opus", "aac", "flac", "pcm")
    takes_speed: ClassVar[bool] = True

    async def speak(self, request: SpeechRequest, endpoint: Endpoint, hear: SoundSink) -> SpeechAnswer:
        return SpeechAnswer(as_wav(await asyncio.to_thread(hummed, request.text), RATE), "audio/wav")


def hummed(text: str) -> bytes:
    """Samples of 16 bits: about what a person would take to say the text, at most a minute."""
    sound = bytearray()
    for word in text.split():
        pitch = 140 + hashlib.sha256(word.encode()).digest()[0]
        count = RATE * min(len(word), 20) // 15
        sound += struct.pack(f"<{count}h", *(int(6000 * math.sin(math.tau * pitch * n / RATE)) for n in range(count)))
        sound += bytes(RATE // 10)
        if len(sound) > 2 * RATE * 60:
            break
    return bytes(sound)


class DemoTranscription:
    """Says what it was given instead of listening."""

    formats: ClassVar[tuple[str, ...]] = ("json", "text", "verbose_json")

    async def transcribe(self, request: TranscriptionRequest, endpoint: Endpoint) -> TranscriptionAnswer:
        digest = hashlib.sha256(request.audio).hexdigest()[:8]
        text = f"This is the demo model: {request.filename}, {len(request.audio)} bytes, {digest}."
        if request.response_format == "text":
            return TranscriptionAnswer(text, None)
        return TranscriptionAnswer({"text": text}, None)


class DemoImageEdits:
    """Writes the prompt over the first picture."""

    tokens_per_image: ClassVar[int] = 0

    async def edit(self, request: ImageEditRequest, endpoint: Endpoint) -> ImageEditAnswer:
        try:
            made = [await asyncio.to_thread(blended, request, number) for number in range(request.n)]
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise ProviderError(AttemptOutcome.INVALID_REQUEST, "the image can't be read") from error
        return ImageEditAnswer(made, Usage(images=len(made)))


def blended(request: ImageEditRequest, number: int) -> bytes:
    written = Image.open(io.BytesIO(draw(request.prompt, request.size, number))).convert("RGB")
    given = Image.open(io.BytesIO(request.images[0][0])).convert("RGB").resize(written.size)
    file = io.BytesIO()
    Image.blend(given, written, 0.4).save(file, "PNG")
    return file.getvalue()
