"""`manage.py migrate`: Django's, without time limits, after which the catalog of models is there too."""

from typing import Any

from django.conf import settings
from django.core.management.commands.migrate import Command as DjangoMigrate

from aichat.catalog.sync import sync_models
from aichat.core.database import time_limits


class Command(DjangoMigrate):
    def handle(self, *args: Any, **options: Any) -> None:
        with time_limits.lifted():
            super().handle(*args, **options)
        is_whole = not (options["app_label"] or options["plan"] or options["check_unapplied"])
        if is_whole and settings.FILL_CATALOG:
            new = sync_models()
            if new and options["verbosity"] > 0:
                self.stdout.write(f"New in the catalog: {', '.join(new)}.")
