"""The admin's pages of API keys and login tokens."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts import key_limits, services
from accounts.models import AccessToken, Scope, User
from accounts.serializers import MOST_ADDRESSES, MOST_MODELS
from aichat.core.admin.actions import confirmed_action
from aichat.core.admin.base import ReadOnlyAdmin, acting, by_email
from aichat.core.admin.lines_field import LinesField
from aichat.core.money import credits_in_words


class InUseFilter(admin.SimpleListFilter):
    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("usable", "in use"), ("revoked", "revoked")]

    def queryset(self, request: HttpRequest, tokens: QuerySet[Any]) -> Any:
        match self.value():
            case "usable":
                return AccessToken.objects.usable() & tokens
            case "revoked":
                return tokens.exclude(revoked_at=None)
        return tokens


class AddressesField(LinesField):
    """A form field of IP addresses and networks, one on each line."""

    def read(self, line: str) -> str:
        try:
            return key_limits.spelled(super().read(line))
        except ValueError:
            raise forms.ValidationError(f"{line[:50]} is no address or network, such as 10.0.0.0/8.") from None


class KeyForm(forms.ModelForm):  # type: ignore[type-arg]
    allowed_models = LinesField(
        label="Models", most=MOST_MODELS, longest=100, help_text="Slugs it may use, one a line; empty: all."
    )
    allowed_ips = AddressesField(
        label="Addresses", most=MOST_ADDRESSES, longest=50,
        help_text="Addresses and networks it may be used from, one a line; empty: everywhere.",
    )  # fmt: skip
    scopes = forms.MultipleChoiceField(
        required=False, choices=Scope.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="What it may be used for; none or all: everything.",
    )  # fmt: skip

    class Meta:
        model = AccessToken
        fields = "__all__"  # noqa: DJ007 -- the admin's `fields` say which

    def clean_scopes(self) -> list[str]:
        chosen: list[str] = self.cleaned_data["scopes"]
        return [] if len(chosen) == len(Scope) else chosen


@admin.register(AccessToken)
class AccessTokenAdmin(ReadOnlyAdmin):
    """API keys and login tokens: their beginning only (the rest is stored hashed), and a way to revoke them.

    Of a key in use, what it may spend can be changed.
    """

    list_display = ["shown", "label", "user", "organization", "state", "created", "expiry"]
    list_filter = ["kind", InUseFilter]
    list_select_related = ["user", "organization"]
    search_fields = ["token_key", "name"]
    search_help_text = "Beginning of the key, its name, or the beginning of its user's e-mail"
    ordering = ["-created"]
    form = KeyForm
    limits = [
        "spend_limit", "spend_limit_day", "spend_limit_month", "rate_limit", "allowed_models", "allowed_ips", "scopes",
    ]  # fmt: skip
    fields = [
        "shown", "label", "kind", "user", "organization", "state", *limits, "created", "expiry", "last_used_at",
        "revoked_at",
    ]  # fmt: skip
    readonly_fields = [
        "limits_shown", "shown", "label", "kind", "user", "organization", "state", "created", "expiry", "last_used_at",
        "revoked_at",
    ]  # fmt: skip
    credits_fields = {
        "spend_limit": "Credits the key may ever spend; empty: no limit.",
        "spend_limit_day": "Credits a day (UTC); empty: no limit.",
        "spend_limit_month": "Credits a month (UTC); empty: no limit.",
    }
    actions = ["revoke"]
    actions_detail = ["revoke_one"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_key = obj is not None and obj.kind == AccessToken.Kind.API_KEY and obj.replaced_by is None
        return bool(is_key and obj.is_usable(timezone.now()))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        if self.has_change_permission(request, obj):
            return self.fields
        return [
            "limits_shown" if name == self.limits[0] else name for name in self.fields if name not in self.limits[1:]
        ]

    @display(description="Limits")
    def limits_shown(self, token: AccessToken) -> str:
        """Return the limits of a key that can't be changed any more."""
        amounts = {name: getattr(token, name) for name in self.credits_fields}
        lines = [
            (str(token._meta.get_field(name).verbose_name), credits_in_words(amount or 0))  # type: ignore[union-attr]
            for name, amount in amounts.items()
            if amount is not None
        ]
        for name in self.limits[len(amounts) :]:
            value = getattr(token, name)
            if value:
                lines.append((name.replace("_", " "), value if isinstance(value, str) else ", ".join(value)))
        return format_html_join("", "<div>{}: {}</div>", lines) or "-"

    def get_search_results(
        self, request: HttpRequest, tokens: QuerySet[AccessToken], term: str
    ) -> tuple[QuerySet[AccessToken], bool]:
        term = term.strip()
        if not term:
            return tokens, False
        named: QuerySet[AccessToken] = super().get_search_results(request, tokens, term[:15])[0]
        return (named if named.order_by().exists() else by_email(tokens, User.objects.all(), term)), False

    @display(description="Key")
    def shown(self, token: AccessToken) -> str:
        return f"{token.prefix}…"

    @display(description="Name", ordering="name")
    def label(self, token: AccessToken) -> str:
        return token.name or token.get_kind_display()

    @display(description="State", label={"in use": "success", "revoked": "danger", "expired": "warning"})
    def state(self, token: AccessToken) -> str:
        if token.revoked_at:
            return "revoked"
        return "in use" if token.is_usable(timezone.now()) else "expired"

    @admin.action(description="Revoke")
    def revoke(self, request: HttpRequest, tokens: QuerySet[AccessToken]) -> None:
        revoked = sum(self.revoke_token(request, token) for token in tokens.select_related("user"))
        messages.success(request, f"{revoked} revoked: the next request with one is refused.")

    @confirmed_action(
        "Revoke",
        url_path="revoke",
        icon="block",
        question="Revoke this key?",
        explanation="The next request with it is refused, and it can't be brought back.",
        button="Revoke",
        permissions=["view"],
    )
    def revoke_one(self, request: HttpRequest, token: AccessToken) -> None:
        if self.revoke_token(request, token):
            messages.success(request, f"{token} is revoked: the next request with it is refused.")

    def revoke_token(self, request: HttpRequest, token: AccessToken) -> bool:
        if token.revoked_at:
            return False
        services.revoke(token)
        services.record_revocation(acting(request), token)
        return True
