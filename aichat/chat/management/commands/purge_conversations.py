from typing import Any

from django.core.management.base import BaseCommand

from aichat.chat.retention import purge


class Command(BaseCommand):
    help = "Delete conversations that are older than RETENTION_DAYS, or than the days of their organization."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Deleted conversations: {purge()}.")
