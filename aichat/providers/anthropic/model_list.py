"""Anthropic's list of models: https://platform.claude.com/docs/en/api/models/list"""

from typing import Any

from aichat.providers import bodies, http
from aichat.providers.anthropic.request import CURRENT_VERSION
from aichat.providers.base import Endpoint, ListedModel
from aichat.providers.vendor import CHAT

MOST = 1000  # a page, which is more than there are


class AnthropicModelList:
    async def models(self, endpoint: Endpoint) -> list[ListedModel]:
        def read(answer: dict[str, Any]) -> list[ListedModel]:
            return [ListedModel(str(entry["id"]), CHAT) for entry in answer["data"]]

        headers = {"x-api-key": endpoint.api_key, "anthropic-version": CURRENT_VERSION}
        return await http.get(
            f"{endpoint.base_url}/v1/models?limit={MOST}", headers, endpoint, bodies.json_reader(read)
        )
