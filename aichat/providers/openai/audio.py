"""OpenAI's speech and transcriptions: https://platform.openai.com/docs/api-reference/audio"""

import math
from typing import Any, ClassVar

import aiohttp

from aichat.providers import bodies, http
from aichat.providers.base import Endpoint, Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.json import as_object
from aichat.providers.openai import calls
from aichat.providers.single_calls import (
    SoundSink,
    SpeechAnswer,
    SpeechRequest,
    TranscriptionAnswer,
    TranscriptionRequest,
)
from aichat.providers.usage import LARGEST_COUNT

TEXT_FORMATS = {"text", "srt", "vtt"}


class OpenAISpeech:
    formats: ClassVar[tuple[str, ...]] = ("mp3", "opus", "aac", "flac", "wav", "pcm")
    takes_speed: ClassVar[bool] = True

    async def speak(self, request: SpeechRequest, endpoint: Endpoint, hear: SoundSink) -> SpeechAnswer:
        body: dict[str, Any] = {
            "model": request.model,
            "input": request.text,
            "voice": request.voice,
            "response_format": request.format or self.formats[0],
        }
        if request.speed is not None:
            body["speed"] = request.speed
        if request.instructions:
            body["instructions"] = request.instructions

        async def sound(response: aiohttp.ClientResponse) -> SpeechAnswer:
            kind = response.content_type
            if kind in ("application/json", "text/html"):
                raise ProviderError(AttemptOutcome.MALFORMED, "an answer that is no audio")
            audio = await bodies.read_bytes(response, lambda piece: hear(piece, kind))
            if not audio:
                raise ProviderError(AttemptOutcome.EMPTY, "no audio came")
            return SpeechAnswer(audio, kind)

        headers = calls.headers_of(endpoint, request.request_id)
        return await http.post(endpoint.url("/audio/speech"), body, headers, endpoint, sound)


class OpenAITranscriptions:
    formats: ClassVar[tuple[str, ...]] = ("json", "text", "srt", "vtt", "verbose_json")

    async def transcribe(self, request: TranscriptionRequest, endpoint: Endpoint) -> TranscriptionAnswer:
        def form() -> aiohttp.FormData:
            data = aiohttp.FormData()
            data.add_field("model", request.model)
            data.add_field("response_format", request.response_format)
            for name, value in request.fields:
                data.add_field(name, value)
            data.add_field("file", request.audio, filename=request.filename, content_type=request.content_type)
            return data

        raw = await calls.ask_bytes("/audio/transcriptions", form, endpoint, request.request_id)
        if request.response_format in TEXT_FORMATS:
            return TranscriptionAnswer(raw.decode("utf-8", "replace"), None)
        answer = as_object(raw)
        if not isinstance(answer.get("text"), str):
            raise ProviderError(AttemptOutcome.MALFORMED, "a transcription without text")
        return TranscriptionAnswer(answer, usage_of(answer))


def usage_of(answer: dict[str, Any]) -> Usage | None:
    """Tokens or seconds as reported in `usage`, else whisper's `duration` in seconds; None without a figure that counts."""
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    read, made = usage.get("input_tokens"), usage.get("output_tokens")
    if isinstance(read, int) and isinstance(made, int) and read > 0 and made >= 0:
        return Usage(input_tokens=read, output_tokens=made)
    seconds: Any = usage.get("seconds", answer.get("duration"))
    try:
        length = float(seconds)
    except (TypeError, ValueError):
        return None
    return Usage(audio_ms=math.ceil(length * 1000)) if 0 < length * 1000 <= LARGEST_COUNT else None
