from datetime import datetime
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from aichat.core.money import CreditsField
from aichat.core.web.drf import StrictMembers
from aichat.payments.models import MOST_REDEMPTIONS
from aichat.payments.vouchers import MOST_AT_ONCE


def in_the_future(moment: datetime | None) -> datetime | None:
    """The moment itself. Raises `ValidationError` for one that is over."""
    if moment is not None and moment <= timezone.now():
        raise serializers.ValidationError("Write a moment that is still to come.")
    return moment


def more_than_nothing(amount: int) -> int:
    """The amount itself. Raises `ValidationError` for 0."""
    if not amount:
        raise serializers.ValidationError("Write more than 0 credits.")
    return amount


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
