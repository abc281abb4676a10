from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from aichat.images.jobs import purge


class Command(BaseCommand):
    help = "Delete pictures and jobs that ended over --days days ago (default: IMAGE_RETENTION_DAYS); their bills stay."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=None)

    def handle(self, *args: Any, **options: Any) -> None:
        days = settings.IMAGE_RETENTION_DAYS if options["days"] is None else options["days"]
        if days < 1:
            raise CommandError("Say how many days to keep: --days 90, or set IMAGE_RETENTION_DAYS.")
        self.stdout.write(f"Deleted jobs: {purge(days)}.")
