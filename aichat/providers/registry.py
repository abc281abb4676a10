"""The table of provider kinds. Adapters are imported when first used: a deployment pays only for its own."""

import functools
from collections.abc import Mapping
from typing import Any, cast

from django.utils.module_loading import import_string

from aichat.providers.base import ChatAdapter, ImageAdapter
from aichat.providers.single_calls import (
    EmbeddingAdapter,
    ImageEditAdapter,
    ModerationAdapter,
    SpeechAdapter,
    TranscriptionAdapter,
)

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

# Provider kinds by what a model is for; each maps to its adapter.
SINGLE_CALL_ADAPTERS: dict[str, dict[str, str]] = {
    "embedding": {
        "demo": "aichat.providers.demo.calls.DemoEmbeddings",
        "gemini": "aichat.providers.gemini.embeddings.GeminiEmbeddings",
        "openai": "aichat.providers.openai.embeddings.OpenAIEmbeddings",
        "openai_compatible": "aichat.providers.openai.embeddings.CompatibleEmbeddings",
    },
    "moderation": {
        "demo": "aichat.providers.demo.calls.DemoModeration",
        "openai": "aichat.providers.openai.moderations.OpenAIModerations",
        "openai_compatible": "aichat.providers.openai.moderations.OpenAIModerations",
    },
    "speech": {
        "demo": "aichat.providers.demo.calls.DemoSpeech",
        "openai": "aichat.providers.openai.audio.OpenAISpeech",
        "openai_compatible": "aichat.providers.openai.audio.OpenAISpeech",
    },
    "transcription": {
        "demo": "aichat.providers.demo.calls.DemoTranscription",
        "openai": "aichat.providers.openai.audio.OpenAITranscriptions",
        "openai_compatible": "aichat.providers.openai.audio.OpenAITranscriptions",
    },
    "image": {  # pictures made of pictures
        "demo": "aichat.providers.demo.calls.DemoImageEdits",
        "gemini": "aichat.providers.gemini.image_edits.GeminiImageEdits",
        "openai": "aichat.providers.openai.image_edits.OpenAIImageEdits",
        "openai_compatible": "aichat.providers.openai.image_edits.OpenAIImageEdits",
    },
}

# The quirks of servers that speak OpenAI's format, which rows of the catalog choose and override.
PROFILES = "aichat.providers.openai.profiles"


def kinds() -> list[tuple[str, str]]:
    """As choices of a model field."""
    return [(kind, kind.replace("_", " ")) for kind in CHAT_ADAPTERS]


def profiles() -> list[tuple[str, str]]:
    """The kinds of OpenAI-compatible servers as choices of a model field."""
    return [(name, name) for name in import_string(f"{PROFILES}.NAMES")]


def profile_by_address(base_url: str) -> str:
    """The kind of server that is known to listen at an address, else `generic`."""
    return cast(str, import_string(f"{PROFILES}.name_by_address")(base_url))


def read_quirks(overrides: Any) -> tuple[tuple[str, Any], ...]:
    """A provider row's overrides of its profile, as an `Endpoint` carries them. Raises `ValueError` with the mend."""
    return cast("tuple[tuple[str, Any], ...]", import_string(f"{PROFILES}.read_quirks")(overrides))


@functools.cache
def chat_adapter(kind: str) -> ChatAdapter:
    """The adapter of a provider kind; `KeyError` for an unknown one."""
    return cast(ChatAdapter, import_string(CHAT_ADAPTERS[kind])())


@functools.cache
def image_adapter(kind: str) -> ImageAdapter:
    """The adapter of a provider kind; `KeyError` for one that makes no images."""
    return cast(ImageAdapter, import_string(IMAGE_ADAPTERS[kind])())


def single_call_adapters(kind: str) -> Mapping[str, str]:
    """The provider kinds that serve models of `kind`, with the paths of their adapters."""
    return SINGLE_CALL_ADAPTERS[kind]


@functools.cache
def embedding_adapter(provider_kind: str) -> EmbeddingAdapter:
    """The adapter of a provider kind; `KeyError` for one that makes no embeddings."""
    return cast(EmbeddingAdapter, import_string(SINGLE_CALL_ADAPTERS["embedding"][provider_kind])())


@functools.cache
def moderation_adapter(provider_kind: str) -> ModerationAdapter:
    """The adapter of a provider kind; `KeyError` for one that classifies nothing."""
    return cast(ModerationAdapter, import_string(SINGLE_CALL_ADAPTERS["moderation"][provider_kind])())


@functools.cache
def speech_adapter(provider_kind: str) -> SpeechAdapter:
    """The adapter of a provider kind; `KeyError` for one that does not speak."""
    return cast(SpeechAdapter, import_string(SINGLE_CALL_ADAPTERS["speech"][provider_kind])())


@functools.cache
def transcription_adapter(provider_kind: str) -> TranscriptionAdapter:
    """The adapter of a provider kind; `KeyError` for one that transcribes nothing."""
    return cast(TranscriptionAdapter, import_string(SINGLE_CALL_ADAPTERS["transcription"][provider_kind])())


@functools.cache
def image_edit_adapter(provider_kind: str) -> ImageEditAdapter:
    """The adapter of a provider kind; `KeyError` for one that edits no images."""
    return cast(ImageEditAdapter, import_string(SINGLE_CALL_ADAPTERS["image"][provider_kind])())
