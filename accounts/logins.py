"""Verbs on the logins of a person: change the password, and end them."""

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from accounts import caller_cache
from accounts.models import AccessToken, User
from aichat.core.database import transactions
from aichat.core.errors import InvalidRequest


def change_password(user: User, new: str, *, keep: AccessToken | None = None) -> None:
    """Give the user a new password; every login but the token `keep` ends. Raises `InvalidRequest` for a weak one."""
    try:
        validate_password(new, user)
    except ValidationError as error:
        raise InvalidRequest(" ".join(error.messages), param="new_password") from None
    transactions.run_atomic(_change_password, user, new, keep)


def _change_password(user: User, new: str, keep: AccessToken | None) -> None:
    user.set_password(new)
    # Not `save`: that would end the login which asks for the change as well.
    User.objects.filter(pk=user.pk).update(password=user.password)
    end_logins(user, but=keep)


def end_logins(user: User, but: AccessToken | None = None) -> None:
    """Revoke the user's login tokens, in this process at once; API keys stay."""
    user.end_logins(but)
    caller_cache.changed(user.pk)
