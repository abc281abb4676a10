"""The admin's login form. It stands apart from `accounts/admin.py`, because the admin site is made with it."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.urls import get_script_prefix, reverse
from unfold.forms import AuthenticationForm
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts import logins, rate_limits, second_factor, sso
from accounts.browser_pages import login_address, target_of
from accounts.models import Role, User
from aichat.core.errors import ApiError

NEEDS_SECOND_FACTOR = (
    "Administrators need a second factor here (ADMIN_MFA=required): set one up first, on the page Settings of the portal "
    "or by POST /api/v1/me/mfa."
)


class LoginForm(AuthenticationForm):  # type: ignore[misc]
    """The admin's login form: by e-mail, with the rate limit of the API's login."""

    code = forms.CharField(
        required=False,
        max_length=second_factor.LONGEST,
        label="Code",
        help_text="Of your authenticator app, or a recovery code; empty if you have none.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code"}),
    )

    @property
    def takes_passwords(self) -> bool:
        return bool(settings.PASSWORD_LOGIN)

    @property
    def sso_address(self) -> str:
        """Return the address to which the button for single sign-on leads; empty text without single sign-on."""
        if not sso.is_on():
            return ""
        return f"{reverse('sso')}?{urlencode({'next': self.request.GET.get('next') or reverse('admin:index')})}"

    @property
    def base(self) -> str:
        return get_script_prefix()

    @property
    def passkey_button(self) -> dict[str, str]:
        """Return the attributes of the button: the script goes on to `data-next` after the login."""
        return {"id": "passkey", "data-next": target_of(self.request, reverse("admin:index"))}

    @property
    def login_address(self) -> str:
        return login_address(target_of(self.request, reverse("admin:index")))

    def confirm_login_allowed(self, user: User) -> None:
        if user.role == Role.ADMIN and not user.may_administer:
            raise ValidationError(NEEDS_SECOND_FACTOR)
        super().confirm_login_allowed(user)

    def clean(self) -> dict[str, Any]:
        try:
            logins.require_passwords()
            rate_limits.hit_sign_in(self.request, "login", self.data.get("username", ""))
        except ApiError as error:
            raise ValidationError(error.message) from None
        cleaned: dict[str, Any] = super().clean()
        if self.user_cache is not None and self.user_cache.mfa_enabled_at is not None:
            self.require_code(self.user_cache, cleaned.get("code", ""))
        rate_limits.remember_sign_in(self.request, self.data.get("username", ""))
        if self.user_cache is not None:
            self.user_cache.take_deletion_back()
        return cleaned

    def require_code(self, user: User, code: str) -> None:
        if not code.strip():
            raise ValidationError("This account has a second factor: write its code as well, or use a passkey.")
        try:
            rate_limits.hit_code(self.request, user.email)
        except ApiError as error:
            raise ValidationError(error.message) from None
        if not second_factor.passes(user, code):
            raise ValidationError(second_factor.WrongCode.message)
