"""The admin's pages of people and organizations; those of keys are in `key_admin.py`."""

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
from unfold.admin import TabularInline
from unfold.decorators import action, display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts import admin_sessions, emails, logins, second_factor, services, sso, tenancy
from accounts.browser_pages import target_of
from accounts.key_admin import AccessTokenAdmin
from accounts.models import Membership, Organization, User
from aichat.core.admin.actions import confirmed_action
from aichat.core.admin.base import Admin, CreditsColumns, acting, link_to
from aichat.core.errors import ApiError

__all__ = ["AccessTokenAdmin", "OrganizationAdmin", "UserAdmin"]  # what Django looks for in this module

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
    """Return whether the request's user is an administrator, whose login was not ended elsewhere."""
    return bool(_may_enter(request)) and not admin_sessions.is_ended(request)


_log_in = admin.site.login


def login(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """Show the admin's login page. An administrator who is logged in on the portal's pages goes on at once."""
    if request.method == "GET" and not has_permission(request) and admin_sessions.begin_from_cookie(request):
        return HttpResponseRedirect(target_of(request, reverse("admin:index")))
    return _log_in(request, extra_context)


_log_out = admin.site.logout


def logout(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """Log out of the admin site, and at the issuer, if the login came from there."""
    response = _log_out(request, extra_context)
    return HttpResponseRedirect(reverse("sso-logout")) if sso.is_on() and request.method == "POST" else response


admin.site.has_permission = has_permission  # type: ignore[method-assign]  # of the site that Unfold made
admin.site.login = login  # type: ignore[method-assign]
admin.site.logout = logout  # type: ignore[method-assign,assignment]


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
        """Find people by the beginning of their e-mail, which an index serves, however many there are."""
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

    @confirmed_action(
        "Mail a new password",
        url_path="mail-reset",
        icon="lock_reset",
        question="Mail a code for a new password?",
        explanation="To the address of the account. The old password works until the code is used.",
        button="Send",
    )
    def mail_reset(self, request: HttpRequest, user: User) -> None:
        try:
            logins.require_passwords()
            emails.send_reset(user, by=acting(request))
        except ApiError as error:
            messages.error(request, error.message)
        else:
            messages.success(request, f"{user} gets a mail with a code for a new password, good for an hour.")

    @confirmed_action(
        "Reset second factor",
        url_path="reset-second-factor",
        icon="phonelink_erase",
        question="Reset the second factor?",
        explanation="For somebody who lost their phone, once you know that it is them who ask. Their logins end, and the "
        "password is enough again.",
        button="Reset",
    )
    def reset_second_factor(self, request: HttpRequest, user: User) -> None:
        if second_factor.reset(user, actor=acting(request), reason="admin site"):
            messages.success(request, f"{user} logs in with the password alone.")
        else:
            messages.info(request, f"{user} has no second factor. Logins have ended.")


@admin.register(Organization)
class OrganizationAdmin(Admin):
    """Organizations: they own wallets, keys, conversations and usage."""

    list_display = ["name", "owner", "members", "created_at"]
    list_filter = ["created_at"]
    list_select_related = ["personal_to"]
    search_fields = ["name", "personal_to__email"]
    search_help_text = "Name, or e-mail of the person it belongs to"
    ordering = ["-created_at"]
    fields = ["name", "owner", *SPENDING_LIMITS, "retention_days", "issuer_team", "created_at"]
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
