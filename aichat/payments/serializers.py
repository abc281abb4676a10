import re
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext
from rest_framework import serializers

from aichat.core.money import CreditsField
from aichat.core.outbound import webhooks
from aichat.core.web.drf import StrictMembers
from aichat.payments.models import (
    CURRENCY,
    MOST_REDEMPTIONS,
    ROLLOVER_OF_WHAT_EXPIRES,
    AlertSettings,
    Plan,
    Subscription,
    usual_percents,
)
from aichat.payments.vouchers import MOST_AT_ONCE


def in_the_future(moment: datetime | None) -> datetime | None:
    """The moment itself. Raises `ValidationError` for one that is over."""
    if moment is not None and moment <= timezone.now():
        raise serializers.ValidationError(gettext("Write a moment that is still to come."))
    return moment


def more_than_nothing(amount: int) -> int:
    """The amount itself. Raises `ValidationError` for 0."""
    if not amount:
        raise serializers.ValidationError(gettext("Write more than 0 credits."))
    return amount


def of_our_time(moment: datetime | None) -> datetime | None:
    """The moment itself. Raises `ValidationError` for one that no period of a subscription has."""
    if moment is not None and not 2000 <= moment.year <= 2200:
        raise serializers.ValidationError("Write a moment of the years 2000 to 2200.")
    return moment


class PlanSerializer(StrictMembers, serializers.ModelSerializer[Plan]):
    """What can be subscribed to; `credits` are what each period gives."""

    price = CreditsField(help_text="In units of the currency, such as 9.99.")
    credits = CreditsField()
    currency = serializers.CharField(max_length=3, validators=[CURRENCY])
    credits_expire = serializers.BooleanField(default=False, help_text="Whether what is left lapses with the period.")
    rollover = CreditsField(
        required=False,
        allow_null=True,
        default=None,
        help_text="How many of those that would lapse go on into the next period at most.",
    )
    prorate = serializers.BooleanField(
        default=False,
        help_text="Whether a short period, and a switch in the middle of one, give their part of the credits.",
    )

    class Meta:
        model = Plan
        fields = ["slug", "name", "price", "currency", "interval", "credits", "credits_expire", "rollover", "prorate"]

    def validate(self, facts: dict[str, Any]) -> dict[str, Any]:
        if facts["rollover"] and not facts["credits_expire"]:
            raise serializers.ValidationError({"rollover": [ROLLOVER_OF_WHAT_EXPIRES]})
        return facts


class SubscriptionSerializer(serializers.Serializer[Any]):
    """The organization's subscription; with the status `none` there is none, and the rest says nothing."""

    plan = serializers.CharField(read_only=True, allow_null=True, help_text="The plan's slug.")
    status = serializers.ChoiceField(choices=[*Subscription.Status.values, "none"], read_only=True)
    period_start = serializers.DateTimeField(read_only=True, allow_null=True)
    period_end = serializers.DateTimeField(read_only=True, allow_null=True, help_text="null: it has no end.")
    cancel_at_period_end = serializers.BooleanField(read_only=True)
    source = serializers.ChoiceField(choices=Subscription.Source.choices, read_only=True, allow_null=True)  # type: ignore[assignment]


class NewSubscriptionSerializer(StrictMembers, serializers.Serializer[Any]):
    """A subscription to give: to a person (`user`: ID or e-mail; their own organization gets it), or to an `organization`."""

    user = serializers.CharField(required=False, max_length=254)
    organization = serializers.UUIDField(required=False)
    plan = serializers.CharField(max_length=50, help_text="The plan's slug.")
    period_end = serializers.DateTimeField(required=False, allow_null=True, default=None)

    def validate_period_end(self, moment: datetime | None) -> datetime | None:
        return of_our_time(in_the_future(moment))

    def validate(self, facts: dict[str, Any]) -> dict[str, Any]:
        if ("user" in facts) == ("organization" in facts):
            raise serializers.ValidationError({"user": ["Name either a user or an organization."]})
        return facts


class GivenSubscriptionSerializer(SubscriptionSerializer):
    id = serializers.UUIDField(read_only=True)
    organization = serializers.UUIDField(read_only=True)


class PaymentMessageSerializer(serializers.Serializer[Any]):
    """What another shop says. Members that are not listed here are ignored: shops send more than is asked for."""

    TYPES = ("payment.succeeded", "payment.refunded", "subscription.updated")

    type = serializers.ChoiceField(choices=TYPES)
    id = serializers.CharField(max_length=200, help_text="The shop's ID of the payment or subscription.")
    email = serializers.CharField(required=False, max_length=254, help_text="Of the person who paid.")
    organization = serializers.UUIDField(required=False, help_text="Instead of `email`.")
    credits = CreditsField(
        required=False,
        help_text="Of a payment: what it gives. Of a refund: how many of them were given back in all; without it, all.",
    )
    plan = serializers.CharField(required=False, max_length=50, help_text="The slug of the plan that was paid.")
    subscription = serializers.CharField(
        required=False, max_length=200, help_text="Of a payment for a plan: the ID of the subscription it pays."
    )
    amount = CreditsField(required=False, default=0, help_text="In units of the currency, such as 9.99.")
    currency = serializers.CharField(required=False, default="", allow_blank=True, max_length=3)
    period_end = serializers.DateTimeField(required=False)
    period_start = serializers.DateTimeField(
        required=False, help_text="Unless said, the plan's interval before its end."
    )
    status = serializers.ChoiceField(
        choices=Subscription.Status.values, required=False, default=Subscription.Status.ACTIVE
    )
    cancel_at_period_end = serializers.BooleanField(required=False, default=False)
    timestamp = serializers.DateTimeField(
        required=False, help_text="When it happened. Of two messages the later one holds, in whatever order they come."
    )

    def validate_currency(self, currency: str) -> str:
        if currency and not re.fullmatch("[A-Za-z]{3}", currency):
            raise serializers.ValidationError("Write a currency's three letters, such as EUR.")
        return currency.upper()

    def validate_period_end(self, moment: datetime | None) -> datetime | None:
        return of_our_time(moment)

    def validate_period_start(self, moment: datetime | None) -> datetime | None:
        return of_our_time(moment)

    def validate(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Raises `ValidationError` for what a message of its type needs and lacks."""
        kind = facts["type"]
        if kind != "payment.refunded" and ("email" in facts) == ("organization" in facts):
            raise serializers.ValidationError({"email": ["Name either an email or an organization."]})
        if kind == "payment.succeeded" and ("credits" in facts) == ("plan" in facts):
            raise serializers.ValidationError({"credits": ["Name either credits or a plan."]})
        if "subscription" in facts and ("plan" not in facts or "period_end" not in facts):
            raise serializers.ValidationError({"subscription": ["Name its plan and the end of the period, too."]})
        if kind == "subscription.updated":
            missing = next((name for name in ("plan", "period_end") if name not in facts), None)
            if missing:
                raise serializers.ValidationError({missing: ["A subscription has a plan and the end of its period."]})
        if facts.get("period_start") and facts.get("period_end") and facts["period_start"] >= facts["period_end"]:
            raise serializers.ValidationError({"period_end": ["Write an end after the period's start."]})
        return facts


class AddressField(serializers.CharField):
    """The address of a webhook; null, or nothing, for none."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, allow_blank=True, default=None, max_length=500, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> str:
        url: str = super().run_validation(data) or ""
        if url and not re.fullmatch(r"https?://[^\s/]+\S*", url):
            raise serializers.ValidationError(gettext("Write an address such as https://example.com/alerts."))
        try:
            return webhooks.reachable(url)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None

    def get_attribute(self, instance: AlertSettings) -> str | None:
        return super().get_attribute(instance) or None


class AlertsSerializer(StrictMembers, serializers.Serializer[AlertSettings]):
    """What an organization is told of, by mail, by a signed webhook, or by an address that takes Slack's messages."""

    low_balance = CreditsField(
        required=False, allow_null=True, default=None, help_text="Told when the balance falls below it."
    )
    budget_percent = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=1000),
        required=False,
        default=usual_percents,
        max_length=10,
        help_text="Shares of the month's budget (UTC), each told when it is reached.",
    )
    monthly_budget = CreditsField(
        required=False,
        allow_null=True,
        default=None,
        help_text="Credits; null: the organization's spending limit of a month, if there is one.",
    )
    email = serializers.ListField(
        child=serializers.EmailField(max_length=254), required=False, default=list, max_length=10
    )
    webhook_url = AddressField(help_text="Gets the organization's signed webhooks.")
    slack_url = AddressField(help_text='Gets `{"text"}`, as Slack, Mattermost and others take it.')

    def validate_budget_percent(self, percents: list[int]) -> list[int]:
        return sorted(set(percents))

    def validate_email(self, addresses: list[str]) -> list[str]:
        return list(dict.fromkeys(addresses))


class ReceivedSerializer(serializers.Serializer[Any]):
    received = serializers.BooleanField(read_only=True)


class CheckoutSerializer(StrictMembers, serializers.Serializer[Any]):
    """What to buy: a plan, or so many credits."""

    plan = serializers.CharField(required=False, max_length=50, help_text="The plan's slug.")
    credits = CreditsField(required=False)

    def validate_credits(self, amount: int) -> int:
        return more_than_nothing(amount)

    def validate(self, facts: dict[str, Any]) -> dict[str, Any]:
        if ("plan" in facts) == ("credits" in facts):
            raise serializers.ValidationError({"plan": [gettext("Name either a plan or credits.")]})
        return facts


class PageSerializer(serializers.Serializer[Any]):
    url = serializers.URLField(read_only=True, help_text="Of a page at Stripe, for the person's browser.")


class RedeemSerializer(StrictMembers, serializers.Serializer[Any]):
    code = serializers.CharField(max_length=100)


class RedeemedSerializer(serializers.Serializer[Any]):
    """`credits`: what the voucher gave. `available`: what the organization can spend now."""

    credits = CreditsField(read_only=True)
    available = CreditsField(read_only=True)


class NewVouchersSerializer(StrictMembers, serializers.Serializer[Any]):
    credits = CreditsField(help_text="Of each voucher.")
    count = serializers.IntegerField(default=1, min_value=1, max_value=MOST_AT_ONCE)
    max_redemptions = serializers.IntegerField(default=1, min_value=1, max_value=MOST_REDEMPTIONS)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    note = serializers.CharField(required=False, default="", allow_blank=True, max_length=200)

    def validate_credits(self, amount: int) -> int:
        return more_than_nothing(amount)

    def validate_expires_at(self, moment: datetime | None) -> datetime | None:
        return in_the_future(moment)


class VoucherCodesSerializer(serializers.Serializer[Any]):
    codes = serializers.ListField(child=serializers.CharField(), read_only=True, help_text="Shown this once.")
