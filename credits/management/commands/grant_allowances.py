from typing import Any

from django.core.management.base import BaseCommand

from credits.allowances import grant_allowances


class Command(BaseCommand):
    help = "Give each user the monthly allowance of their role (see credit plans). Once a month, however often it runs."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Granted allowances: {grant_allowances()}.")
