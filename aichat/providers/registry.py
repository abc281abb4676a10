"""The table of vendors. Adapters are imported when first used: a deployment pays only for its own."""

import functools
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, cast

from django.utils.module_loading import import_string

from aichat.providers.base import ChatAdapter, ImageAdapter, ModelListAdapter
from aichat.providers.single_calls import (
    EmbeddingAdapter,
    ImageEditAdapter,
    ModerationAdapter,
    SpeechAdapter,
    TranscriptionAdapter,
)
from aichat.providers.vendor import (
    CHAT,
    EMBEDDING,
    IMAGE,
    IMAGE_EDIT,
    MODEL_LIST,
    MODERATION,
    SPEECH,
    TRANSCRIPTION,
    DefaultModel,
    Server,
    Vendor,
)

# The folder of each vendor: a new vendor is a folder with a `vendor.py`, and its line here.
FOLDERS = (
    "anthropic",
    "demo",
    "gemini",
    "openai",
)
VENDORS: dict[str, Vendor] = {
    vendor.kind: vendor for folder in FOLDERS for vendor in import_module(f"aichat.providers.{folder}.vendor").VENDORS
}
IN_ORDER_OF_AUTO = sorted(
    (vendor for vendor in VENDORS.values() if vendor.auto_position is not None),
    key=lambda vendor: vendor.auto_position or 0,
)
DEMO_KINDS = frozenset(kind for kind, vendor in VENDORS.items() if vendor.is_demo)
KEY_SETTINGS = tuple(vendor.key_setting for vendor in IN_ORDER_OF_AUTO if vendor.key_setting)
# The kinds of provider with any number of rows, the first of which a new row gets.
KINDS_OF_ROWS = tuple(kind for kind, vendor in VENDORS.items() if vendor.takes_rows)
# Names in the offline price library, by kind of provider.
PRICE_LIBRARY = {kind: vendor.price_library for kind, vendor in VENDORS.items() if vendor.price_library}


def _adapters(purpose: str) -> dict[str, str]:
    """The dotted paths of the adapters for what a model is for, by kind of provider."""
    return {kind: vendor.adapters[purpose] for kind, vendor in VENDORS.items() if purpose in vendor.adapters}


CHAT_ADAPTERS = _adapters(CHAT)
IMAGE_ADAPTERS = _adapters(IMAGE)
MODEL_LIST_ADAPTERS = _adapters(MODEL_LIST)
# Provider kinds by what a model is for; each maps to its adapter.
SINGLE_CALL_ADAPTERS = {
    **{purpose: _adapters(purpose) for purpose in (EMBEDDING, MODERATION, SPEECH, TRANSCRIPTION)},
    IMAGE: _adapters(IMAGE_EDIT),
}

# The quirks of servers that speak OpenAI's format, which rows of the catalog choose and override.
PROFILES = "aichat.providers.openai.profiles"
SERVERS = "aichat.providers.openai.servers.SERVERS"


def default_models() -> Iterator[tuple[Vendor, DefaultModel]]:
    """The models that a fresh installation offers, each with its vendor."""
    for vendor in IN_ORDER_OF_AUTO:
        for model in vendor.models:
            yield vendor, model


def kinds() -> list[tuple[str, str]]:
    """The kinds of providers that serve chats, as choices of a model field."""
    return [(kind, kind.replace("_", " ")) for kind in CHAT_ADAPTERS]


def profiles() -> list[tuple[str, str]]:
    """The kinds of OpenAI-compatible servers as choices of a model field."""
    return [(name, name) for name in import_string(f"{PROFILES}.NAMES")]


def quirks() -> tuple[tuple[str, str, str], ...]:
    """What a provider's row can override of its profile: name, kind and meaning."""
    return cast("tuple[tuple[str, str, str], ...]", import_string(f"{PROFILES}.QUIRKS"))


def answer_limits() -> tuple[str, ...]:
    """The values of the quirk `limit`."""
    return (*import_string(f"{PROFILES}.LIMITS"), import_string(f"{PROFILES}.BY_MODEL"))


def servers() -> tuple[Server, ...]:
    """The well-known OpenAI-compatible servers, each of which can become a provider's row."""
    return cast("tuple[Server, ...]", import_string(SERVERS))


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


@functools.cache
def model_list_adapter(provider_kind: str) -> ModelListAdapter:
    """The adapter of a provider kind; `KeyError` for one that lists no models."""
    return cast(ModelListAdapter, import_string(MODEL_LIST_ADAPTERS[provider_kind])())
