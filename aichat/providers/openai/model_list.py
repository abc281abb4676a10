"""OpenAI's list of models, and that of servers that speak its format: https://platform.openai.com/docs/api-reference/models/list"""

import re
from typing import Any

from aichat.providers import bodies, http
from aichat.providers.base import Endpoint, ListedModel
from aichat.providers.openai.calls import headers_of
from aichat.providers.vendor import CHAT, EMBEDDING, IMAGE, MODERATION, SPEECH, TRANSCRIPTION

# An entry does not say what its model is for; the first of these that is found in its name does.
KINDS = [
    (EMBEDDING, re.compile(r"embed|(^|[/-])bge-|minilm", re.IGNORECASE)),
    (MODERATION, re.compile(r"moderation", re.IGNORECASE)),
    (TRANSCRIPTION, re.compile(r"whisper|transcribe", re.IGNORECASE)),
    (SPEECH, re.compile(r"(^|[/-])tts", re.IGNORECASE)),
    (IMAGE, re.compile(r"dall-e|gpt-image|stable-diffusion|flux", re.IGNORECASE)),
]


class OpenAIModelList:
    async def models(self, endpoint: Endpoint) -> list[ListedModel]:
        def read(answer: dict[str, Any]) -> list[ListedModel]:
            return [ListedModel(str(entry["id"]), kind_of(str(entry["id"]))) for entry in answer["data"]]

        return await http.get(endpoint.url("/models"), headers_of(endpoint, ""), endpoint, bodies.json_reader(read))


def kind_of(name: str) -> str:
    """What the name of a model says that it is for; a chat when it says nothing."""
    return next((kind for kind, words in KINDS if words.search(name)), CHAT)
