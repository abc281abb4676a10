"""The catalog in memory: requests read it without a query, and a change is seen everywhere within a second."""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from aichat.catalog import access, state
from aichat.catalog.access import Allowed, Who
from aichat.catalog.models import BAD_TIERS, AIModel, Price, Provider
from aichat.catalog.pricing import Rates
from aichat.core.database import clock
from aichat.core.snapshot import Snapshot
from aichat.providers import registry
from aichat.providers.base import Endpoint

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeyedEndpoint:
    """A provider's endpoint with one of its keys, which has `weight` turns in a round."""

    id: str
    name: str
    weight: int
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """A provider as requests need it. `is_configured`: it has a key, or needs none."""

    slug: str
    kind: str
    endpoint: Endpoint
    is_configured: bool
    keys: tuple[KeyedEndpoint, ...] = ()  # those that take turns, where there are several
    is_refused: bool = False  # its address is private, which is not allowed: every call fails

    @property
    def is_demo(self) -> bool:
        return self.kind in registry.DEMO_KINDS


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """An enabled model. A model without `rates` has no price in force and can't be called."""

    slug: str
    kind: str
    provider: ProviderInfo
    upstream_name: str
    context_window: int
    max_output_tokens: int
    fallbacks: tuple[str, ...]
    auto_position: int | None
    rates: Rates | None
    created: int
    vision: bool = True
    tools: bool = True
    structured_output: bool = True
    fallback_on: tuple[str, ...] = ()  # reasons to ask the fallbacks; empty: those of FALLBACK_ON
    image_tokens: int = 2_500
    allowed: Allowed | None = None  # None: open to all
    aliases: tuple[str, ...] = ()  # earlier slugs

    def is_open_to(self, who: Who) -> bool:
        """Whether `who` may use the model, and with this API key."""
        if self.allowed is not None and not self.allowed.includes(who):
            return False
        key = who.api_key
        return key is None or not key.allowed_models or self.is_named_in(key.allowed_models)

    def is_named_in(self, slugs: Collection[str]) -> bool:
        """Whether the slugs have the model's own or one that it had before."""
        return self.slug in slugs or any(alias in slugs for alias in self.aliases)

    @property
    def is_callable(self) -> bool:
        return self.rates is not None and self.provider.is_configured

    @property
    def is_offered(self) -> bool:
        """Whether clients are told of the model. A model at a refused address is not: a client that names it is told why."""
        return self.is_callable and not self.provider.is_refused


Catalog = Mapping[str, ModelInfo]  # the enabled models, by slug


class AliasedCatalog(Mapping[str, ModelInfo]):
    """The enabled models by slug. An earlier slug finds its model too, unless another model has it now.

    `others` are the aliases of the models that are not enabled, by slug: reports of old usage need them.
    """

    def __init__(self, models: Mapping[str, ModelInfo], others: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.models = models
        self.slugs = {alias: model.slug for model in models.values() for alias in model.aliases}
        self.aliases = {**(others or {}), **{slug: model.aliases for slug, model in models.items()}}
        self.known = {alias: slug for slug, aliases in self.aliases.items() for alias in aliases} | self.slugs

    def slug_of(self, name: str) -> str:
        """The slug that the model of this name has now, enabled or not; `name` itself when no model is known by it."""
        return name if name in self.aliases else self.known.get(name, name)

    def names_of(self, name: str) -> list[str]:
        """The slug that the model of this name has now, enabled or not, and those it had before."""
        slug = self.slug_of(name)
        return [slug, *self.aliases.get(slug, ())]

    def __getitem__(self, slug: str) -> ModelInfo:
        found = self.models.get(slug)
        return self.models[self.slugs[slug]] if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)


def _read() -> AliasedCatalog:
    rates = _rates()
    given = access.read()
    providers = {row.pk: provider_info(row) for row in Provider.objects.filter(enabled=True).prefetch_related("keys")}
    rows = list(AIModel.objects.all())
    models = {
        row.slug: ModelInfo(
            slug=row.slug,
            kind=row.kind,
            provider=providers[row.provider_id],
            upstream_name=row.upstream_name or row.slug,
            context_window=row.context_window,
            max_output_tokens=row.max_output_tokens,
            fallbacks=tuple(row.fallbacks),
            auto_position=row.auto_position,
            rates=rates.get(row.pk),
            created=int(row.created_at.timestamp()),
            vision=row.vision,
            tools=row.tools,
            structured_output=row.structured_output,
            fallback_on=tuple(row.fallback_on),
            image_tokens=row.image_tokens,
            allowed=given.get(str(row.pk)),
            aliases=tuple(row.aliases or ()),
        )
        for row in rows
        if row.enabled and row.provider_id in providers
    }
    others = {row.slug: tuple(row.aliases or ()) for row in rows if row.slug not in models}
    return AliasedCatalog(models, others)


def _rates() -> dict[object, Rates | None]:
    """The price in force of each model, by the model's ID; None, which closes the model, for an unreadable price.

    A price that the library announced for a later day does not replace a price that an operator set.
    """
    rates: dict[object, Rates | None] = {}
    operators: set[object] = set()
    clock.keep_compared()
    for price in Price.objects.filter(model__enabled=True, effective_at__lte=clock.shared_now()).order_by(
        "effective_at"
    ):
        if price.source != Price.LIBRARY:
            operators.add(price.model_id)
        elif price.model_id in operators:
            continue
        try:
            rates[price.model_id] = price.rates()
        except BAD_TIERS:
            logger.exception("a price can't be read: its model is closed", extra={"price": str(price.pk)})
            rates[price.model_id] = None
    return rates


def provider_info(row: Provider) -> ProviderInfo:
    """How requests reach the provider of a row: its address, key and profile."""
    problem = state.obstacle(row)
    is_refused = problem is not None and problem.state is state.State.REFUSED_ADDRESS
    found = state.keys_of(row)
    keyed = tuple(KeyedEndpoint(key.id, key.name, key.weight, _endpoint(row, key.value)) for key in found)
    return ProviderInfo(
        slug=row.slug,
        kind=row.kind,
        endpoint=keyed[0].endpoint if keyed else _endpoint(row, ""),
        is_configured=problem is None or is_refused,
        keys=keyed if len(keyed) > 1 else (),
        is_refused=is_refused,
    )


def _endpoint(row: Provider, api_key: str) -> Endpoint:
    vendor = registry.VENDORS.get(row.kind)
    if vendor and vendor.key_setting:
        return Endpoint(
            getattr(settings, vendor.base_url_setting),
            api_key,
            connect_timeout=settings.CHAT_CONNECT_TIMEOUT,
            profile=row.profile,
            quirks=_quirks(row),
        )
    return Endpoint(
        row.base_url,
        api_key,
        headers={name: value.replace("{api_key}", api_key) for name, value in row.extra_headers.items()},
        connect_timeout=settings.CHAT_CONNECT_TIMEOUT,
        bearer=not any("{api_key}" in value for value in row.extra_headers.values()),
        public_only=not settings.ALLOW_PRIVATE_UPSTREAMS,
        profile=row.profile,
        quirks=_quirks(row),
    )


def _quirks(row: Provider) -> tuple[tuple[str, Any], ...]:
    """The row's overrides; none for a row that was written around `clean`, whose profile then stands alone."""
    try:
        return registry.read_quirks(row.quirks)
    except ValueError:
        logger.exception("the quirks of a provider can't be read", extra={"provider": row.slug})
        return ()


_catalog: Snapshot[AliasedCatalog] = Snapshot("the catalog", _read, empty=AliasedCatalog({}))
# `await ready()` on the event loop, `current()` in threads; who changes the catalog calls `forget()` in their process.
current, ready, forget = _catalog.current, _catalog.ready, _catalog.forget
