"""Compares prices with the offline price library: finds models without a price, and prices that differ from the library's.

It changes nothing: each finding says how to mend it. The library is the installed one, so a price that its provider has
changed since shows with the next release of `genai-prices`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aichat.catalog import editing
from aichat.catalog.models import AIModel, Price
from aichat.catalog.sync import LibraryPrice, library_prices
from aichat.providers.registry import DEMO_KINDS, PRICE_LIBRARY

MISSING, REMOVED, CHANGED, OVERRIDDEN, FREE = "missing", "removed", "changed", "overridden", "free"
SYNC = "manage.py sync_models"
COSTS = ("input_cost", "cached_input_cost", "output_cost")


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about a model's price, with its mend; `is_problem` is false when nobody has to do anything."""

    model: str
    state: str
    text: str
    mend: str
    is_problem: bool = True


def findings(used: Iterable[str] = ()) -> list[Finding]:
    """The findings about models that are enabled or in `used` (slugs), ordered by slug. It takes a few queries in all.

    A finding is a price that is missing, that the library has changed, that an operator has set against the library, or that
    has no cost of ours.
    """
    slugs = set(used)
    found = []
    for model in editing.with_prices(AIModel.objects.all()):
        if model.enabled or model.slug in slugs:
            found.append(of_model(model))
        slugs.discard(model.slug)
    found += [
        Finding(
            slug, REMOVED, "no longer in the catalog", "Nothing to do: its old usage keeps the prices it had.", False
        )
        for slug in slugs
    ]
    return sorted((each for each in found if each), key=lambda each: each.model)


def of_model(model: AIModel) -> Finding | None:
    """The finding about one model, which carries its prices as `begun` (see `editing.with_prices`); None: all is well."""
    price = in_force(model.begun)  # type: ignore[attr-defined]
    name = PRICE_LIBRARY.get(model.provider.kind, "")
    known = next(library_prices(name, model.upstream_name or model.slug, model.kind), None) if name else None
    if price is None and known:
        return Finding(model.slug, MISSING, "has no price; the library knows one", SYNC)
    if price is None:
        return Finding(
            model.slug, MISSING, "has no price, and the library knows none", "Give its prices in the catalog."
        )
    if known and (different := differences(price, known)):
        return drifted(model.slug, price, different)
    if model.provider.kind not in DEMO_KINDS and not any(getattr(price, cost) for cost in (*COSTS, "image_cost")):
        return Finding(
            model.slug, FREE, "has no cost of ours, so all it earns counts as margin",
            "Give its costs in the catalog, unless it runs on machines of yours.", is_problem=False,
        )  # fmt: skip
    return None


def in_force(begun: Sequence[Price]) -> Price | None:
    """The price in force among those that have begun (oldest first): the latest of an operator, else of the library."""
    own = [price for price in begun if price.source != Price.LIBRARY]
    return (own or begun)[-1] if begun else None


def differences(price: Price, known: LibraryPrice) -> dict[str, tuple[Any, Any]]:
    """The price columns that differ from the library's, each with its amounts: (in force, library)."""
    return {
        name: (getattr(price, name), value) for name, value in known.fields.items() if getattr(price, name) != value
    }


def drifted(slug: str, price: Price, different: dict[str, tuple[Any, Any]]) -> Finding | None:
    costs = "; ".join(
        f"{name.removesuffix('_cost').replace('_', ' ')} {usd(ours)} instead of {usd(theirs)}"
        for name, (ours, theirs) in different.items()
        if name.endswith("_cost")
    )
    if price.source != Price.LIBRARY:
        if not costs:  # a price for users of the operator's own is what overrides are for
            return None
        text = f"costs set by an operator differ from the library's, USD a million tokens: {costs}"
        return Finding(
            slug, OVERRIDDEN, text, "Change its costs in the catalog, if they are not a contract of yours.", False
        )
    if costs:
        return Finding(slug, CHANGED, f"changed in the library, USD a million tokens: {costs}", SYNC)
    return Finding(slug, CHANGED, "is not cost × CREDITS_PER_USD × MARKUP any more", SYNC)


def usd(microdollars: int | None) -> str:
    return "as input" if microdollars is None else editing.format_millionths(microdollars)
