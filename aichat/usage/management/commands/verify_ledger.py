import json
from itertools import chain
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from aichat.core.database import time_limits
from aichat.usage import verify as usage
from credits import verify as ledger


class Command(BaseCommand):
    help = "Prove every invariant of the ledger, also while it is in use; names what is broken and exits with 1."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON object for each problem, one on each line.")

    @time_limits.lifted()
    def handle(self, *args: Any, **options: Any) -> None:
        found = 0
        for problem in chain(ledger.problems(), usage.problems()):
            found += 1
            if options["json"]:
                entry = str(problem.entry) if problem.entry else None
                facts = {"wallet": str(problem.wallet), "entry": entry, "problem": problem.message}
                self.stdout.write(json.dumps(facts))
            else:
                self.stderr.write(str(problem))
        if found:
            raise CommandError(f"The ledger is broken. Problems: {found}.")
        if not options["json"]:
            if waiting := usage.waiting_in_journal():
                self.stdout.write(
                    f"Settlements in the journal of this host ({settings.SETTLEMENT_JOURNAL}): {waiting}."
                )
            self.stdout.write("The ledger is right.")
