"""Has texts and pictures classified as harmful or not, for free."""

from typing import Any

from aichat.catalog.snapshot import ModelInfo
from aichat.generation import key_ring
from aichat.generation.single_call import Performance, SingleCall
from aichat.providers.base import Usage
from aichat.providers.registry import moderation_adapter
from aichat.providers.single_calls import ModerationAnswer, ModerationRequest

NOTHING = Usage()


def moderation(given: Any, request_id: str) -> Performance[ModerationAnswer]:
    """The call that classifies OpenAI's `input`."""

    async def ask(model: ModelInfo) -> tuple[ModerationAnswer, Usage]:
        request = ModerationRequest(model.upstream_name, given, request_id)
        adapter = moderation_adapter(model.provider.kind)
        return await key_ring.ask(model.provider, lambda endpoint: adapter.moderate(request, endpoint)), NOTHING

    return Performance(SingleCall(ask=ask, most=lambda model: NOTHING, count=lambda model, answer: NOTHING))
