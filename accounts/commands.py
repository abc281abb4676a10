"""Shared by the management commands: what names a person on the command line."""

from django.core.management.base import CommandError

from accounts.models import User


def user_by_email(email: str) -> User:
    """The user, or a `CommandError` that says what to do."""
    user = User.objects.filter(email=User.objects.normalize_email(email)).first()
    if user is None:
        raise CommandError(f"There is no user {email}: they sign up first, or an admin adds them.")
    return user
