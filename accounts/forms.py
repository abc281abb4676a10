"""The admin's login form. Apart from `accounts/admin.py`, because the admin site is made with it."""

from typing import Any

from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm

from accounts import logins, rate_limits
from aichat.core.errors import ApiError


class LoginForm(AuthenticationForm):  # type: ignore[misc]
    """The admin's login: by e-mail, as often as the API's."""

    def clean(self) -> dict[str, Any]:
        try:
            logins.require_passwords()
            rate_limits.hit_sign_in(self.request, "login", self.data.get("username", ""))
        except ApiError as error:
            raise ValidationError(error.message) from None
        cleaned: dict[str, Any] = super().clean()
        rate_limits.remember_sign_in(self.request, self.data.get("username", ""))
        if self.user_cache is not None:
            self.user_cache.take_deletion_back()
        return cleaned
