from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from aichat.core.money import to_microcredits
from aichat.payments.models import MOST_REDEMPTIONS
from aichat.payments.vouchers import MOST_AT_ONCE, make_vouchers

MOST_DAYS = 36_500


class Command(BaseCommand):
    help = "Make vouchers and print their codes, one a line. The codes are stored nowhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("credits", help='Credits of each voucher, such as "50".')
        parser.add_argument("--count", type=int, default=1)
        parser.add_argument("--max-redemptions", type=int, default=1, help="People who may redeem each of them.")
        parser.add_argument("--days", type=int, default=0, help="Days until they expire; 0: they don't.")
        parser.add_argument("--note", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            amount = to_microcredits(options["credits"])
        except ValueError as error:
            raise CommandError(f"CREDITS: {error}.") from None
        if amount <= 0:
            raise CommandError("CREDITS: write more than 0.")
        for name, smallest, largest in (
            ("count", 1, MOST_AT_ONCE),
            ("max_redemptions", 1, MOST_REDEMPTIONS),
            ("days", 0, MOST_DAYS),
        ):
            if not smallest <= options[name] <= largest:
                raise CommandError(f"--{name.replace('_', '-')}: write a number from {smallest} to {largest}.")
        codes = make_vouchers(
            amount,
            count=options["count"],
            max_redemptions=options["max_redemptions"],
            expires_at=timezone.now() + timedelta(days=options["days"]) if options["days"] else None,
            note=options["note"][:200],
        )
        self.stdout.write("\n".join(codes))
