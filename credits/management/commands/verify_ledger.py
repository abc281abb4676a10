from typing import Any

from django.core.management.base import BaseCommand, CommandError

from credits.verify import problems


class Command(BaseCommand):
    help = "Prove every invariant of the ledger; names what is broken and exits with 1."

    def handle(self, *args: Any, **options: Any) -> None:
        found = 0
        for problem in problems():
            found += 1
            self.stderr.write(problem)
        if found:
            raise CommandError(f"The ledger is broken: {found} problems.")
        self.stdout.write("The ledger is right.")
