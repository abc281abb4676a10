"""Changes the catalog, for the admin and the REST endpoints alike.

Operators write credits and US dollars as decimals; the rows have integers of microcredits and microdollars. A changed price
is a new dated row, so that the history stays. After each change the catalog in memory is read again.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel, Price, Provider
from aichat.catalog.sync import library_prices, update_prices
from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.core.errors import InvalidRequest
from aichat.core.money import format_credits, to_microcredits
from aichat.providers.registry import PRICE_LIBRARY

# All are integers of millionths: microcredits for a million tokens, a request or an image, or microdollars.
PRICES = [
    "input_price", "cached_input_price", "output_price", "request_price", "image_price", "character_price", "minute_price",
]  # fmt: skip
COSTS = ["input_cost", "cached_input_cost", "output_cost", "image_cost", "character_cost", "minute_cost"]
AMOUNTS = PRICES + COSTS
# Cached input costs as much as other input until an operator sets its price.
FOLLOWS = {"cached_input_price": "input_price", "cached_input_cost": "input_cost"}

to_millionths = to_microcredits
format_millionths = format_credits


# The price that a model of each kind usually has: an error names it when a model has no price.
PRICE_OF_KIND = {
    AIModel.Kind.CHAT: "input_price",
    AIModel.Kind.EMBEDDING: "input_price",
    AIModel.Kind.IMAGE: "image_price",
    AIModel.Kind.MODERATION: "request_price",
    AIModel.Kind.SPEECH: "character_price",
    AIModel.Kind.TRANSCRIPTION: "minute_price",
}


# The amounts that a model of each kind can be billed by, besides those it has.
AMOUNTS_OF_KIND = {
    AIModel.Kind.CHAT: {"input", "cached_input", "output", "request"},
    AIModel.Kind.EMBEDDING: {"input", "request"},
    AIModel.Kind.IMAGE: {"input", "cached_input", "output", "image", "request"},
    AIModel.Kind.MODERATION: {"request"},
    AIModel.Kind.SPEECH: {"input", "output", "character", "request"},
    AIModel.Kind.TRANSCRIPTION: {"input", "output", "minute", "request"},
}


def amounts_for(model: AIModel, price: Price | None) -> list[str]:
    """The names of the amounts that an operator decides for a model."""
    of_kind = AMOUNTS_OF_KIND[AIModel.Kind(model.kind)]
    return [name for name in AMOUNTS if name.rpartition("_")[0] in of_kind or (price and getattr(price, name))]


class PriceRequired(InvalidRequest):
    """A model without a price would be free, so it can't be enabled."""

    def __init__(self, model: AIModel) -> None:
        super().__init__(
            f"{model.slug} has no price, and the price library does not know it: give its prices to enable it.",
            param=PRICE_OF_KIND[AIModel.Kind(model.kind)],
        )


def price_in_force(model: AIModel, at: datetime | None = None) -> Price | None:
    """The latest price that has begun."""
    if model._state.adding:
        return None
    return model.prices.filter(effective_at__lte=at or timezone.now()).order_by("-effective_at").first()


def amounts_of(price: Price | None) -> dict[str, Decimal | None]:
    """A price's amounts as people write them: credits, or US dollars."""
    return {name: Decimal(format_millionths(getattr(price, name))) if price else None for name in AMOUNTS}


def set_price(
    model: AIModel, amounts: Mapping[str, int | None], effective_at: datetime | None = None
) -> dict[str, tuple[Any, Any]]:
    """Give a model other prices from `effective_at` (now) on; amounts not given stay as they are.

    Returns the changed amounts by name, each (before, after) as people write it. Stores nothing when nothing changed.
    """
    begins = effective_at or timezone.now()
    old = price_in_force(model, begins)
    stored = {name: getattr(old, name) if old else 0 for name in AMOUNTS}
    given = {name: value for name, value in amounts.items() if value is not None}
    for name, leader in FOLLOWS.items():
        if name not in given and leader in given and stored[name] in (0, stored[leader]):
            given[name] = given[leader]
    new = {**stored, **given}
    if new == stored and (old or not given):
        return {}
    # Tiers multiply the library's prices; an operator's own prices have none.
    Price.objects.update_or_create(
        model=model, effective_at=begins, defaults={**new, "tiers": [], "source": Price.OPERATOR}
    )
    snapshot.forget()
    return {
        name: (format_millionths(stored[name]) if old else None, format_millionths(new[name]))
        for name in AMOUNTS
        if new[name] != stored[name] or (not old and name in given)
    }


def require_price(model: AIModel) -> None:
    """Make sure that an enabled model has a price, its own or else the library's. Raises `PriceRequired`."""
    if not model.enabled or model.prices.exists():
        return
    update_prices(model)
    if not model.prices.exists():
        raise PriceRequired(model)


def in_library(provider_kind: str, name: str, kind: str) -> bool:
    """Whether the offline price library has a price of the model."""
    return any(library_prices(PRICE_LIBRARY.get(provider_kind, ""), name, kind))


def with_prices(models: QuerySet[AIModel]) -> QuerySet[AIModel]:
    """The models, each with its begun prices as `begun`, the latest last: a fixed number of queries for any number."""
    begun = Price.objects.filter(effective_at__lte=timezone.now()).order_by("effective_at")
    return models.select_related("provider").prefetch_related(
        "provider__keys", Prefetch("prices", begun, to_attr="begun")
    )


def save(model: AIModel, *, fields: Mapping[str, Any], amounts: Mapping[str, int | None], actor: Any) -> None:
    """Make or change a model and its price, as an administrator. Raises `PriceRequired` for an enabled model without one.

    A new model whose body does not say `enabled` is stored disabled when it has no price.
    """
    transactions.run_atomic(_save, model, fields, amounts, actor)


def _save(model: AIModel, fields: Mapping[str, Any], amounts: Mapping[str, int | None], actor: Any) -> None:
    is_new = model._state.adding
    values = {}
    for name, new in fields.items():
        old = None if is_new else getattr(model, name)
        if is_new or old != new:
            values[name] = (old, new)
        setattr(model, name, new)
    model.save(update_fields=None if is_new else list(fields))
    values.update(set_price(model, amounts))
    try:
        require_price(model)
    except PriceRequired:
        if not is_new or "enabled" in fields:
            raise
        model.enabled = False
        model.save(update_fields=["enabled"])
    if values:
        audit_log.record(actor, model, audit_log.ADDED if is_new else audit_log.CHANGED, values)
    snapshot.forget()


def delete(model: AIModel, *, actor: Any) -> None:
    """Delete a model and its prices; usage records keep the prices that they were charged by."""
    transactions.run_atomic(_delete, model, actor)


def _delete(model: AIModel, actor: Any) -> None:
    audit_log.record(actor, model, audit_log.DELETED, {"slug": (model.slug, None), "provider": (model.provider, None)})
    model.delete()
    snapshot.forget()


def provider_named(slug: str) -> Provider:
    """The provider of a slug; a new row of the kind of this name when there is none."""
    return Provider.objects.get_or_create(slug=slug, defaults={"kind": slug})[0]


def set_enabled(model: AIModel, enabled: bool, *, actor: Any) -> None:
    """Switch a model on or off. Raises `PriceRequired`."""
    transactions.run_atomic(_set_enabled, model, enabled, actor)


def _set_enabled(model: AIModel, enabled: bool, actor: Any) -> None:
    if model.enabled == enabled:
        return
    model.enabled = enabled
    require_price(model)
    model.save(update_fields=["enabled"])
    audit_log.record(actor, model, audit_log.CHANGED, {"enabled": (not enabled, enabled)})
    snapshot.forget()
