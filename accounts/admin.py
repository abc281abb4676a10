"""The admin's pages of people, organizations and the tokens requests carry."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from unfold.admin import TabularInline
from unfold.decorators import action, display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextareaWidget

from accounts import admin_sessions, emails, key_limits, logins, second_factor, services, tenancy
from accounts.browser_pages import target_of
from accounts.models import AccessToken, Membership, Organization, Scope, User
from accounts.serializers import MOST_ADDRESSES, MOST_MODELS
from aichat.core.admin.base import Admin, CreditsColumns, ReadOnlyAdmin, acting, by_email, link_to
from aichat.core.errors import ApiError
from aichat.core.money import format_credits

# Of people and organizations; the limits of both apply.
SPENDING_LIMITS = {
    "spend_limit_day": "Credits a day (UTC); empty: no limit. 0: nothing that costs credits.",
    "spend_limit_month": "Credits a month (UTC); empty: no limit. 0: nothing that costs credits.",
}

MEMBER_LIMITS = {
    "spend_limit_day": "Of a team's credits, a UTC day; empty: no limit.",
    "spend_limit_month": "Of a team's credits, a UTC month; empty: no limit.",
}

admin.site.unregister(Group)  # the role says everything
_may_enter = admin.site.has_permission


def has_permission(request: HttpRequest) -> bool:
    """Whether the request's user is an administrator, whose login was not ended elsewhere."""
    return bool(_may_enter(request)) and not admin_sessions.is_ended(request)


_log_in = admin.site.login


def login(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """The admin's login page; who is logged in on the portal's pages, and is an administrator, goes on at once."""
    if request.method == "GET" and not has_permission(request) and admin_sessions.begin_from_cookie(request):
        return HttpResponseRedirect(target_of(request, reverse("admin:index")))
    return _log_in(request, extra_context)


admin.site.has_permission = has_permission  # type: ignore[method-assign]  # of the site that Unfold made
admin.site.login = login  # type: ignore[method-assign]


class EmailForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_email(self) -> str:
        return User.objects.normalize_email(self.cleaned_data["email"])


class NewUserForm(UserCreationForm, EmailForm):
    class Meta:
        model = User
        fields = ["email", "name", "role"]

    def clean(self) -> dict[str, Any]:
        self.instance.email_confirmed_at = timezone.now()  # the administrator vouches for the address
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        return cleaned


class UserForm(UserChangeForm, EmailForm):
    class Meta:
        model = User
        fields = "__all__"  # noqa: DJ007 -- the fieldsets say which

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        try:
            services.keep_an_admin(
                self.instance,
                role=cleaned.get("role", self.instance.role),
                is_active=cleaned.get("is_active", self.instance.is_active),
            )
        except services.LastAdmin as error:
            self.add_error(error.param, error.message)
        return cleaned


class MembershipInline(CreditsColumns, TabularInline):
    model = Membership
    extra = 0
    tab = True
    fields = ["user", "role", *MEMBER_LIMITS]
    credits_fields = MEMBER_LIMITS
    autocomplete_fields = ["user"]


class MembershipOfUserInline(MembershipInline):
    fields = ["organization", "role", *MEMBER_LIMITS]
    autocomplete_fields = ["organization"]


@admin.register(User)
class UserAdmin(DjangoUserAdmin, Admin):  # type: ignore[misc,type-arg]
    """People. Nobody with a history is deleted: deactivate them, and what they did stays readable."""

    form, add_form, change_password_form = UserForm, NewUserForm, AdminPasswordChangeForm
    list_display = ["email", "name", "role_label", "is_active", "created_at", "last_login"]
    list_filter = ["role", "is_active", "created_at"]
    search_fields = ["email", "name"]
    search_help_text = "Beginning of an e-mail with its @, or a part of an e-mail or name"
    ordering = ["-created_at"]
    filter_horizontal = ()
    readonly_fields = ["created_at", "email_confirmed_at", "mfa_enabled_at", "last_login"]
    fieldsets = [
        (None, {"fields": ["email", "name", "password"]}),
        ("Access", {"fields": ["role", "is_active"]}),
        ("Spending limits", {"fields": list(SPENDING_LIMITS)}),
        ("Dates", {"fields": ["created_at", "email_confirmed_at", "mfa_enabled_at", "last_login"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "name", "role", "usable_password", "password1", "password2"]})]
    credits_fields = SPENDING_LIMITS
    inlines = [MembershipOfUserInline]
    actions = ["activate", "deactivate"]
    actions_detail = ["open_wallet", "reset_second_factor", "mail_reset"]

    def get_search_results(self, request: HttpRequest, users: QuerySet[User], term: str) -> tuple[QuerySet[User], bool]:
        """An e-mail's beginning is found by its index, whatever number of people there is."""
        name, at, _ = term.strip().partition("@")
        if name and at:
            return users.filter(email__startswith=term.strip().lower()), False
        return super().get_search_results(request, users, term)

    @display(description="Role", ordering="role", label={"ADMIN": "danger", "SUBSCRIBER": "info"})
    def role_label(self, user: User) -> str:
        return user.role

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "role" in form.changed_data:
            services.tell_followers(obj)

    def get_inlines(self, request: HttpRequest, obj: User | None = None) -> list[Any]:
        return list(super().get_inlines(request, obj)) if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return obj is not None and not services.has_history(obj)

    @admin.action(description="Activate")
    def activate(self, request: HttpRequest, users: QuerySet[User]) -> None:
        self.set_active(request, users, True)

    @admin.action(description="Deactivate")
    def deactivate(self, request: HttpRequest, users: QuerySet[User]) -> None:
        self.set_active(request, users, False)

    def set_active(self, request: HttpRequest, users: QuerySet[User], is_active: bool) -> None:
        for user in users:
            try:
                services.change_user(user, is_active=is_active, actor=acting(request))
            except ApiError as error:
                messages.error(request, f"{user}: {error.message}")

    @action(description="Credits", url_path="wallet", icon="account_balance_wallet")
    def open_wallet(self, request: HttpRequest, object_id: str) -> HttpResponse:
        user = self.get_object(request, object_id)
        if user is None:
            return redirect("admin:accounts_user_changelist")
        return redirect("admin:credits_wallet_change", tenancy.personal_organization(user).pk)

    @action(
        description="Mail a new password",
        url_path="mail-reset",
        icon="lock_reset",
        dialog={
            "title": "Mail a code for a new password?",
            "description": "To the address of the account. The old password works until the code is used.",
            "form_submit_text": "Send",
        },
    )
    def mail_reset(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        user = self.get_object(request, object_id)
        if user is None:
            return HttpResponse(headers={"HX-Redirect": reverse("admin:accounts_user_changelist")})
        try:
            logins.require_passwords()
            emails.send_reset(user, by=acting(request))
        except ApiError as error:
            messages.error(request, error.message)
        else:
            messages.success(request, f"{user} gets a mail with a code for a new password, good for an hour.")
        return HttpResponse(headers={"HX-Redirect": reverse("admin:accounts_user_change", args=[object_id])})

    @action(
        description="Reset second factor",
        url_path="reset-second-factor",
        icon="phonelink_erase",
        dialog={
            "title": "Reset the second factor?",
            "description": "For somebody who lost their phone, once you know that it is them who ask. Their logins end, "
            "and the password is enough again.",
            "form_submit_text": "Reset",
        },
    )
    def reset_second_factor(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        user = self.get_object(request, object_id)
        if user is None:
            return HttpResponse(headers={"HX-Redirect": reverse("admin:accounts_user_changelist")})
        if second_factor.reset(user, actor=acting(request), reason="admin site"):
            messages.success(request, f"{user} logs in with the password alone.")
        else:
            messages.info(request, f"{user} has no second factor. Logins have ended.")
        return HttpResponse(headers={"HX-Redirect": reverse("admin:accounts_user_change", args=[object_id])})


@admin.register(Organization)
class OrganizationAdmin(Admin):
    """Tenants: what owns wallets, keys, conversations and usage."""

    list_display = ["name", "owner", "members", "created_at"]
    list_filter = ["created_at"]
    list_select_related = ["personal_to"]
    search_fields = ["name", "personal_to__email"]
    search_help_text = "Name, or e-mail of the person it belongs to"
    ordering = ["-created_at"]
    fields = ["name", "owner", *SPENDING_LIMITS, "retention_days", "created_at"]
    readonly_fields = ["owner", "created_at"]
    credits_fields = SPENDING_LIMITS
    inlines = [MembershipInline]
    actions_detail = ["open_wallet"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organization]:
        rows: QuerySet[Organization] = super().get_queryset(request)
        return rows.prefetch_related("memberships")

    @display(description="Personal to")
    def owner(self, organization: Organization) -> str:
        return link_to(organization.personal_to)

    @display(description="Members")
    def members(self, organization: Organization) -> int:
        return len(organization.memberships.all())

    def has_delete_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        return False

    @action(description="Credits", url_path="wallet", icon="account_balance_wallet")
    def open_wallet(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect("admin:credits_wallet_change", object_id)


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


class LinesField(forms.CharField):
    """A form field of a list of texts, one a line."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 4})

    def __init__(self, *, most: int, longest: int, **options: Any) -> None:
        self.most, self.longest = most, longest
        super().__init__(required=False, **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        lines = value if isinstance(value, list) else str(super().to_python(value)).split()
        found = list(dict.fromkeys(self.one(line) for line in lines))
        if len(found) > self.most:
            raise forms.ValidationError(f"Write at most {self.most} lines.")
        return found

    def one(self, line: str) -> str:
        if len(line) > self.longest:
            raise forms.ValidationError(f"Write at most {self.longest} characters a line.")
        return line

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((initial or []) != self.to_python(data))
        except forms.ValidationError:
            return True


class AddressesField(LinesField):
    """A form field of IP addresses and networks, one a line."""

    def one(self, line: str) -> str:
        try:
            return key_limits.spelled(super().one(line))
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
        """The limits of a key that can't be changed any more."""
        amounts = {name: getattr(token, name) for name in self.credits_fields}
        lines = [
            (str(token._meta.get_field(name).verbose_name), f"{format_credits(amount)} credits")  # type: ignore[union-attr]
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
        if "@" in term:
            return by_email(tokens, User.objects.all(), term.strip()), False
        return super().get_search_results(request, tokens, term.strip()[:15])  # type: ignore[no-any-return]

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

    @action(
        description="Revoke",
        url_path="revoke",
        icon="block",
        permissions=["view"],
        dialog={
            "title": "Revoke this key?",
            "description": "The next request with it is refused, and it can't be brought back.",
            "form_submit_text": "Revoke",
        },
    )
    def revoke_one(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        token = self.get_object(request, object_id)
        if token is None:
            return HttpResponse(headers={"HX-Redirect": reverse("admin:accounts_accesstoken_changelist")})
        if self.revoke_token(request, token):
            messages.success(request, f"{token} is revoked: the next request with it is refused.")
        return HttpResponse(headers={"HX-Redirect": reverse("admin:accounts_accesstoken_change", args=[object_id])})

    def revoke_token(self, request: HttpRequest, token: AccessToken) -> bool:
        if token.revoked_at:
            return False
        services.revoke(token)
        services.record_revocation(acting(request), token)
        return True
