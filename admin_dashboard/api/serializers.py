from typing import Any

from rest_framework import serializers

from accounts.models import Role, User
from aichat.catalog import editing
from aichat.catalog.models import AIModel, Provider
from aichat.core.money import CreditsField, format_credits
from aichat.core.web.drf import StrictMembers
from aichat.providers.registry import CHAT_ADAPTERS
from credits.models import Wallet
from credits.serializers import WalletSerializer


class AdminUserSerializer(StrictMembers, serializers.ModelSerializer[User]):
    """A user as an administrator sees them. `credits` are their personal organization's, null before its first use."""

    role = serializers.ChoiceField(choices=Role.choices)
    credits = serializers.SerializerMethodField()
    organization = serializers.SerializerMethodField(help_text="The ID of their own organization.")

    class Meta:
        model = User
        fields = [
            "id", "email", "name", "role", "is_active", "organization", "credits", "created_at", "last_login",
        ]  # fmt: skip
        read_only_fields = ["id", "email", "name", "created_at", "last_login"]

    def get_organization(self, user: User) -> str | None:
        organization = getattr(user, "personal_organization", None)
        return str(organization.pk) if organization else None

    def get_credits(self, user: User) -> dict[str, Any] | None:
        organization = getattr(user, "personal_organization", None)
        wallet: Wallet | None = getattr(organization, "wallet", None)
        return WalletSerializer(wallet).data if wallet else None


class MoveCreditsSerializer(StrictMembers, serializers.Serializer[Wallet]):
    amount = CreditsField(allow_negative=True, help_text="Credits; negative takes them away.")
    reason = serializers.CharField(max_length=200)

    def validate_amount(self, amount: int) -> int:
        if not amount:
            raise serializers.ValidationError("Write an amount other than 0.")
        return amount


class ModelSerializer(StrictMembers, serializers.ModelSerializer[AIModel]):
    """A catalog model. Prices are in credits, costs in USD; token prices and costs are for a million tokens."""

    provider = serializers.CharField(source="provider.slug", max_length=50)
    kind = serializers.ChoiceField(choices=AIModel.Kind.choices)
    fallbacks = serializers.ListField(child=serializers.CharField(max_length=100), required=False, max_length=10)

    class Meta:
        model = AIModel
        fields = [
            "slug", "provider", "kind", "enabled", "upstream_name", "context_window", "max_output_tokens", "fallbacks",
            "auto_position", "created_at",
        ]  # fmt: skip
        read_only_fields = ["created_at"]

    def get_fields(self) -> dict[str, Any]:
        amounts = {name: CreditsField(required=False, allow_null=True) for name in editing.AMOUNTS}
        return {**super().get_fields(), **amounts}

    def validate_provider(self, slug: str) -> str:
        if slug not in CHAT_ADAPTERS and not Provider.objects.filter(slug=slug).exists():
            raise serializers.ValidationError(f"There is no provider {slug!r}.")
        return slug

    def validate_fallbacks(self, slugs: list[str]) -> list[str]:
        unknown = set(slugs) - set(AIModel.objects.filter(slug__in=slugs).values_list("slug", flat=True))
        if unknown:
            raise serializers.ValidationError(f"There is no model {min(unknown)!r}.")
        return slugs

    def to_representation(self, model: AIModel) -> dict[str, Any]:
        begun = getattr(model, "begun", None)
        price = editing.price_in_force(model) if begun is None else (begun[-1] if begun else None)
        amounts = {name: format_credits(getattr(price, name)) if price else None for name in editing.AMOUNTS}
        source = {"price_source": price.source if price else None, "price_since": price.effective_at if price else None}
        return {**super().to_representation(model), **amounts, **source}
