from rest_framework import serializers

from aichat.core.money import CreditsField
from credits.models import LedgerEntry, Lot, Wallet


class WalletSerializer(serializers.ModelSerializer[Wallet]):
    """`balance` = `available` + `held`, all in credits."""

    balance = CreditsField(read_only=True)
    held = CreditsField(read_only=True)
    available = CreditsField(read_only=True)

    class Meta:
        model = Wallet
        fields = ["balance", "held", "available"]


class LotSerializer(serializers.ModelSerializer[Lot]):
    amount = CreditsField(read_only=True)
    remaining = CreditsField(read_only=True)

    class Meta:
        model = Lot
        fields = ["source", "amount", "remaining", "expires_at"]


class CreditsSerializer(WalletSerializer):
    lots = LotSerializer(many=True, read_only=True, help_text="In the order in which they are spent.")

    class Meta(WalletSerializer.Meta):
        fields = [*WalletSerializer.Meta.fields, "lots"]


class LedgerEntrySerializer(serializers.ModelSerializer[LedgerEntry]):
    amount = CreditsField(read_only=True, help_text="Credits; negative when spent.")
    balance_after = CreditsField(read_only=True)

    class Meta:
        model = LedgerEntry
        fields = ["id", "kind", "amount", "balance_after", "reference", "request_id", "reason", "created_at"]
