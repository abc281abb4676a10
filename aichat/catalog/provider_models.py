"""The tables of providers, their keys, and the one address that each key is sent to."""

import os
import re
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from aichat.core.database import encryption
from aichat.core.database.models import Row
from aichat.providers import registry
from aichat.providers.registry import KINDS_OF_ROWS, kinds

SLUG = RegexValidator(r"\A[A-Za-z0-9][A-Za-z0-9._:/-]*\Z", "Use letters, digits and . _ : / - only.")
# The one kind of secret a catalog row may name: not the database's password, not this installation's SECRET_KEY.
KEY_VARIABLE = RegexValidator(r"\A[A-Z][A-Z0-9_]*_API_KEY\Z", "Name an environment variable that ends in _API_KEY.")
# Keys that belong to a setting: a row that named one could send it to any server.
KEYS_OF_SETTINGS = {*registry.KEY_SETTINGS, "POSTHOG_API_KEY"}
HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
HEADERS_OF_OURS = {"content-length", "content-type", "host", "transfer-encoding", "x-request-id"}


def check_base_url(value: str) -> None:
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in {"http", "https"} and parts.hostname and not (parts.username or parts.fragment)
        _ = parts.port  # raises for a number beyond 65,535
    except ValueError:
        is_good = False
    if not is_good:
        raise ValidationError("Write an address such as https://host/v1, without a login.")


def host_of(address: str) -> str:
    """The scheme, host and port of an address, in lower case; empty for an address that `check_base_url` refuses as none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}".lower()


def check_headers(value: Any) -> None:
    if not isinstance(value, dict):
        raise ValidationError('Write an object such as {"api-key": "{api_key}"}.')
    for name, content in value.items():
        if not HEADER_NAME.fullmatch(name) or name.lower() in HEADERS_OF_OURS:
            raise ValidationError(f"{name!r} is no header that can be set here.")
        if not isinstance(content, str) or not content.isprintable():
            raise ValidationError(f"The value of {name} must be one line of text.")


def check_quirks(value: Any) -> None:
    try:
        registry.read_quirks(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


class KeyAddress(Row):
    """The one address that the key of an environment variable is sent to, by the first provider that named it.

    The row outlives the provider: an administrator who deletes the provider, or names another variable in it, can't have
    the key sent elsewhere by a new provider. Only the operator of the servers can, in a new variable.
    """

    variable = models.CharField(max_length=100, unique=True)
    address = models.CharField(max_length=500)

    def __str__(self) -> str:
        return self.variable

    @classmethod
    def refuse_other(cls, variable: str, address: str) -> None:
        """Raise `ValidationError` for a variable whose key is sent to another address."""
        known = cls.objects.filter(variable=variable).first()
        if known and known.address != address:
            raise ValidationError(
                {
                    "base_url": f"{variable} is sent to {known.address}, also by a new row: name another variable with it."
                }
            )

    @classmethod
    def keep(cls, variable: str, address: str) -> None:
        """Keep where a variable's key is sent from now on. Raises `ValidationError` for one that is sent elsewhere."""
        cls.objects.get_or_create(variable=variable, defaults={"address": address})
        cls.refuse_other(variable, address)  # another process may have been quicker


class Provider(Row):
    """An API that serves models. Those with a key (or that need none) are in use.

    Gemini, OpenAI and Anthropic take their address and key from the settings. OpenAI-compatible providers, of which there may
    be any number, have their own here.
    """

    slug = models.CharField(max_length=50, unique=True, validators=[SLUG])
    kind = models.CharField(max_length=30, choices=kinds)
    enabled = models.BooleanField(default=True)
    base_url = models.CharField(
        "base URL",
        max_length=500,
        blank=True,
        validators=[check_base_url],
        default="",
        db_default="",
        help_text="What comes before /chat/completions.",
    )
    api_key_env = models.CharField(
        "key variable",
        max_length=100,
        blank=True,
        validators=[KEY_VARIABLE],
        default="",
        db_default="",
        help_text="Name of the environment variable that holds the key. Empty: the server needs none.",
    )
    extra_headers = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        validators=[check_headers],
        help_text="Sent with each request. {api_key} in a value becomes the key, which is then sent there only.",
    )

    profile = models.CharField(
        "server",
        max_length=30,
        blank=True,
        choices=registry.profiles,
        default="",
        db_default="",
        help_text="What the server can't take or names otherwise: docs/PROVIDERS.md. Empty: known by its address.",
    )
    quirks = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        validators=[check_quirks],
        help_text='What this server does otherwise than its profile: {"stream_options": false, "limit": "max_tokens"}.',
    )

    def __str__(self) -> str:
        return self.slug

    def clean(self) -> None:
        self.check_key()
        if not self.speaks_openai and (self.profile or self.quirks):
            raise ValidationError({"profile": "Only servers that speak OpenAI's format have a profile."})
        if self.kind in KINDS_OF_ROWS and not self.base_url:
            name = registry.VENDORS[self.kind].name
            raise ValidationError({"base_url": f"An {name} provider needs its address."})
        if self.kind not in KINDS_OF_ROWS and (self.base_url or self.api_key_env or self.extra_headers):
            raise ValidationError(
                f"Address, key and headers of this kind are settings: only {' or '.join(KINDS_OF_ROWS)} has its own."
            )

    def check_key(self) -> None:
        """Raise `ValidationError` for a key that belongs to a setting or to another provider, or that would move.

        A key is sent to one address. With a new address a provider needs a new key variable, which only the operator of
        the servers can set: an administrator can't have the old key sent elsewhere.
        """
        if not self.api_key_env:
            return
        if self.api_key_env in KEYS_OF_SETTINGS:
            raise ValidationError(
                {"api_key_env": f"{self.api_key_env} is a setting's: name a variable of this provider."}
            )
        others = Provider.objects.filter(api_key_env=self.api_key_env).exclude(pk=self.pk)
        if others.exists() or ProviderKey.objects.filter(variable=self.api_key_env).exclude(provider=self.pk).exists():
            raise ValidationError({"api_key_env": f"{self.api_key_env} belongs to another provider."})
        KeyAddress.refuse_other(self.api_key_env, host_of(self.base_url))

    def save(self, *args: Any, **how: Any) -> None:
        """Write the row, and keep where its key is sent. Raises `ValidationError` for a key that is sent elsewhere."""
        is_new_pair = self._state.adding or {"api_key_env", "base_url"} & set(self.changed_columns())
        if self.api_key_env and is_new_pair:
            KeyAddress.keep(self.api_key_env, host_of(self.base_url))
        super().save(*args, **how)

    @property
    def key_address(self) -> str:
        """Where its keys are sent; for a kind whose address is a setting, the kind."""
        return host_of(self.base_url) if self.kind in KINDS_OF_ROWS else self.kind

    @property
    def speaks_openai(self) -> bool:
        """Whether its adapter goes by a profile of OpenAI-compatible servers."""
        return self.own_profile is not None

    @property
    def own_profile(self) -> str | None:
        """The profile of its kind: empty when the address decides, None for a kind that has none."""
        vendor = registry.VENDORS.get(self.kind)
        return vendor.profile if vendor else None

    @property
    def profile_in_use(self) -> str:
        """The name of the profile its requests follow; empty for a kind that has none."""
        if not self.speaks_openai:
            return ""
        return self.profile or self.own_profile or registry.profile_by_address(self.base_url)


class ProviderKey(Row):
    """One more key of a provider, beside that of its variable; calls take turns by `weight`.

    It is read from an environment variable, or was entered and is stored encrypted. It is sent only to the address that
    the provider had when the key was given: an administrator can't have it sent elsewhere by a new address.
    """

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=50, help_text="For people and logs; not the key itself.")
    variable = models.CharField(
        "key variable",
        max_length=100,
        blank=True,
        validators=[KEY_VARIABLE],
        help_text="Environment variable that holds the key. Empty: the key is entered.",
    )
    secret = models.TextField(blank=True, editable=False)  # encrypted
    address = models.CharField(max_length=500, editable=False)  # `Provider.key_address` when the key was given
    weight = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(100)], help_text="Turns in a round."
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "key"
        ordering = ["created_at"]

    def __str__(self) -> str:
        return self.name

    def value_for(self, provider: Provider) -> str:
        """The key, in clear; empty when it can't be used with the provider as it is now."""
        if self.address != provider.key_address:
            return ""
        return os.environ.get(self.variable, "") if self.variable else encryption.decrypt(self.secret)

    def obstacle(self, provider: Provider) -> str:
        """Why the key can't be used, in words; empty for one that can."""
        if self.value_for(provider):
            return ""
        if self.address != provider.key_address:
            return f"it was given for {self.address}: give one for the new address"
        if self.variable:
            return f"{self.variable} is not set: set it and restart the server"
        return "it was encrypted under another FIELD_ENCRYPTION_KEY or SECRET_KEY: enter it again"

    def check_variable(self, provider: Provider) -> None:
        """Raise `ValidationError` for a variable of a setting or of another provider, or that is sent elsewhere."""
        if self.variable in KEYS_OF_SETTINGS:
            raise ValidationError({"variable": f"{self.variable} is a setting's: name a variable of this provider."})
        others = ProviderKey.objects.filter(variable=self.variable).exclude(pk=self.pk)
        if others.exists() or Provider.objects.filter(api_key_env=self.variable).exists():
            raise ValidationError({"variable": f"{self.variable} is in use already."})
        known = KeyAddress.objects.filter(variable=self.variable).first()
        if known and known.address != provider.key_address:
            raise ValidationError({"variable": f"{self.variable} is sent to {known.address}: name another variable."})

    def give(self, provider: Provider, *, key: str = "") -> None:
        """Store the key for the provider's present address: `key` encrypted, or the variable's from then on."""
        self.provider, self.address = provider, provider.key_address
        self.secret = encryption.encrypt(key) if key else ""
        if self.variable:
            KeyAddress.keep(self.variable, self.address)
        self.save()
