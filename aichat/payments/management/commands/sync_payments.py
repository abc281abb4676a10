"""`manage.py sync_payments`: takes Stripe's events of the last three days once more, for webhooks that were lost."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from aichat.core.errors import ApiError
from aichat.payments import stripe_api, stripe_events


class Command(BaseCommand):
    help = "Takes Stripe's events of the last three days once more; what was taken already changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            stripe_api.client()
            count = stripe_events.sync()
        except ApiError as error:
            raise CommandError(str(error.message)) from None
        self.stdout.write(f"Events of Stripe that were looked at: {count}.")
