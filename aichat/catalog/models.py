"""The tables of models and their dated prices. `provider_models.py` has those of providers."""

from collections.abc import Collection
from functools import partial
from typing import Any, ClassVar, Self

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from aichat.catalog import fallback_reasons
from aichat.catalog.pricing import Rates, Tier, TokenPrices, tier_from
from aichat.catalog.provider_models import KEYS_OF_SETTINGS, SLUG, KeyAddress, Provider, ProviderKey
from aichat.core.database import transactions
from aichat.core.database.models import Row

__all__ = ["KEYS_OF_SETTINGS", "SLUG", "AIModel", "KeyAddress", "Price", "Provider", "ProviderKey"]

BAD_TIERS = (ValueError, TypeError, KeyError, AttributeError)
USE = "use_aimodel"  # the permission to use a model: see `access.py`


def check_reasons(value: Any) -> None:
    if not isinstance(value, list) or not set(map(str, value)) <= set(fallback_reasons.ALL):
        raise ValidationError(f"Write a list of some of {', '.join(fallback_reasons.ALL)}.")


class AIModel(Row):
    """A model: clients know it by its `slug`, its provider by `upstream_name` (empty: by the slug too)."""

    class Kind(models.TextChoices):
        CHAT = "chat"
        IMAGE = "image"
        EMBEDDING = "embedding"
        MODERATION = "moderation"
        SPEECH = "speech"
        TRANSCRIPTION = "transcription"

    slug = models.CharField(max_length=100, unique=True, validators=[SLUG])
    aliases = models.JSONField(
        default=list,
        db_default=[],
        blank=True,
        editable=False,
        help_text="Earlier slugs, under which the model still answers.",
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
        db_default=[],
        blank=True,
        validators=[check_reasons],
        help_text='The failures after which they are tried, such as ["outage", "rate_limit"]. Empty: FALLBACK_ON.',
    )
    auto_position = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Place in the default route `auto`, lowest first; empty: not part of it."
    )
    vision = models.BooleanField(default=True, db_default=True, help_text="Reads images.")
    tools = models.BooleanField(default=True, db_default=True, help_text="Calls functions.")
    structured_output = models.BooleanField(
        default=True, db_default=True, help_text="Answers in JSON, by a schema too."
    )
    image_tokens = models.PositiveIntegerField(
        default=2_500, db_default=2_500, help_text="The most tokens one image it reads is billed as."
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
        """Store the row. A renamed model goes on to answer under its earlier slugs.

        Fallbacks, experiments, clients and old usage records know the model by those.
        """
        if self.stored_slug and self.stored_slug != self.slug:
            self.aliases = [*(name for name in self.aliases if name != self.slug), self.stored_slug]
            if kwargs.get("update_fields") is not None:
                kwargs["update_fields"] = {*kwargs["update_fields"], "aliases"}
        transactions.on_rollback(partial(setattr, self, "stored_slug", self.stored_slug))
        super().save(*args, **kwargs)
        self.stored_slug = self.slug


class Price(Row):
    """The price of a model from a moment on. The latest one that has begun is in force; old prices stay."""

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
        default=0, db_default=0, help_text="Microcredits for a million characters of text to speak."
    )
    minute_price = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="Microcredits for a minute of audio to transcribe."
    )
    input_cost = models.PositiveBigIntegerField(default=0, help_text="Millionths of a US dollar for a million tokens.")
    cached_input_cost = models.PositiveBigIntegerField(default=0, help_text="As the input cost.")
    cache_write_cost = models.PositiveBigIntegerField(null=True, blank=True, help_text="As the input cost.")
    cache_write_1h_cost = models.PositiveBigIntegerField(null=True, blank=True, help_text="As the input cost.")
    output_cost = models.PositiveBigIntegerField(default=0, help_text="As the input cost.")
    image_cost = models.PositiveBigIntegerField(default=0, help_text="Millionths of a US dollar for each image.")
    character_cost = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="Millionths of a US dollar for a million characters of text to speak."
    )
    minute_cost = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="Millionths of a US dollar for a minute of audio to transcribe."
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
