"""Which models there are, where they are served, and what they cost."""

import os
import re
from collections.abc import Collection
from functools import partial
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from aichat.catalog import fallback_reasons
from aichat.catalog.pricing import Rates, Tier, TokenPrices, tier_from
from aichat.core.database import encryption, transactions
from aichat.core.database.models import Row
from aichat.providers import registry
from aichat.providers.registry import KINDS_OF_ROWS, kinds

BAD_TIERS = (ValueError, TypeError, KeyError, AttributeError)
USE = "use_aimodel"  # the permission to use a model: see `access.py`
SLUG = RegexValidator(r"\A[A-Za-z0-9][A-Za-z0-9._:/-]*\Z", "Use letters, digits and . _ : / - only.")
# The one kind of secret a catalog row may name: not the database's password, not this installation's SECRET_KEY.
KEY_VARIABLE = RegexValidator(r"\A[A-Z][A-Z0-9_]*_API_KEY\Z", "Name an environment variable that ends in _API_KEY.")
# Keys that belong to a setting: a row that named one could send it to any server.
KEYS_OF_SETTINGS = {*registry.KEY_SETTINGS, "POSTHOG_API_KEY"}
HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
HEADERS_OF_OURS = {"content-length", "content-type", "host", "transfer-encoding", "x-request-id"}


def check_base_url(value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.fragment:
        raise ValidationError("Write an address such as https://host/v1, without a login.")


def host_of(address: str) -> str:
    """The scheme, host and port of an address, in lower case."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}".lower()


def check_headers(value: Any) -> None:
    if not isinstance(value, dict):
        raise ValidationError('Write an object such as {"api-key": "{api_key}"}.')
    for name, content in value.items():
        if not HEADER_NAME.fullmatch(name) or name.lower() in HEADERS_OF_OURS:
            raise ValidationError(f"{name!r} is no header that can be set here.")
        if not isinstance(content, str) or not content.isprintable():
            raise ValidationError(f"The value of {name} must be one line of text.")


def check_reasons(value: Any) -> None:
    if not isinstance(value, list) or not set(map(str, value)) <= set(fallback_reasons.ALL):
        raise ValidationError(f"Write a list of some of {', '.join(fallback_reasons.ALL)}.")


def check_quirks(value: Any) -> None:
    try:
        registry.read_quirks(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


class KeyAddress(Row):
    """The one address that the key of an environment variable is sent to, by the first provider that named it.

    It outlives the provider: an administrator who deletes that row, or has it name another variable, can't have the key
    sent elsewhere by a new one. Only the operator of the servers can give a key to another address, in a new variable.
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
        cls.refuse_other(variable, address)  # of two at once one was first


class Provider(Row):
    """An API that serves models. Those with a key (or that need none) are in use.

    Gemini, OpenAI and Anthropic take address and key from the settings; any number of OpenAI-compatible ones have their
    own here.
    """

    slug = models.CharField(max_length=50, unique=True, validators=[SLUG])
    kind = models.CharField(max_length=30, choices=kinds)
    enabled = models.BooleanField(default=True)
    base_url = models.CharField(
        "base URL",
        max_length=500,
        blank=True,
        validators=[check_base_url],
        help_text="What comes before /chat/completions.",
    )
    api_key_env = models.CharField(
        "key variable",
        max_length=100,
        blank=True,
        validators=[KEY_VARIABLE],
        help_text="Name of the environment variable that holds the key. Empty: the server needs none.",
    )
    extra_headers = models.JSONField(
        default=dict,
        blank=True,
        validators=[check_headers],
        help_text="Sent with each request. {api_key} in a value becomes the key, which is then sent there only.",
    )

    profile = models.CharField(
        "server",
        max_length=30,
        blank=True,
        choices=registry.profiles,
        help_text="What the server can't take or names otherwise: docs/PROVIDERS.md. Empty: known by its address.",
    )
    quirks = models.JSONField(
        default=dict,
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


class AIModel(Row):
    """A model as clients name it (`slug`), and as its provider does (`upstream_name`, or the same)."""

    class Kind(models.TextChoices):
        CHAT = "chat"
        IMAGE = "image"
        EMBEDDING = "embedding"
        MODERATION = "moderation"
        SPEECH = "speech"
        TRANSCRIPTION = "transcription"

    slug = models.CharField(max_length=100, unique=True, validators=[SLUG])
    aliases = models.JSONField(
        default=list, blank=True, editable=False, help_text="Earlier slugs, under which the model still answers."
    )
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="models")
    upstream_name = models.CharField(max_length=100, blank=True, help_text="Empty: the same as the slug.")
    kind = models.CharField(max_length=20, choices=Kind.choices, default=Kind.CHAT)
    enabled = models.BooleanField(default=True, db_index=True)
    context_window = models.PositiveIntegerField(default=128_000, help_text="Tokens of input and output together.")
    max_output_tokens = models.PositiveIntegerField(default=16_384, validators=[MinValueValidator(1)])
    fallbacks = models.JSONField(default=list, blank=True, help_text="Slugs to try, in order, when this one fails.")
    fallback_on = models.JSONField(
        default=list,
        blank=True,
        validators=[check_reasons],
        help_text='The failures after which they are tried, such as ["outage", "rate_limit"]. Empty: FALLBACK_ON.',
    )
    auto_position = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Place in the default route `auto`, lowest first; empty: not part of it."
    )
    vision = models.BooleanField(default=True, help_text="Reads images.")
    tools = models.BooleanField(default=True, help_text="Calls functions.")
    structured_output = models.BooleanField(default=True, help_text="Answers in JSON, by a schema too.")
    image_tokens = models.PositiveIntegerField(
        default=2_500, help_text="The most tokens one image it reads is billed as."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    stored_slug = ""  # as the row was read

    class Meta:
        verbose_name = "AI model"
        permissions = [(USE, "Can use the model")]
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any], **later: Any) -> Self:
        found = super().from_db(db, field_names, values, **later)  # Django 6.1 adds an argument
        found.stored_slug = found.slug if "slug" in field_names else ""
        return found

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the row. A model that is renamed goes on to answer under its earlier names: fallbacks and experiments,
        clients and old usage know it by those."""
        if self.stored_slug and self.stored_slug != self.slug:
            self.aliases = [*(name for name in self.aliases if name != self.slug), self.stored_slug]
            if kwargs.get("update_fields") is not None:
                kwargs["update_fields"] = {*kwargs["update_fields"], "aliases"}
        transactions.on_rollback(partial(setattr, self, "stored_slug", self.stored_slug))
        super().save(*args, **kwargs)
        self.stored_slug = self.slug


class Price(Row):
    """What a model costs from a point in time on. The latest one that has begun is in force; history stays."""

    LIBRARY: ClassVar[str] = "price library"
    OPERATOR: ClassVar[str] = "operator"

    model = models.ForeignKey(AIModel, on_delete=models.CASCADE, related_name="prices")
    effective_at = models.DateTimeField(default=timezone.now)
    input_price = models.PositiveBigIntegerField(default=0, help_text="Microcredits for a million tokens.")
    cached_input_price = models.PositiveBigIntegerField(default=0, help_text="Microcredits for a million tokens.")
    cache_write_price = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text="Microcredits for a million tokens written to the provider's cache; empty: as input.",
    )
    cache_write_1h_price = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text="Microcredits for a million tokens kept for an hour in the provider's cache; empty: as other writes.",
    )
    output_price = models.PositiveBigIntegerField(default=0, help_text="Microcredits for a million tokens.")
    request_price = models.PositiveBigIntegerField(default=0, help_text="Microcredits for each request.")
    image_price = models.PositiveBigIntegerField(default=0, help_text="Microcredits for each image.")
    character_price = models.PositiveBigIntegerField(
        default=0, help_text="Microcredits for a million characters of text to speak."
    )
    minute_price = models.PositiveBigIntegerField(
        default=0, help_text="Microcredits for a minute of audio to transcribe."
    )
    input_cost = models.PositiveBigIntegerField(default=0, help_text="Millionths of a US dollar for a million tokens.")
    cached_input_cost = models.PositiveBigIntegerField(default=0, help_text="As the input cost.")
    cache_write_cost = models.PositiveBigIntegerField(null=True, blank=True, help_text="As the input cost.")
    cache_write_1h_cost = models.PositiveBigIntegerField(null=True, blank=True, help_text="As the input cost.")
    output_cost = models.PositiveBigIntegerField(default=0, help_text="As the input cost.")
    image_cost = models.PositiveBigIntegerField(default=0, help_text="Millionths of a US dollar for each image.")
    character_cost = models.PositiveBigIntegerField(
        default=0, help_text="Millionths of a US dollar for a million characters of text to speak."
    )
    minute_cost = models.PositiveBigIntegerField(
        default=0, help_text="Millionths of a US dollar for a minute of audio to transcribe."
    )
    tiers = models.JSONField(default=list, blank=True, help_text="Dearer prices of long inputs.")
    source = models.CharField(max_length=50, default=OPERATOR, help_text="Who set it.")

    class Meta:
        ordering = ["-effective_at"]
        constraints = [models.UniqueConstraint(fields=["model", "effective_at"], name="one_price_per_moment")]

    def __str__(self) -> str:
        return f"{self.model} from {self.effective_at:%Y-%m-%d}"

    def clean(self) -> None:
        try:
            self.rates_of_tiers()
        except BAD_TIERS:
            raise ValidationError(
                {
                    "tiers": 'Write [{"above_input_tokens": n, "price": p, "cost": p}, …], '
                    'where p is {"input": n, "cached_input": n, "output": n} with numbers from 0.'
                }
            ) from None

    def rates_of_tiers(self) -> tuple[Tier, ...]:
        return tuple(tier_from(row) for row in self.tiers)

    def rates(self) -> Rates:
        """The row as `Rates`. Raises one of `BAD_TIERS` for a row that was written around `clean`."""
        return Rates(
            price=TokenPrices(
                self.input_price,
                self.cached_input_price,
                self.output_price,
                self.cache_write_price,
                self.cache_write_1h_price,
            ),
            cost=TokenPrices(
                self.input_cost,
                self.cached_input_cost,
                self.output_cost,
                self.cache_write_cost,
                self.cache_write_1h_cost,
            ),
            request_price=self.request_price,
            image_price=self.image_price,
            image_cost=self.image_cost,
            character_price=self.character_price,
            character_cost=self.character_cost,
            minute_price=self.minute_price,
            minute_cost=self.minute_cost,
            tiers=self.rates_of_tiers(),
        )
