"""The facts about a vendor that others need: `aichat/providers/<vendor>/vendor.py` declares them, the registry lists them.

Such a file imports nothing but this one, so that settings, migrations and the admin read it without loading an adapter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# What a model is for.
CHAT, IMAGE, EMBEDDING, MODERATION = "chat", "image", "embedding", "moderation"
SPEECH, TRANSCRIPTION = "speech", "transcription"
IMAGE_EDIT = "image_edit"  # what some models of kind `image` do too: pictures made of pictures
MODEL_LIST = "model_list"  # no use of a model: the list of those that the provider serves
CREDIT = 1_000_000  # microcredits


@dataclass(frozen=True, slots=True)
class DefaultModel:
    """A model that a fresh installation offers. `in_auto`: the vendor's model of its kind in the default route.

    `upstream_name`: the provider's name of it, where another model already has this name as its slug, for another use.
    `price`: columns of a fixed price in microcredits, for models the price library can't know. `image_tokens`: the most
    that one given picture is billed as.
    """

    slug: str
    max_output_tokens: int
    context_window: int
    kind: str = CHAT
    in_auto: bool = False
    price: Mapping[str, int] = field(default_factory=dict)
    image_tokens: int = 2_500
    upstream_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One kind of provider. `adapters` maps what a model is for to the dotted path of the class that asks for it."""

    kind: str  # the `kind` of its rows in the catalog, and the slug of the row that `sync_models` makes
    name: str  # for people
    adapters: Mapping[str, str]
    # Names of settings. Empty: the provider's row has the address and names the variable of the key.
    key_setting: str = ""
    base_url_setting: str = ""
    price_library: str = ""  # its name in the offline price library
    # Its place in the default route (`auto`), the lowest first, which also orders vendors in texts.
    auto_position: int | None = None
    models: tuple[DefaultModel, ...] = ()
    # The profile of OpenAI-compatible servers that requests follow; empty: known by the address; None: not that format.
    profile: str | None = None
    takes_rows: bool = False  # any number of rows, each with an address and key of its own
    is_demo: bool = False  # stands in while no vendor has a key: it needs none itself and costs nothing


@dataclass(frozen=True, slots=True)
class Server:
    """A well-known server that can become a provider's row: `slug` names the row, `name` is for people."""

    slug: str
    name: str
    base_url: str
    profile: str = ""  # empty: known by its address
    needs_key: bool = True
