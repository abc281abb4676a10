"""Has a text spoken. The price is by character, or by token where the provider bills tokens."""

import math
from collections.abc import Callable
from dataclasses import replace

from aichat.catalog.snapshot import ModelInfo
from aichat.core.errors import InvalidRequest
from aichat.generation import key_ring
from aichat.generation.single_call import Performance, SingleCall
from aichat.providers.base import Usage
from aichat.providers.registry import speech_adapter
from aichat.providers.single_calls import SpeechAnswer, SpeechRequest

# Tokens of audio for a character of text: providers bill about 20 tokens a second, a voice says about 14 characters.
TOKENS_PER_CHARACTER = 1.5
MOST_TOKENS_PER_CHARACTER = 8  # of a slow voice
# Is given each piece of audio: the candidate that speaks, the price of the whole audio (microcredits), the piece, its type.
Listener = Callable[[ModelInfo, int, bytes, str], None]


def speech(request: SpeechRequest, listen: Listener | None = None) -> Performance[SpeechAnswer]:
    """The call that has the request's text spoken; `listen` is given the audio as it comes.

    After the first piece no other candidate is tried: another voice would not continue it. Audio that breaks off is
    free, like every call whose provider fails.
    """
    is_begun = False
    length = len(request.text)
    read = len(request.text.encode()) + len((request.instructions or "").encode())

    async def ask(model: ModelInfo) -> tuple[SpeechAnswer, Usage | None]:
        assert model.rates is not None
        is_by_character = model.rates.character_price + model.rates.character_cost > 0
        by_text = Usage(characters=length) if is_by_character else counted(model)
        charge = model.rates.charge(by_text)

        def hear(piece: bytes, content_type: str) -> None:
            nonlocal is_begun
            if listen is not None:
                is_begun = True
                listen(model, charge, piece, content_type)

        own = replace(request, model=model.upstream_name)
        adapter = speech_adapter(model.provider.kind)
        answer = await key_ring.ask(
            model.provider, lambda endpoint: adapter.speak(own, endpoint, hear), is_begun=lambda: is_begun
        )
        return answer, Usage(characters=length) if is_by_character else answer.usage

    def most(model: ModelInfo) -> Usage:
        output = min(model.max_output_tokens, 256 + MOST_TOKENS_PER_CHARACTER * length)
        return Usage(input_tokens=read, output_tokens=output, characters=length)

    def counted(model: ModelInfo) -> Usage:
        output = math.ceil(length * TOKENS_PER_CHARACTER / (request.speed or 1))
        return Usage(input_tokens=-(-read // 4), output_tokens=min(output, model.max_output_tokens), characters=length)

    def count(model: ModelInfo, answer: SpeechAnswer) -> Usage:
        return counted(model)

    def obstacle(model: ModelInfo) -> InvalidRequest | None:
        adapter = speech_adapter(model.provider.kind)
        if request.format is not None and request.format not in adapter.formats:
            return InvalidRequest(f"{model.slug} answers {', '.join(adapter.formats)}.", param="response_format")
        if request.speed not in (None, 1) and not adapter.takes_speed:
            return InvalidRequest(f"{model.slug} speaks at its own speed; say in instructions how.", param="speed")
        return None

    return Performance(SingleCall(ask=ask, most=most, count=count, obstacle=obstacle, is_begun=lambda: is_begun))
