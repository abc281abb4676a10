"""The chat adapters for OpenAI and for servers that speak its format: https://platform.openai.com/docs/api-reference/chat

What a server does otherwise than OpenAI is data: `profiles.py`. No SDK is used.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import aiohttp

from aichat.providers import http
from aichat.providers.answers import read_answer
from aichat.providers.base import RESPONSES, ChatRequest, Endpoint, Finished, PartSink, without_dialects
from aichat.providers.errors import ProviderError
from aichat.providers.openai.answer import CompletionReader
from aichat.providers.openai.calls import headers_of
from aichat.providers.openai.outgoing import measure
from aichat.providers.openai.profiles import profile_of
from aichat.providers.openai.request import NO_CHANGES, Body, build, changes_after, obstacle
from aichat.providers.openai.responses import call as responses
from aichat.providers.outgoing import Outgoing

logger = logging.getLogger(__name__)
MOST_TRIES = 4  # of one request that a server refuses for one thing after another


class CompatibleChat:
    """For servers that speak OpenAI's format (Azure, DeepSeek, Ollama, vLLM, OpenRouter …), known by their address."""

    default_profile = ""

    async def chat(self, request: ChatRequest, endpoint: Endpoint, sink: PartSink) -> Finished:
        profile = profile_of(endpoint, self.default_profile)
        if responses.is_asked(request.model, request.parameters, endpoint, profile):
            try:
                return await responses.respond(request, endpoint, sink)
            except ProviderError as error:
                if not responses.is_unspoken(error, request.model, endpoint):
                    raise
        request = translated(request)
        changes = NO_CHANGES
        for _ in range(MOST_TRIES - 1):
            body = build(request, profile, changes)
            try:
                return await self.ask(request, endpoint, body, sink)
            except ProviderError as error:
                better = changes_after(error, request, body, changes)
                if better is None or not error.is_unanswered:
                    raise
                changes = better
                logger.info("%s refused a part of a request: asked again without it", endpoint.base_url)
        return await self.ask(request, endpoint, build(request, profile, changes), sink)

    async def ask(self, request: ChatRequest, endpoint: Endpoint, body: Body, sink: PartSink) -> Finished:
        async def read(response: aiohttp.ClientResponse) -> Finished:
            return await read_answer(response, CompletionReader(request.report), sink, body.dropped)

        headers = headers_of(endpoint, request.request_id)
        return await http.post(endpoint.url("/chat/completions"), body.json, headers, endpoint, read)

    def measure(self, request: ChatRequest, endpoint: Endpoint) -> Outgoing:
        profile = profile_of(endpoint, self.default_profile)
        if responses.is_asked(request.model, request.parameters, endpoint, profile):
            return responses.measured(request)
        return measure(build(translated(request), profile).json)

    def unsupported(
        self, model: str, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], endpoint: Endpoint
    ) -> str | None:
        profile = profile_of(endpoint, self.default_profile)
        if responses.is_asked(model, parameters, endpoint, profile):
            return responses.unsupported(messages, parameters)
        return obstacle(messages, parameters, profile)


def translated(request: ChatRequest) -> ChatRequest:
    """The request in the vocabulary of chat completions alone."""
    if RESPONSES not in request.parameters:
        return request
    messages, parameters = without_dialects(request.messages, request.parameters, [RESPONSES])
    return replace(request, messages=messages, parameters=parameters)


class OpenAIChat(CompatibleChat):
    """For OpenAI itself, whatever address it is reached at."""

    default_profile = "openai"
