"""Fills the catalog: providers that have a key, their current models, and prices from the offline price library.

What an operator set is left alone: a model that was disabled stays so, a model whose latest price is an operator's
keeps it. Prices the library announces for a later day are stored with that day.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils import timezone
from genai_prices import types as library
from genai_prices.data_snapshot import get_snapshot

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel, Price, Provider
from aichat.core.database import transactions
from aichat.providers import registry
from aichat.providers.registry import PRICE_LIBRARY
from aichat.providers.vendor import EMBEDDING, IMAGE, MODERATION, TRANSCRIPTION, DefaultModel, Vendor

MICRODOLLARS = 1_000_000
MINUTES_PER_HOUR = 60
ALWAYS = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LibraryPrice:
    """Costs in microdollars for a million tokens, from a moment on."""

    effective_at: datetime
    fields: dict[str, Any]


def sync_models() -> list[str]:
    """Bring the catalog up to date; return the slugs of the new models. It may run again at any time."""
    try:
        return transactions.run_atomic(_sync)
    finally:
        snapshot.forget()


def _sync() -> list[str]:
    new = [
        default.slug
        for vendor, default in registry.default_models()
        if (vendor.is_demo or getattr(settings, vendor.key_setting)) and _add(vendor, default)
    ]
    for model in AIModel.objects.select_related("provider").filter(provider__kind__in=PRICE_LIBRARY):
        update_prices(model)
    return new


def add_models_of(provider: Provider) -> list[str]:
    """Add a vendor's current models after a key was entered in the admin; return the slugs of the new models.

    Only the provider that has the vendor's name gets them: a second provider of the same vendor has models of its own.
    """
    vendor = registry.VENDORS.get(provider.kind)
    if vendor is None or provider.slug != vendor.kind or not any(key.enabled for key in provider.keys.all()):
        return []
    known = {default.slug for default in vendor.models}
    return transactions.run_atomic(add_known, known)


def add_known(slugs: Collection[str]) -> list[str]:
    """Add default models with their prices, with or without a key; return the slugs of those that were not there.

    A model whose provider has no key is in the catalog but not offered.
    """
    new = []
    for vendor, default in registry.default_models():
        if default.slug in slugs and _add(vendor, default):
            update_prices(AIModel.objects.select_related("provider").get(slug=default.slug))
            new.append(default.slug)
    return new


def _add(vendor: Vendor, default: DefaultModel) -> bool:
    """Add a default model unless it is there already; return whether it was added."""
    provider, _ = Provider.objects.get_or_create(slug=vendor.kind, defaults={"kind": vendor.kind})
    model, created = AIModel.objects.get_or_create(
        slug=default.slug,
        defaults={
            "provider": provider,
            "kind": default.kind,
            "upstream_name": default.upstream_name,
            "max_output_tokens": default.max_output_tokens,
            "context_window": default.context_window,
            "auto_position": vendor.auto_position if default.in_auto else None,
            "image_tokens": default.image_tokens,
            **dict.fromkeys(("vision", "structured_output"), not vendor.is_demo),
        },
    )
    if created and (default.price or default.kind == MODERATION):
        Price.objects.create(model=model, effective_at=ALWAYS, source=Price.LIBRARY, **default.price)
    return created


def update_prices(model: AIModel) -> None:
    """Store the library's prices of a model where they differ from what is stored."""
    if model.prices.exclude(source=Price.LIBRARY).exists():
        return
    name = PRICE_LIBRARY.get(model.provider.kind, "")
    for price in library_prices(name, model.upstream_name or model.slug, model.kind):
        in_force = model.prices.filter(effective_at__lte=price.effective_at).order_by("-effective_at").first()
        if price.effective_at == ALWAYS:
            in_force = model.prices.filter(effective_at__lte=timezone.now()).order_by("-effective_at").first()
        if in_force and all(getattr(in_force, key) == value for key, value in price.fields.items()):
            continue
        begins = timezone.now() if in_force and price.effective_at == ALWAYS else price.effective_at
        Price.objects.update_or_create(
            model=model, effective_at=begins, defaults={**price.fields, "source": Price.LIBRARY}
        )


def library_prices(provider: str, model_name: str, kind: str) -> Iterator[LibraryPrice]:
    """The library's prices of a model: the one in force, then those announced for later. None when it does not know any.

    Moderation is free at all providers of the library.
    """
    if kind == MODERATION and provider:
        yield LibraryPrice(ALWAYS, {})
        return
    try:
        _, found = get_snapshot().find_provider_model(model_name, None, provider, None)
    except LookupError:
        return
    today = timezone.now().date()
    dated = found.prices if isinstance(found.prices, list) else [library.ConditionalPrice(prices=found.prices)]
    in_force: library.ModelPrice | None = None
    announced = []
    for conditional in dated:
        match conditional.constraint:
            case None:
                in_force = conditional.prices
            case library.StartDateConstraint(start_date=start) if start <= today:
                in_force = conditional.prices
            case library.StartDateConstraint(start_date=start):
                announced.append((datetime(start.year, start.month, start.day, tzinfo=UTC), conditional.prices))
    for effective_at, prices in [(ALWAYS, in_force), *announced]:
        if prices is not None and is_complete(prices, kind):
            yield LibraryPrice(effective_at, price_fields(prices, kind))


def is_complete(prices: library.ModelPrice, kind: str) -> bool:
    """Whether the library's prices cover all that a model of the kind is billed by."""
    if prices.audio_hours is not None or prices.input_mchars is not None:
        return True
    return prices.input_mtok is not None and (kind == EMBEDDING or prices.output_mtok is not None)


def price_fields(prices: library.ModelPrice, kind: str) -> dict[str, Any]:
    """The columns of a `Price`, the user's price being the cost × CREDITS_PER_USD × MARKUP.

    The output of an image model is billed as image tokens, which cost many times as much as tokens of text.
    """
    output = prices.output_image_mtok if kind == IMAGE and prices.output_image_mtok else prices.output_mtok
    # The input of a transcription model is audio, whose tokens cost more than those of text.
    given = prices.input_audio_mtok if kind == TRANSCRIPTION and prices.input_audio_mtok else prices.input_mtok
    cached = prices.cache_read_mtok if prices.cache_read_mtok is not None else given
    columns = {"input": given or 0, "cached_input": cached or 0, "output": output or 0}
    if prices.input_mchars is not None:
        columns["character"] = prices.input_mchars
    if prices.audio_hours is not None:
        columns["minute"] = _base(prices.audio_hours) / MINUTES_PER_HOUR
    if prices.cache_write_mtok is not None:
        columns["cache_write"] = prices.cache_write_mtok
    if prices.cache_write_1h_mtok is not None:
        columns["cache_write_1h"] = prices.cache_write_1h_mtok
    costs = {name: _microdollars(_base(value)) for name, value in columns.items()}
    starts = sorted({tier.start for value in columns.values() for tier in getattr(value, "tiers", [])})
    tiers = []
    for start in starts:
        dearer = {name: _microdollars(_at(value, start)) for name, value in columns.items()}
        tiers.append(
            {"above_input_tokens": start, "cost": dearer, "price": {k: user_price(v) for k, v in dearer.items()}}
        )
    return {
        **{f"{name}_cost": cost for name, cost in costs.items()},
        **{f"{name}_price": user_price(cost) for name, cost in costs.items()},
        "tiers": tiers,
    }


def user_price(microdollars: int) -> int:
    """The default price in microcredits of what costs us `microdollars`, rounded up."""
    price = Decimal(microdollars) * settings.CREDITS_PER_USD * settings.MARKUP
    return int(price.to_integral_value(rounding="ROUND_CEILING"))


def _base(value: Any) -> Decimal:
    return value.base if isinstance(value, library.TieredPrices) else value


def _at(value: Any, start: int) -> Decimal:
    """The price for inputs longer than `start` tokens."""
    if not isinstance(value, library.TieredPrices):
        return Decimal(value)
    reached = [tier.price for tier in value.tiers if tier.start <= start]
    return reached[-1] if reached else value.base


def _microdollars(usd: Decimal) -> int:
    return int((Decimal(usd) * MICRODOLLARS).to_integral_value(rounding="ROUND_CEILING"))
