"""Parts that the management commands share: they find a person by e-mail, and tell each refusal in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError

from accounts.models import User
from aichat.core.errors import ApiError


@contextmanager
def refusals() -> Iterator[None]:
    """Turn an `ApiError` into the one line with which the command ends."""
    try:
        yield
    except ApiError as error:
        raise CommandError(error.message) from None


def user_by_email(email: str) -> User:
    """Return the user. Raises a `CommandError` that says what to do."""
    user = User.objects.filter(email=User.objects.normalize_email(email)).first()
    if user is None:
        raise CommandError(f"There is no user {email}: they sign up first, or an admin adds them.")
    return user
