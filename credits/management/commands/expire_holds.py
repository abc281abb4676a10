from typing import Any

from django.core.management.base import BaseCommand

from credits.services import expire_holds


class Command(BaseCommand):
    help = "Release the holds of requests that died (past HOLD_TTL). Safe to run anywhere, at any time."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Released holds: {expire_holds()}.")
