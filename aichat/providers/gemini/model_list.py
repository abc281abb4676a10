"""Gemini's list of models: https://ai.google.dev/api/models#method:-models.list"""

from typing import Any

from aichat.providers import bodies, http
from aichat.providers.base import Endpoint, ListedModel
from aichat.providers.vendor import CHAT, EMBEDDING, IMAGE, SPEECH

MOST = 1000  # a page, which is more than there are


class GeminiModelList:
    async def models(self, endpoint: Endpoint) -> list[ListedModel]:
        def read(answer: dict[str, Any]) -> list[ListedModel]:
            found = []
            for entry in answer.get("models", []):
                name = str(entry["name"]).removeprefix("models/")
                if kind := kind_of(name, entry.get("supportedGenerationMethods", [])):
                    found.append(ListedModel(name, kind))
            return found

        headers = {"x-goog-api-key": endpoint.api_key}
        return await http.get(
            f"{endpoint.base_url}/v1beta/models?pageSize={MOST}", headers, endpoint, bodies.json_reader(read)
        )


def kind_of(name: str, methods: list[str]) -> str:
    """What a model is for, by its name and the methods it answers; empty for one that none of our adapters asks."""
    if "embedContent" in methods:
        return EMBEDDING
    if "generateContent" not in methods:
        return ""
    if name.endswith("-tts") or "-tts-" in name:
        return SPEECH
    return IMAGE if "-image" in name else CHAT
