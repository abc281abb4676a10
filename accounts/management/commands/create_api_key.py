from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.commands import user_by_email
from accounts.services import create_api_key
from accounts.tenancy import personal_organization
from aichat.core.money import to_microcredits


class Command(BaseCommand):
    help = "Make an API key of a user's personal organization and print it; it can't be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="command line")
        parser.add_argument(
            "--spend-limit", help="Credits the key may ever spend; without it no limit but the balance."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = user_by_email(options["email"])
        if not user.is_active:
            raise CommandError(f"{user.email} is deactivated: a key would not work.")
        if len(options["name"]) > 100:
            raise CommandError("--name: write at most 100 characters.")
        _, secret = create_api_key(
            user=user,
            organization=personal_organization(user),
            name=options["name"],
            spend_limit=spend_limit(options["spend_limit"]),
        )
        self.stdout.write(secret)


def spend_limit(text: str | None) -> int | None:
    """In microcredits."""
    try:
        limit = None if text is None else to_microcredits(text)
    except ValueError as error:
        raise CommandError(f"--spend-limit: {error}.") from None
    if limit is not None and limit < 0:
        raise CommandError("--spend-limit: write 0 credits or more.")
    return limit
