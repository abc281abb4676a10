"""Money that comes in: plans, subscriptions, payments and vouchers. Amounts of credits are integers in microcredits."""

import calendar
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from aichat.core.database.models import Row
from aichat.core.money import LARGEST, credits_in_words

MOST_REDEMPTIONS = 1_000_000  # of one voucher
ROLLOVER_OF_WHAT_EXPIRES = "Only credits that expire roll over: those of this plan stay anyhow."
CURRENCY = RegexValidator(r"\A[A-Z]{3}\Z", "Write a currency's three letters, such as EUR.")  # ISO 4217


class Plan(Row):
    """What can be subscribed to: a price for each period, and the credits that a period gives."""

    class Interval(models.TextChoices):
        MONTH = "month"
        YEAR = "year"

    slug = models.SlugField(max_length=50, unique=True)
    name = models.CharField(max_length=100)
    price = models.BigIntegerField(
        validators=[MinValueValidator(0), MaxValueValidator(LARGEST)], help_text="Millionths of the currency's unit."
    )
    currency = models.CharField(max_length=3, validators=[CURRENCY])
    interval = models.CharField(max_length=8, choices=Interval.choices, default=Interval.MONTH)
    credits = models.BigIntegerField(
        validators=[MinValueValidator(0), MaxValueValidator(LARGEST)], help_text="Microcredits that each period gives."
    )
    credits_expire = models.BooleanField(
        default=False, db_default=False, help_text="What is left at the period's end is taken off."
    )
    rollover = models.BigIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(LARGEST)],
        help_text="Microcredits that go on into the next period at most, where credits expire.",
    )
    prorate = models.BooleanField(
        default=False,
        db_default=False,
        help_text="A period that is cut short, or a switch in its middle, gives its part of the credits.",
    )
    stripe_price = models.CharField(
        max_length=255,
        blank=True,
        default="",
        db_default="",
        help_text="The ID of a Price at Stripe, so that people can switch there.",
    )
    is_active = models.BooleanField(default=True, help_text="Whether the plan is offered. Subscriptions to it go on.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.rollover and not self.credits_expire:
            raise ValidationError({"rollover": ROLLOVER_OF_WHAT_EXPIRES})

    @property
    def months(self) -> int:
        return 12 if self.interval == self.Interval.YEAR else 1


def add_months(moment: datetime, months: int) -> datetime:
    """The same day and time `months` later (or earlier), or the month's last day when it has no such day."""
    number = moment.year * 12 + moment.month - 1 + months
    year, month = divmod(number, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def lapsed(self, now: datetime) -> "SubscriptionQuerySet":
        """Subscriptions that still count as live, though their period and what grace it has are over."""
        late = now - timedelta(days=settings.SUBSCRIPTION_GRACE_DAYS)
        unrenewed = models.Q(cancel_at_period_end=True, period_end__lte=now)
        return self.filter(is_live=True).filter(models.Q(period_end__lte=late) | unrenewed).exclude(period_end=None)


class Subscription(Row):
    """An organization's subscription. That of a personal organization gives its person the role SUBSCRIBER.

    `is_live` says whether it counts for the role; `subscriptions.py` alone writes these rows.
    """

    class Source(models.TextChoices):
        MANUAL = "manual"
        STRIPE = "stripe"
        SHOP = "shop"

    class Status(models.TextChoices):
        ACTIVE = "active"
        PAST_DUE = "past_due"
        CANCELLED = "cancelled"

    organization = models.ForeignKey("accounts.Organization", on_delete=models.PROTECT, related_name="subscriptions")
    plan = models.ForeignKey(Plan, null=True, on_delete=models.PROTECT, related_name="subscriptions")
    source = models.CharField(max_length=8, choices=Source.choices)
    external_id = models.CharField(max_length=255, help_text="The seller's ID; of a manual one its own.")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    is_live = models.BooleanField(default=True, db_index=True)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField(null=True, help_text="Empty: until somebody ends it.")
    cancel_at_period_end = models.BooleanField(default=False)
    renews_at = models.DateTimeField(
        null=True, editable=False, db_index=True, help_text="The next credits of a subscription without an end."
    )
    told_at = models.DateTimeField(null=True, editable=False, help_text="The seller's time of what is known of it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["Subscription"]] = SubscriptionQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "external_id"], name="one_subscription_per_source")]
        indexes = [models.Index(fields=["is_live", "period_end"], name="subscriptions_by_end")]

    def __str__(self) -> str:
        return f"{self.plan or 'Subscription'} of {self.organization}"

    def status_at(self, now: datetime) -> str:
        """active, past_due or cancelled, by what was told and by the time."""
        if not self.is_live or self.status == self.Status.CANCELLED:
            return self.Status.CANCELLED
        if self.period_end is None or now < self.period_end:
            return self.status
        late = now - timedelta(days=settings.SUBSCRIPTION_GRACE_DAYS)
        over = self.cancel_at_period_end or self.period_end <= late
        return self.Status.CANCELLED if over else self.Status.PAST_DUE


class Payment(Row):
    """Money that a seller received, the credits that it gave, and what became of them when it was given back.

    `payments.py` alone writes these rows. A refund may be told before its payment: then the row is not paid yet.
    """

    class Source(models.TextChoices):
        STRIPE = "stripe"
        SHOP = "shop"

    source = models.CharField(max_length=8, choices=Source.choices)
    external_id = models.CharField(max_length=255, help_text="The seller's ID.")
    organization = models.ForeignKey(
        "accounts.Organization", null=True, on_delete=models.PROTECT, related_name="payments"
    )
    plan = models.ForeignKey(Plan, null=True, on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey(Subscription, null=True, on_delete=models.PROTECT, related_name="payments")
    is_paid = models.BooleanField(default=False)
    credits = models.BigIntegerField(default=0, help_text="Microcredits that it gave.")
    amount = models.BigIntegerField(default=0, help_text="Millionths of the currency's unit.")
    currency = models.CharField(max_length=3, blank=True)
    refund_told = models.BigIntegerField(default=0, help_text="Microcredits that were given back in all, as told.")
    disputes = models.JSONField(
        default=dict, db_default={}, editable=False, help_text="By the seller's ID: part, whole, and if won."
    )
    switched_down = models.BigIntegerField(
        default=0, db_default=0, help_text="Microcredits of a larger plan whose unused time was given back."
    )
    taken_back = models.BigIntegerField(default=0, help_text="Microcredits that were taken from the wallet.")
    restored = models.BigIntegerField(
        default=0, db_default=0, help_text="Microcredits that a won dispute gave back, or wrote off."
    )
    owed = models.BigIntegerField(default=0, help_text="Microcredits that were spent before they could be taken.")
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    # Written first by whoever changes the row, so that on every engine a second one waits and then sees the change.
    revision = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "external_id"], name="one_payment_per_source")]

    def __str__(self) -> str:
        return f"{self.external_id} of {self.source}"

    @property
    def refunded(self) -> int:
        """Microcredits of the payment that are to be taken back in all: never more than it gave."""
        disputed: Iterable[int] = (
            self.credits * part // whole for part, whole, is_won in self.disputes.values() if not is_won
        )
        return min(self.refund_told + sum(disputed), self.credits)

    @property
    def state(self) -> str:
        if not self.is_paid:
            return "refund before payment"
        if not self.refunded:
            return "paid"
        return "refunded" if self.refunded == self.credits else "partly refunded"


class StripeCustomer(Row):
    """The customer at Stripe that an organization pays as."""

    organization = models.OneToOneField(
        "accounts.Organization", on_delete=models.PROTECT, related_name="stripe_customer"
    )
    external_id = models.CharField(max_length=255, unique=True, help_text="Stripe's ID.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.external_id


class Voucher(Row):
    """A code that gives credits to whoever redeems it. Only the code's digest is stored."""

    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of the code.")
    prefix = models.CharField(max_length=6, editable=False, help_text="The first characters of the code.")
    amount = models.BigIntegerField(
        "credits", validators=[MinValueValidator(1), MaxValueValidator(LARGEST)], help_text="Microcredits."
    )
    max_redemptions = models.PositiveIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(MOST_REDEMPTIONS)]
    )
    redemptions = models.PositiveIntegerField(default=0, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)
    note = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"{self.prefix}… for {credits_in_words(self.amount)}"


class VoucherRedemption(Row):
    """A person's one redemption of a voucher, made in the commit of the ledger's entry `voucher:<voucher>:<user>`."""

    voucher = models.ForeignKey(Voucher, on_delete=models.PROTECT, related_name="redeemed")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="voucher_redemptions")
    organization = models.ForeignKey("accounts.Organization", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["voucher", "user"], name="one_redemption_per_person")]

    def __str__(self) -> str:
        return f"{self.voucher} by {self.user}"


# --- Alerts -----------------------------------------------------------------------------------------------------------


def usual_percents() -> list[int]:
    return [50, 80, 100]


class AlertSettings(Row):
    """What an organization wants to be told of, and how; and what it was told, so that a crossing is told once.

    `alerts.py` alone writes these rows.
    """

    organization = models.OneToOneField(
        "accounts.Organization", on_delete=models.CASCADE, related_name="alert_settings"
    )
    low_balance = models.BigIntegerField(null=True, help_text="Microcredits below which the balance is low.")
    monthly_budget = models.BigIntegerField(
        null=True, help_text="Microcredits; without it the organization's spending limit of a month."
    )
    budget_percent = models.JSONField(default=usual_percents)
    email = models.JSONField(default=list)
    webhook_url = models.URLField(max_length=500, blank=True)
    slack_url = models.URLField(max_length=500, blank=True)

    is_low = models.BooleanField(default=False, editable=False, help_text="The low balance was told.")
    month = models.DateField(null=True, editable=False, help_text="The month that `spent` and `told_percents` are of.")
    spent = models.BigIntegerField(default=0, editable=False, help_text="Microcredits charged in the month.")
    told_percents = models.JSONField(default=list, editable=False)
    hours = models.JSONField(
        default=dict, db_default={}, editable=False, help_text="Microcredits charged by hour, of the last week."
    )
    told_hour = models.CharField(max_length=13, blank=True, default="", db_default="", editable=False)
    sequence = models.BigIntegerField(default=-1, editable=False, help_text="The last entry that was looked at.")
    # Written first by whoever changes the row, so that on every engine a second one waits and then sees the change.
    revision = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        verbose_name_plural = "alert settings"

    def __str__(self) -> str:
        return f"Alerts of {self.organization}"

    @property
    def channels(self) -> list[tuple[str, str]]:
        """The ways to tell: each channel with an address."""
        Channel = AlertMessage.Channel
        urls = [(Channel.WEBHOOK.value, self.webhook_url), (Channel.SLACK.value, self.slack_url)]
        return [*((Channel.EMAIL.value, address) for address in self.email), *(pair for pair in urls if pair[1])]


class AlertMessage(Row):
    """One alert on its way to one address, made in the commit that notes the crossing; the operator's has no organization."""

    class Kind(models.TextChoices):
        LOW_BALANCE = "low_balance"
        BUDGET = "budget"
        SPENDING = "spending"
        PAYMENT_FAILED = "payment_failed"
        PROVIDER = "provider"
        IMPLAUSIBLE = "implausible"

    class Channel(models.TextChoices):
        EMAIL = "email"
        WEBHOOK = "webhook"
        SLACK = "slack"

    class State(models.TextChoices):
        WAITING = "WAITING"
        DELIVERED = "DELIVERED"
        GIVEN_UP = "GIVEN_UP", "given up"

    organization = models.ForeignKey(
        "accounts.Organization", null=True, on_delete=models.CASCADE, related_name="alert_messages", db_index=False
    )
    kind = models.CharField(max_length=16, choices=Kind.choices)
    facts = models.JSONField(help_text="What the message says; amounts are credits.")
    channel = models.CharField(max_length=8, choices=Channel.choices)
    address = models.CharField(max_length=500)
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now, help_text="While it is being sent: the end of the lease.")
    problem = models.CharField(max_length=200, blank=True, help_text="Of the last attempt.")
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    class Meta:
        indexes = [
            models.Index(fields=["state", "next_at"], name="alerts_by_time"),
            models.Index(fields=["organization", "created_at"], name="alerts_of_organization"),
            models.Index(fields=["kind", "-created_at"], name="alerts_by_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} by {self.channel} ({self.state.lower()})"


class Watched(Row):
    """A condition that the operator is told of when it begins; `operator_alerts.py` alone writes these rows."""

    kind = models.CharField(max_length=16, choices=AlertMessage.Kind.choices)
    subject = models.CharField(max_length=120, help_text="What it is about, such as a provider.")
    since = models.DateTimeField(null=True, help_text="Since when it holds; empty: it is over.")
    is_told = models.BooleanField(default=False, help_text="Since it holds.")
    told_at = models.DateTimeField(null=True)
    # Written first by whoever changes the row, so that on every engine a second one waits and then sees the change.
    revision = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        verbose_name_plural = "watched"
        constraints = [models.UniqueConstraint(fields=["kind", "subject"], name="one_row_per_condition")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject}"
