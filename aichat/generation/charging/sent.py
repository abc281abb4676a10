"""Measures once what a request would send to a model, for its hold, its window check and its estimates."""

from aichat.catalog.snapshot import ModelInfo
from aichat.generation.request import GenerationRequest
from aichat.providers import native
from aichat.providers.base import ChatRequest
from aichat.providers.outgoing import Outgoing
from aichat.providers.registry import chat_adapter


def outgoing(request: GenerationRequest, model: ModelInfo) -> Outgoing:
    """The measure of the body that the model's provider would get, as its adapter builds it."""
    messages, found = request.measured.get(model.slug, (None, None))
    if found is None or messages is not request.messages:
        chat_messages, parameters = native.for_kind(model.provider.kind, request.messages, request.sampling)
        chat = ChatRequest(
            model=model.upstream_name,
            messages=chat_messages,
            max_tokens=request.most_tokens,
            stream=request.stream,
            parameters=parameters,
        )
        found = chat_adapter(model.provider.kind).measure(chat, model.provider.endpoint)
        request.measured[model.slug] = request.messages, found
    return found
