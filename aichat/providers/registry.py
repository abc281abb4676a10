"""The table of provider kinds. Adapters are imported when first used: a deployment pays only for its own."""

import functools
from typing import cast

from django.utils.module_loading import import_string

from aichat.providers.base import ChatAdapter
from aichat.providers.images import ImageAdapter

CHAT_ADAPTERS = {
    "demo": "aichat.providers.demo.DemoChat",
    "openai": "aichat.providers.openai.OpenAIChat",
}
IMAGE_ADAPTERS = {
    "demo": "aichat.providers.demo_images.DemoImages",
    "gemini": "aichat.providers.gemini_images.GeminiImages",
    "openai": "aichat.providers.openai_images.OpenAIImages",
}


@functools.cache
def chat_adapter(kind: str) -> ChatAdapter:
    """The adapter of a provider kind; `KeyError` for an unknown one."""
    return cast(ChatAdapter, import_string(CHAT_ADAPTERS[kind])())


@functools.cache
def image_adapter(kind: str) -> ImageAdapter:
    """The adapter of a provider kind; `KeyError` for one that makes no images."""
    return cast(ImageAdapter, import_string(IMAGE_ADAPTERS[kind])())
