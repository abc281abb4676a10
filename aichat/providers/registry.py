"""The table of provider kinds. Adapters are imported when first used: a deployment pays only for its own."""

import functools
from typing import cast

from django.utils.module_loading import import_string

from aichat.providers.base import ChatAdapter

CHAT_ADAPTERS = {
    "demo": "aichat.providers.demo.DemoChat",
    "openai": "aichat.providers.openai.OpenAIChat",
}


@functools.cache
def chat_adapter(kind: str) -> ChatAdapter:
    """The adapter of a provider kind; `KeyError` for an unknown one."""
    return cast(ChatAdapter, import_string(CHAT_ADAPTERS[kind])())
