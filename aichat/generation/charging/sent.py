"""Measures once what a request would send to a model, for its hold, its window check and its estimates."""

from aichat.catalog.snapshot import ModelInfo
from aichat.generation.charging import tokens
from aichat.generation.request import GenerationRequest, Measured
from aichat.providers.base import ChatRequest, in_dialects_of
from aichat.providers.registry import chat_adapter


def measured(request: GenerationRequest, model: ModelInfo) -> Measured:
    """The measure of the body that the model's provider would get, as its adapter builds it."""
    found = request.measured.get(model.slug)
    if found is None or found.messages is not request.messages:
        chat_messages, parameters = in_dialects_of(model.provider.kind, request.messages, request.sampling)
        chat = ChatRequest(
            model=model.upstream_name,
            messages=chat_messages,
            max_tokens=request.most_tokens,
            stream=request.stream,
            parameters=parameters,
        )
        outgoing = chat_adapter(model.provider.kind).measure(chat, model.provider.endpoint)
        most = tokens.bound_input(outgoing, model.image_tokens)
        found = request.measured[model.slug] = Measured(request.messages, outgoing, most)
    return found
