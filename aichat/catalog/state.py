"""Computes the state of each provider and model: whether it can be called now, and if not, why.

A row that is enabled may still be of no use: its key is not set, its address is refused, its calls fail. The admin's lists
and forms, the dashboard and `GET /v1/models` all ask here, so that nothing is shown as usable that is not. No state is
stored. How calls went (`Health`) comes from a higher floor, which registers itself with `use_health_of`.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from ipaddress import ip_address
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from aichat.catalog.models import KEYS_OF_SETTINGS, AIModel, Provider
from aichat.core.outbound.public_addresses import is_public
from aichat.providers import registry

Pair = tuple[str, str]  # the slugs of a provider and of a model
# Names that public DNS does not have: RFC 6761, RFC 6762, and ICANN's reservation of `internal`.
PRIVATE_NAMES = ("localhost", "local", "internal")
MOST_SHOWN = 3  # models that a provider's reason names


class State(StrEnum):
    """The states, each as people read it."""

    READY = "ready"
    OFF = "switched off"
    NO_KEY = "no key"
    NO_ADDRESS = "no address"
    REFUSED_ADDRESS = "private address"
    NO_PRICE = "no price"
    NO_MODELS = "no models"
    LEFT_ALONE = "left alone"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Condition:
    """A state with its reason and mend in one sentence; the reason of `ready` may be empty."""

    state: State
    reason: str = ""

    @property
    def is_ready(self) -> bool:
        return self.state is State.READY

    @property
    def is_problem(self) -> bool:
        """Whether somebody should do something: what was switched off on purpose is no problem."""
        return self.state not in {State.READY, State.OFF}


@dataclass(frozen=True, slots=True)
class Health:
    """How a model's latest calls went.

    `wait` is for how many seconds its breaker stays open. `error` is the last failure in words, with its time `failed_at`,
    when no success followed it.
    """

    wait: float = 0.0
    error: str = ""
    failed_at: datetime | None = None


WELL = Health()
READY = Condition(State.READY)
HealthSource = Callable[[Collection[Pair]], Mapping[Pair, Health]]
_sources: list[HealthSource] = []


def use_health_of(source: HealthSource) -> None:
    """Ask `source` for the health of models from now on. The code that makes calls is on a floor above, so it registers."""
    if source not in _sources:
        _sources.append(source)


def health_of(pairs: Collection[Pair]) -> dict[Pair, Health]:
    """The health of models that are not well, by the slugs of provider and model."""
    found: dict[Pair, Health] = {}
    for source in _sources:
        found.update(source(pairs))
    return found


# --- Providers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UsableKey:
    """A key that calls may use. The ID changes with the value, so that a key that was replaced does not rest any more."""

    id: str
    name: str
    weight: int
    value: str = field(repr=False)


def keys_of(row: Provider) -> list[UsableKey]:
    """The keys that a provider can use: that of its variable, and those that were added to it."""
    variable = key_variable(row)
    found = [(str(row.pk), variable, 1, key_of(row))]
    found += [(str(key.pk), key.name, key.weight, key.value_for(row)) for key in row.keys.all() if key.enabled]
    return [UsableKey(key_id(pk, value), name, weight, value) for pk, name, weight, value in found if value]


def has_key() -> bool:
    """Whether any provider has a key, in a setting, in a variable that its row names, or entered: its calls cost money."""
    if any(getattr(settings, name) for name in registry.KEY_SETTINGS):
        return True
    rows = Provider.objects.filter(enabled=True).prefetch_related("keys")
    return any(keys_of(row) for row in rows)


def key_id(pk: object, value: str) -> str:
    return f"{pk}:{sha256(value.encode()).hexdigest()[:8]}"


def key_of(row: Provider) -> str:
    """The key of a provider's variable: the setting of its vendor, or what its row names; empty without one."""
    vendor = registry.VENDORS.get(row.kind)
    if vendor and vendor.key_setting:
        return str(getattr(settings, vendor.key_setting))
    is_own = row.api_key_env and row.api_key_env not in KEYS_OF_SETTINGS
    return os.environ.get(row.api_key_env, "") if is_own else ""


def key_variable(row: Provider) -> str:
    """The environment variable that the provider's key is read from; empty for one that needs none."""
    vendor = registry.VENDORS.get(row.kind)
    return (vendor.key_setting if vendor else "") or row.api_key_env


def obstacle(row: Provider) -> Condition | None:
    """The condition that keeps all models of a provider from being called, as far as is known without a call; or None."""
    if row.kind in registry.DEMO_KINDS:
        return None
    vendor = registry.VENDORS.get(row.kind)
    if not (vendor and vendor.key_setting) and not row.base_url:
        return Condition(State.NO_ADDRESS, "Write its base URL.")
    variable, others = key_variable(row), [key for key in row.keys.all() if key.enabled]
    if (variable or others) and not keys_of(row):
        mend = f"{variable} is not set: set it and restart the server." if variable else ""
        others_said = (
            f"None of its other keys can be used ({others[0].name}: {others[0].obstacle(row)})." if others else ""
        )
        return Condition(State.NO_KEY, f"{mend} {others_said}".strip() or "")
    if is_refused_address(row):
        return Condition(
            State.REFUSED_ADDRESS,
            f"{urlsplit(row.base_url).hostname} is an address of this machine or its network:"
            " set ALLOW_PRIVATE_UPSTREAMS=true and restart the server.",
        )
    return None


def is_refused_address(row: Provider) -> bool:
    """Whether the row's address is private by its spelling, and private addresses are not allowed.

    A public name that resolves to a private address is refused only when it is connected to.
    """
    return not settings.ALLOW_PRIVATE_UPSTREAMS and is_private(row)


def is_private(row: Provider) -> bool:
    """Whether the row's address is, by its spelling, one of this machine or its network."""
    if row.kind not in registry.KINDS_OF_ROWS:
        return False
    try:
        host = urlsplit(row.base_url).hostname or ""
    except ValueError:
        return False
    try:
        return not is_public(str(ip_address(host)))
    except ValueError:
        return bool(host) and ("." not in host or host.rpartition(".")[2] in PRIVATE_NAMES)


def of_providers(rows: Iterable[Provider]) -> dict[UUID, Condition]:
    """The condition of each provider, by its ID. The rows come with their models fetched (`prefetch_related`)."""
    rows = list(rows)
    served = {row.pk: [model for model in row.models.all() if model.enabled] for row in rows}
    health = health_of([(row.slug, model.slug) for row in rows for model in served[row.pk]])
    return {row.pk: _of_provider(row, served[row.pk], health) for row in rows}


def _of_provider(row: Provider, models: list[AIModel], health: Mapping[Pair, Health]) -> Condition:
    if not row.enabled:
        return Condition(State.OFF, "Enable it to have its models called.")
    if found := obstacle(row):
        return found
    if not models:
        return Condition(State.NO_MODELS, "No model of it is enabled: fetch its models, or add one.")
    sick = [(model, health[row.slug, model.slug]) for model in models if (row.slug, model.slug) in health]
    if not sick:
        return READY
    names = ", ".join(model.slug for model, _ in sick[:MOST_SHOWN]) + (" …" if len(sick) > MOST_SHOWN else "")
    reason = f"{names}: {_in_words(sick[0][1])}"
    return Condition(State.FAILING if len(sick) == len(models) else State.READY, reason)


# --- Models -----------------------------------------------------------------------------------------------------------


def of_models(models: Iterable[AIModel]) -> dict[UUID, Condition]:
    """The condition of each model, by its ID.

    The rows come with their provider, and best with the prices that have begun as `begun` (`editing.with_prices`): else each
    model takes a query.
    """
    models = list(models)
    health = health_of([(model.provider.slug, model.slug) for model in models if model.enabled])
    return {model.pk: _of_model(model, health.get((model.provider.slug, model.slug), WELL)) for model in models}


def _of_model(model: AIModel, health: Health) -> Condition:
    if not model.enabled:
        return Condition(State.OFF, "Enable it to have it called.")
    if not model.provider.enabled:
        return Condition(State.OFF, f"Its provider {model.provider.slug} is switched off.")
    if found := obstacle(model.provider):
        return found
    if not has_price(model):
        return Condition(State.NO_PRICE, "Give its prices: a model without would be free.")
    if health.wait:
        return Condition(State.LEFT_ALONE, f"For another {health.wait:.0f} s. {_in_words(health)}")
    if health.error:
        return Condition(State.FAILING, _in_words(health))
    return READY


def has_price(model: AIModel) -> bool:
    """Whether a price of the model has begun."""
    begun = getattr(model, "begun", None)
    if begun is not None:
        return bool(begun)
    return model.prices.filter(effective_at__lte=timezone.now()).exists()


def _in_words(health: Health) -> str:
    if not health.error:
        return "Its calls failed several times in a row."
    when = f" at {health.failed_at:%Y-%m-%d %H:%M} UTC" if health.failed_at else ""
    return f"Last error{when}: {health.error}"
