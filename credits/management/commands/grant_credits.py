from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.commands import user_by_email
from accounts.tenancy import personal_organization
from aichat.core.money import credits_in_words, format_credits, to_microcredits
from credits.services import grant, wallet_of


def moment(text: str) -> datetime:
    """A moment of ISO 8601 that is still to come; without an offset it is UTC."""
    found = datetime.fromisoformat(text)
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if found <= timezone.now():
        raise ArgumentTypeError("write a moment that is still to come")
    return found


class Command(BaseCommand):
    help = "Grant credits to a user's personal organization, each time it runs (once per --reference)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("amount", help='Credits, with at most six decimal places, such as "12.5".')
        parser.add_argument("--reason", default="Granted on the command line")
        parser.add_argument("--reference", default="", help="Granting again with the same reference grants nothing.")

        parser.add_argument(
            "--expires-at", type=moment, help="When what is left is taken off, such as 2027-01-31T00:00Z."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            amount = to_microcredits(options["amount"])
        except ValueError as error:
            raise CommandError(f"AMOUNT: {error}.") from None
        if amount <= 0:
            raise CommandError("AMOUNT: write more than 0 credits.")
        organization = personal_organization(user_by_email(options["email"]))
        result = grant(
            organization,
            amount,
            reason=options["reason"][:200],
            reference=options["reference"][:100],
            expires_at=options["expires_at"],
        )
        done = "Already granted, nothing changed:" if result.repeated else f"Granted {credits_in_words(amount)}:"
        balance = format_credits(wallet_of(organization).balance)
        self.stdout.write(f"{done} {options['email']} has {balance}.")
