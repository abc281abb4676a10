"""The table of provider kinds. Adapters are imported when first used: a deployment pays only for its own."""

import functools
from typing import cast

from django.utils.module_loading import import_string

from aichat.providers.base import ChatAdapter, ImageAdapter

CHAT_ADAPTERS = {
    "anthropic": "aichat.providers.anthropic.chat.AnthropicChat",
    "demo": "aichat.providers.demo.chat.DemoChat",
    "gemini": "aichat.providers.gemini.chat.GeminiChat",
    "openai": "aichat.providers.openai.chat.OpenAIChat",
    "openai_compatible": "aichat.providers.openai.chat.CompatibleChat",
}
IMAGE_ADAPTERS = {
    "demo": "aichat.providers.demo.images.DemoImages",
    "gemini": "aichat.providers.gemini.images.GeminiImages",
    "openai": "aichat.providers.openai.images.OpenAIImages",
}


def kinds() -> list[tuple[str, str]]:
    """As choices of a model field."""
    return [(kind, kind.replace("_", " ")) for kind in CHAT_ADAPTERS]


@functools.cache
def chat_adapter(kind: str) -> ChatAdapter:
    """The adapter of a provider kind; `KeyError` for an unknown one."""
    return cast(ChatAdapter, import_string(CHAT_ADAPTERS[kind])())


@functools.cache
def image_adapter(kind: str) -> ImageAdapter:
    """The adapter of a provider kind; `KeyError` for one that makes no images."""
    return cast(ImageAdapter, import_string(IMAGE_ADAPTERS[kind])())
