from typing import Any

from django.core.management.base import BaseCommand

from accounts.leaving import erase_due


class Command(BaseCommand):
    help = "Erase the accounts that are to be deleted and whose days of grace are over. Safe to run twice."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Erased accounts: {erase_due()}.")
