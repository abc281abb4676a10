"""Gemini's generateContent, spoken directly: https://ai.google.dev/api/generate-content (API version v1beta)

A chat comes in OpenAI's vocabulary. Google's own OpenAI-compatible endpoint is not used: it reports neither thinking
tokens nor the reason of a block.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from aichat.providers import http
from aichat.providers.answers import read_answer
from aichat.providers.base import ChatRequest, Endpoint, Finished, PartSink, custom_tools, image_urls
from aichat.providers.errors import ProviderError
from aichat.providers.gemini.answer import GeminiReader
from aichat.providers.gemini.outgoing import measure
from aichat.providers.gemini.request import Body, build, refused_parameters, without_after
from aichat.providers.outgoing import Outgoing

API_VERSION = "v1beta"
MOST_TRIES = 3  # of one request that Gemini refuses for one setting after another


class GeminiChat:
    async def chat(self, request: ChatRequest, endpoint: Endpoint, sink: PartSink) -> Finished:
        without: frozenset[str] = frozenset()
        for _ in range(MOST_TRIES - 1):
            body = build(request, without)
            try:
                return await self.ask(request, endpoint, body, sink)
            except ProviderError as error:
                more = without_after(error, request, body, without)
                if more == without or not error.is_unanswered:
                    error.param = error.param or next(iter(refused_parameters(error, request)), None)
                    raise
                without = more
        return await self.ask(request, endpoint, build(request, without), sink)

    async def ask(self, request: ChatRequest, endpoint: Endpoint, body: Body, sink: PartSink) -> Finished:
        async def read(response: aiohttp.ClientResponse) -> Finished:
            return await read_answer(response, GeminiReader(request.report), sink, body.dropped)

        verb = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        url = f"{endpoint.base_url}/{API_VERSION}/models/{request.model}:{verb}"
        headers = {"x-goog-api-key": endpoint.api_key, "X-Request-ID": request.request_id}
        return await http.post(url, body.json, headers, endpoint, read)

    def measure(self, request: ChatRequest, endpoint: Endpoint) -> Outgoing:
        return measure(build(request).json, request.model)

    def unsupported(
        self, model: str, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], endpoint: Endpoint
    ) -> str | None:
        """A picture is in the request, or at an `https:` address that Google fetches. We fetch none."""
        if any(not url.startswith(("data:", "https:")) for url in image_urls(messages)):
            return "messages"
        return custom_tools(messages, parameters)
