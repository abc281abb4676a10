from typing import Any

from django.core.management.base import BaseCommand

from credits.lots import expire_credits


class Command(BaseCommand):
    help = "Take off the credits whose time is over. Safe to run anywhere, at any time."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Wallets whose credits expired: {expire_credits()}.")
