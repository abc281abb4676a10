from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from aichat.core.database import time_limits
from aichat.usage.rollup import rebuild, roll_up


class Command(BaseCommand):
    help = "Bring the daily sums of usage up to date. Safe to run again, and beside others."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rebuild", metavar="DAY", help="Make the sums from this day (2026-11-23) on again.")

    @time_limits.lifted()
    def handle(self, *args: Any, **options: Any) -> None:
        if options["rebuild"]:
            try:
                first = date.fromisoformat(options["rebuild"])
            except ValueError:
                raise CommandError("--rebuild: write a day such as 2026-11-23.") from None
            self.stdout.write(f"Days made again: {rebuild(first)}.")
        self.stdout.write(f"Added records: {roll_up()}.")
