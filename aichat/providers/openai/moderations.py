"""OpenAI's moderations: https://platform.openai.com/docs/api-reference/moderations"""

from typing import Any

from aichat.providers.base import Endpoint
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.openai import calls
from aichat.providers.single_calls import ModerationAnswer, ModerationRequest


class OpenAIModerations:
    async def moderate(self, request: ModerationRequest, endpoint: Endpoint) -> ModerationAnswer:
        body = {"model": request.model, "input": request.input}
        return await calls.ask("/moderations", body, endpoint, request.request_id, read)


def read(answer: dict[str, Any]) -> ModerationAnswer:
    results = answer["results"]
    if not results or not all(isinstance(each, dict) and isinstance(each.get("flagged"), bool) for each in results):
        raise ProviderError(AttemptOutcome.MALFORMED, "a moderation without a verdict")
    return ModerationAnswer(results)
