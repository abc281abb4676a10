"""Adds models that a provider lists to the catalog, with prices that the offline price library proposes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from genai_prices.data_snapshot import get_snapshot

from aichat.catalog import editing, snapshot
from aichat.catalog.models import SLUG, AIModel, Price, Provider
from aichat.catalog.sync import ALWAYS, LibraryPrice, library_prices
from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.core.money import format_credits
from aichat.providers import registry
from aichat.providers.base import ListedModel
from aichat.providers.registry import PRICE_LIBRARY

LONGEST = AIModel._meta.get_field("slug").max_length or 100


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that a provider lists. `price` is the library's proposal, None for a model that the library does not know."""

    name: str
    kind: str
    is_in_catalog: bool
    price: LibraryPrice | None

    @property
    def price_shown(self) -> str:
        """The proposed price in words, in credits; empty without one."""
        if self.price is None:
            return ""
        fields = self.price.fields
        parts = [
            f"{format_credits(fields[column])} {unit}"
            for column, unit in (
                ("input_price", "in"),
                ("output_price", "out"),
                ("character_price", "a million characters"),
                ("minute_price", "a minute"),
            )
            if fields.get(column)
        ]
        return ", ".join(parts) or "free"


def offers(provider: Provider, listed: Iterable[ListedModel]) -> list[Offer]:
    """The listed models that one of our adapters can ask, by name. One query for any number."""
    known = {model.upstream_name or model.slug for model in provider.models.all()}
    library = library_of(provider)
    return [
        Offer(one.name, one.kind, one.name in known, _price(library, one))
        for one in sorted(set(listed), key=lambda one: one.name)
        if _has_adapter(provider, one.kind) and len(one.name) <= LONGEST
    ]


def library_of(provider: Provider) -> str:
    """The provider's name in the price library: by its kind, else by its address; empty when the library lacks it."""
    if name := PRICE_LIBRARY.get(provider.kind, ""):
        return name
    if not provider.base_url:
        return ""
    try:
        return str(get_snapshot().find_provider(None, None, provider.base_url).id)
    except LookupError:
        return ""


def add(
    provider: Provider, chosen: Iterable[ListedModel], amounts: Mapping[str, int | None], *, actor: Any
) -> list[str]:
    """Add models, each enabled with the library's price or, where it has none, with `amounts` (microcredits).

    Returns the new slugs. Models that the catalog has already are left alone. Raises `PriceRequired` for a model that gets no
    price either way.
    """
    found: list[str] = transactions.run_atomic(_add, provider, list(chosen), amounts, actor)
    snapshot.forget()
    return found


def _add(provider: Provider, chosen: list[ListedModel], amounts: Mapping[str, int | None], actor: Any) -> list[str]:
    known = {model.upstream_name or model.slug for model in provider.models.all()}
    library, added = library_of(provider), []
    for one in chosen:
        if one.name in known or not _has_adapter(provider, one.kind):
            continue
        known.add(one.name)
        slug = _free_slug(provider, one.name)
        model = AIModel(slug=slug, provider=provider, kind=one.kind, upstream_name="" if slug == one.name else one.name)
        model.full_clean()
        price = _price(library, one)
        if price is None and all(amount is None for amount in amounts.values()):
            raise editing.PriceRequired(model)
        model.save(force_insert=True)
        if price is None:
            editing.set_price(model, amounts)
        else:
            Price.objects.create(model=model, effective_at=ALWAYS, source=Price.LIBRARY, **price.fields)
        audit_log.record(actor, model, audit_log.ADDED, {"slug": (None, slug), "provider": (None, provider.slug)})
        added.append(slug)
    return added


def _free_slug(provider: Provider, name: str) -> str:
    """The slug of a new model: its name; with the provider's before it if the name is taken or is no valid slug."""
    if SLUG.regex.match(name) and not AIModel.objects.filter(slug=name).exists():  # type: ignore[union-attr]
        return name
    return f"{provider.slug}/{name}"[:LONGEST]


def _has_adapter(provider: Provider, kind: str) -> bool:
    vendor = registry.VENDORS.get(provider.kind)
    return vendor is not None and kind in vendor.adapters and kind in AIModel.Kind


def _price(library: str, one: ListedModel) -> LibraryPrice | None:
    return next(library_prices(library, one.name, one.kind), None) if library else None
