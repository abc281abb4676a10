"""Which models there are, where they are served, and what they cost."""

from typing import ClassVar

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from aichat.catalog.pricing import Rates, TokenPrices, tier_from
from aichat.db import Row
from aichat.providers.registry import CHAT_ADAPTERS

SLUG = RegexValidator(r"\A[A-Za-z0-9][A-Za-z0-9._:/-]*\Z", "Use letters, digits and . _ : / - only.")


class Provider(Row):
    """An API that serves models. Those with a key (or that need none) are in use."""

    slug = models.CharField(max_length=50, unique=True, validators=[SLUG])
    kind = models.CharField(max_length=30, choices=[(kind, kind) for kind in CHAT_ADAPTERS])
    enabled = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.slug


class AIModel(Row):
    """A model as clients name it (`slug`), and as its provider does (`upstream_name`, or the same)."""

    class Kind(models.TextChoices):
        CHAT = "chat"
        IMAGE = "image"

    slug = models.CharField(max_length=100, unique=True, validators=[SLUG])
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="models")
    upstream_name = models.CharField(max_length=100, blank=True, help_text="Empty: the same as the slug.")
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.CHAT)
    enabled = models.BooleanField(default=True, db_index=True)
    context_window = models.PositiveIntegerField(default=128_000, help_text="Tokens of input and output together.")
    max_output_tokens = models.PositiveIntegerField(default=16_384, validators=[MinValueValidator(1)])
    fallbacks = models.JSONField(default=list, blank=True, help_text="Slugs to try, in order, when this one fails.")
    auto_position = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Place in the default route `auto`, lowest first; empty: not part of it."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "AI model"
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class Price(Row):
    """What a model costs from a point in time on. The latest one that has begun is in force; history stays."""

    LIBRARY: ClassVar[str] = "price library"
    OPERATOR: ClassVar[str] = "operator"

    model = models.ForeignKey(AIModel, on_delete=models.CASCADE, related_name="prices")
    effective_at = models.DateTimeField(default=timezone.now)
    input_price = models.PositiveBigIntegerField(default=0, help_text="Microcredits for a million tokens.")
    cached_input_price = models.PositiveBigIntegerField(default=0, help_text="Microcredits for a million tokens.")
    output_price = models.PositiveBigIntegerField(default=0, help_text="Microcredits for a million tokens.")
    request_price = models.PositiveBigIntegerField(default=0, help_text="Microcredits for each request.")
    image_price = models.PositiveBigIntegerField(default=0, help_text="Microcredits for each image.")
    input_cost = models.PositiveBigIntegerField(default=0, help_text="Millionths of a US dollar for a million tokens.")
    cached_input_cost = models.PositiveBigIntegerField(default=0, help_text="As the input cost.")
    output_cost = models.PositiveBigIntegerField(default=0, help_text="As the input cost.")
    image_cost = models.PositiveBigIntegerField(default=0, help_text="Millionths of a US dollar for each image.")
    tiers = models.JSONField(default=list, blank=True, help_text="Dearer prices of long inputs.")
    source = models.CharField(max_length=50, default=OPERATOR, help_text="Who set it.")

    class Meta:
        ordering = ["-effective_at"]
        constraints = [models.UniqueConstraint(fields=["model", "effective_at"], name="one_price_per_moment")]

    def __str__(self) -> str:
        return f"{self.model} from {self.effective_at:%Y-%m-%d}"

    def rates(self) -> Rates:
        return Rates(
            price=TokenPrices(self.input_price, self.cached_input_price, self.output_price),
            cost=TokenPrices(self.input_cost, self.cached_input_cost, self.output_cost),
            request_price=self.request_price,
            image_price=self.image_price,
            image_cost=self.image_cost,
            tiers=tuple(tier_from(row) for row in self.tiers),
        )
