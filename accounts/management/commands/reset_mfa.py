from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts import second_factor
from accounts.commands import user_by_email


class Command(BaseCommand):
    help = "Take away the second factor of somebody who lost it; their logins end. The act is in the audit log."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        user = user_by_email(options["email"])
        if second_factor.reset(user, reason="manage.py reset_mfa"):
            self.stdout.write(f"{user.email} logs in with the password alone.")
        else:
            self.stdout.write(f"{user.email} has no second factor. Logins have ended.")
