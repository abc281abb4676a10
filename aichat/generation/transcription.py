"""Has audio written down. The price is by minute, or by token where the provider bills tokens."""

from dataclasses import replace

from django.conf import settings

from aichat.catalog.snapshot import ModelInfo
from aichat.core.errors import InvalidRequest
from aichat.generation import key_ring
from aichat.generation.charging import audio_length, tokens
from aichat.generation.single_call import Performance, SingleCall
from aichat.providers.base import Usage
from aichat.providers.registry import transcription_adapter
from aichat.providers.single_calls import TranscriptionAnswer, TranscriptionRequest

MS_PER_MINUTE = 60_000
# The most tokens that providers bill for a second of audio, and for what is said in a second.
MOST_TOKENS_HEARD, MOST_TOKENS_SAID = 32, 16
TOKENS_HEARD = 10  # on average
# For a chat model that writes audio down: the most tokens of its instructions, and of its thoughts.
MOST_TOKENS_ASKED, MOST_TOKENS_THOUGHT = 256, 1_024


def transcription(request: TranscriptionRequest) -> Performance[TranscriptionAnswer]:
    """The call that writes the audio down. Raises `InvalidRequest` when the file says that it is too long.

    A file may state no length, or a wrong one. So a length that the provider reports is believed up to the longest audio that
    so many bytes can hold.
    """
    limit = settings.MAX_AUDIO_MINUTES * MS_PER_MINUTE
    stated = audio_length.stated_ms(request.audio)
    if stated is not None and stated > limit:
        raise InvalidRequest(f"The audio is longer than {settings.MAX_AUDIO_MINUTES} minutes.", param="file")
    longest = min(limit, audio_length.longest_ms(request.audio))
    expected = stated or min(longest, audio_length.usual_ms(request.audio))
    prompt = sum(len(value.encode()) for _, value in request.fields)

    async def ask(model: ModelInfo) -> tuple[TranscriptionAnswer, Usage | None]:
        own = replace(request, model=model.upstream_name)
        adapter = transcription_adapter(model.provider.kind)
        answer = await key_ring.ask(model.provider, lambda endpoint: adapter.transcribe(own, endpoint))
        return answer, answer.usage

    def bound(model: ModelInfo, length: int) -> Usage:
        seconds = -(-length // 1000)
        said = min(model.max_output_tokens, MOST_TOKENS_THOUGHT + seconds * MOST_TOKENS_SAID)
        return Usage(
            input_tokens=MOST_TOKENS_ASKED + prompt + seconds * MOST_TOKENS_HEARD, output_tokens=said, audio_ms=length
        )

    def count(model: ModelInfo, answer: TranscriptionAnswer) -> Usage:
        text = answer.body if isinstance(answer.body, str) else str(answer.body.get("text", ""))
        return Usage(
            input_tokens=-(-expected * TOKENS_HEARD // 1000),
            output_tokens=tokens.estimate_text(text),
            audio_ms=expected,
        )

    def obstacle(model: ModelInfo) -> InvalidRequest | None:
        formats = transcription_adapter(model.provider.kind).formats
        if request.response_format not in formats:
            return InvalidRequest(f"{model.slug} answers {', '.join(formats)}.", param="response_format")
        return None

    return Performance(
        SingleCall(
            ask=ask,
            most=lambda model: bound(model, stated or longest),
            possible=lambda model: bound(model, longest),
            count=count,
            obstacle=obstacle,
        )
    )
