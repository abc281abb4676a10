"""`POST /v1/audio/speech` and `/v1/audio/transcriptions`: https://platform.openai.com/docs/api-reference/audio"""

import asyncio
from typing import Annotated, Any, Literal

import orjson
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from accounts.authentication import Caller
from accounts.models import Scope
from accounts.permissions import IsUser
from aichat.api.async_views import AsyncView, parse, respond
from aichat.api.forms import File, Form, parse_form
from aichat.api.openai.answers import Transcription
from aichat.api.openai.spoken import Spoken
from aichat.api.openai.whole_answers import WholeAnswer
from aichat.catalog.models import AIModel
from aichat.catalog.routing import AUTO
from aichat.core.errors import InvalidRequest
from aichat.core.web.openapi import CHAT_HEADERS, charges, may_answer
from aichat.generation.errors import STATUSES
from aichat.generation.request import GenerationRequest, Result
from aichat.generation.single_call import Performance
from aichat.generation.speech import speech
from aichat.generation.transcription import transcription
from aichat.idempotency.keys import HEADER
from aichat.providers.single_calls import SpeechAnswer, SpeechRequest, TranscriptionRequest

LONGEST_TEXT = 4_096  # characters, as OpenAI's
AUDIO: dict[str, Any] = {"type": "string", "format": "binary"}
Granularity = Annotated[str, StringConstraints(pattern=r"^(word|segment)$")]
TEXT_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}


class Voice(BaseModel):
    """A voice by its ID."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str = Field(min_length=1, max_length=100)


class SpeechBody(BaseModel):
    """`POST /v1/audio/speech`"""

    model_config = ConfigDict(strict=True, extra="ignore")

    input: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT, pattern=r"\S")]
    model: str = Field(AUTO, min_length=1, max_length=100)
    voice: Annotated[str, StringConstraints(min_length=1, max_length=100)] | Voice = "alloy"
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] | None = None
    speed: Annotated[float, Field(ge=0.25, le=4, strict=False, allow_inf_nan=False)] | None = None
    instructions: str | None = Field(None, max_length=LONGEST_TEXT)
    stream_format: Literal["audio"] | None = Field(None, description="Only audio.")


class SpeechView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.AUDIO

    @extend_schema(
        summary="Speech (OpenAI-compatible)",
        request=SpeechBody,
        responses={
            (200, kind): OpenApiResponse(AUDIO, "The audio, in the format asked for.")
            for kind in ("audio/mpeg", "audio/wav", "audio/ogg", "audio/aac", "audio/flac", "application/octet-stream")
        },
    )
    @may_answer(*STATUSES)
    @charges(*CHAT_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """Speaks a text; the audio is sent as the provider makes it. Priced by the text's characters, or by tokens where
        the provider bills those. With an `Idempotency-Key` it is sent whole."""
        body = await parse(SpeechBody, request)
        asked = GenerationRequest(
            caller=caller, model=body.model, kind=AIModel.Kind.SPEECH.value, messages=[], stream=False
        )
        text = SpeechRequest(
            model=body.model,
            text=body.input,
            voice=body.voice if isinstance(body.voice, str) else body.voice.id,
            format=body.response_format,
            speed=body.speed,
            instructions=body.instructions,
            request_id=asked.request_id,
        )
        if HEADER not in request.headers:
            spoken = Spoken(asked, lambda listen: speech(text, listen))
            return await spoken.respond(whole_audio(spoken.call))
        call = speech(text)  # whole, because what is replayed is stored by the commit that charges

        async def prepare() -> tuple[GenerationRequest, WholeAnswer]:
            return asked, whole_audio(call)

        return await respond(request, caller, prepare, call.perform)


def whole_audio(call: Performance[SpeechAnswer]) -> WholeAnswer:
    return WholeAnswer(
        lambda result: call.answer.audio if call.answer else b"",
        lambda: call.answer.content_type if call.answer else "",
    )


class TranscriptionForm(Form):
    """`POST /v1/audio/transcriptions`, a multipart form."""

    file: File
    model: str = Field(AUTO, min_length=1, max_length=100)
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json"] = "json"
    language: str | None = Field(None, max_length=20)
    prompt: str | None = Field(None, max_length=10_000)
    temperature: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    granularities: list[Granularity] = Field([], max_length=2, alias="timestamp_granularities[]")
    stream: Literal["false", "False", "0", ""] = Field("false", description="Not supported.")

    def fields(self) -> list[tuple[str, str]]:
        """The further fields that the provider is sent."""
        named = {"language": self.language, "prompt": self.prompt, "temperature": self.temperature}
        given = [(name, str(value)) for name, value in named.items() if value is not None]
        return [*given, *(("timestamp_granularities[]", each) for each in self.granularities)]


class TranscriptionsView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.AUDIO

    @extend_schema(
        summary="Transcription (OpenAI-compatible)",
        request={"multipart/form-data": TranscriptionForm},
        responses={
            (200, "application/json"): Transcription,
            (200, "text/plain"): OpenApiResponse({"type": "string"}, "With `response_format` text, srt or vtt."),
        },
    )
    @may_answer(*STATUSES)
    @charges(*CHAT_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """Writes down what is said in a file of audio. Priced by the minute, or by tokens where the provider bills those."""
        form = await parse_form(TranscriptionForm, request)
        if not form.file.content:
            raise InvalidRequest("The file is empty.", param="file")
        asked = GenerationRequest(
            caller=caller, model=form.model, kind=AIModel.Kind.TRANSCRIPTION.value, messages=[], stream=False
        )
        call = await asyncio.to_thread(  # which looks for the file's length: in a long MP3 for each of its frames
            transcription,
            TranscriptionRequest(
                model=form.model,
                audio=form.file.content,
                filename=form.file.name,
                content_type=form.file.content_type,
                response_format=form.response_format,
                fields=form.fields(),
                request_id=asked.request_id,
            ),
        )

        def write(result: Result) -> bytes:
            body: Any = call.answer.body if call.answer else ""
            return body.encode() if isinstance(body, str) else orjson.dumps(body)

        def content_type() -> str:
            kind = TEXT_TYPES.get(form.response_format)
            return f"{kind}; charset=utf-8" if kind else "application/json"

        async def prepare() -> tuple[GenerationRequest, WholeAnswer]:
            return asked, WholeAnswer(write, content_type)

        return await respond(request, caller, prepare, call.perform)
