"""Shared by the management commands: naming a person, and one clear line for each refusal."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError

from accounts.models import User
from aichat.core.errors import ApiError


@contextmanager
def refusals() -> Iterator[None]:
    """Turns an `ApiError` of the verb a command runs into the command's one line."""
    try:
        yield
    except ApiError as error:
        raise CommandError(error.message) from None


def user_by_email(email: str) -> User:
    """The user, or a `CommandError` that says what to do."""
    user = User.objects.filter(email=User.objects.normalize_email(email)).first()
    if user is None:
        raise CommandError(f"There is no user {email}: they sign up first, or an admin adds them.")
    return user
