from typing import Any

from django.core.management.base import BaseCommand

from aichat.catalog.models import AIModel
from aichat.catalog.sync import sync_models


class Command(BaseCommand):
    help = "Add the current models of every provider that has a key, with prices from the offline price library."

    def handle(self, *args: Any, **options: Any) -> None:
        new = sync_models()
        for slug in new:
            self.stdout.write(f"new: {slug}")
        self.stdout.write(f"Enabled models: {AIModel.objects.filter(enabled=True).count()}, of them new: {len(new)}.")
