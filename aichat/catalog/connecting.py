"""Makes a provider from the few things that an operator knows: the vendor or server, an address, a key."""

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError

from aichat.catalog import snapshot
from aichat.catalog.models import Provider, ProviderKey
from aichat.catalog.sync import add_models_of
from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.providers import registry
from aichat.providers.vendor import Server

OTHER = Server("other", "Another server", "", needs_key=False)
KEY_NAME = "entered"  # of the key that comes with a new provider


@dataclass(frozen=True, slots=True)
class Choice:
    """A vendor (`server` is None, its address is a setting) or a server that an operator can connect."""

    slug: str
    name: str
    kind: str
    server: Server | None

    @property
    def needs_key(self) -> bool:
        return self.server is None or self.server.needs_key


def choices() -> dict[str, Choice]:
    """The choices of an operator, by slug: vendors, then well-known servers, then any other."""
    vendors = [Choice(one.kind, one.name, one.kind, None) for one in registry.IN_ORDER_OF_AUTO if one.key_setting]
    rows = registry.KINDS_OF_ROWS[0]
    found = [*vendors, *(Choice(one.slug, one.name, rows, one) for one in (*registry.servers(), OTHER))]
    return {choice.slug: choice for choice in found}


def free_slug(slug: str) -> str:
    """The slug if no provider has it, else the slug with the lowest number behind it that is free."""
    taken = set(Provider.objects.filter(slug__startswith=slug).values_list("slug", flat=True))
    return next(
        name for name in (slug, *(f"{slug}-{number}" for number in range(2, len(taken) + 3))) if name not in taken
    )


def connect(choice: Choice, *, slug: str, base_url: str, key: str, actor: Any) -> Provider:
    """Make the provider, or find the vendor's, and give it the key; a vendor's current models come with it.

    Raises `ValidationError` that names the field.
    """
    provider: Provider = transactions.run_atomic(_connect, choice, slug, base_url, key, actor)
    snapshot.forget()
    add_models_of(provider)
    return provider


def _connect(choice: Choice, slug: str, base_url: str, key: str, actor: Any) -> Provider:
    provider = Provider.objects.filter(slug=choice.kind).first() if choice.server is None else None
    if provider is None:
        profile = choice.server.profile if choice.server else ""
        provider = Provider(slug=slug, kind=choice.kind, base_url=base_url, profile=profile)
        provider.full_clean()
        provider.save(force_insert=True)
        values = {"slug": (None, slug), "kind": (None, choice.kind), "base_url": (None, base_url)}
        audit_log.record(actor, provider, audit_log.ADDED, values)
    if key:
        if provider.keys.filter(name=KEY_NAME).exists():
            raise ValidationError({"key": f"{provider} has a key already: change it on its page."})
        ProviderKey(name=KEY_NAME).give(provider, key=key)
        audit_log.record(actor, provider, audit_log.CHANGED, {"key": ("(hidden)", "(hidden)")})
    return Provider.objects.prefetch_related("models", "keys").get(pk=provider.pk)
