from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.commands import user_by_email
from accounts.services import create_api_key
from accounts.tenancy import personal_organization


class Command(BaseCommand):
    help = "Make an API key of a user's personal organization and print it; it can't be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="command line")

    def handle(self, *args: Any, **options: Any) -> None:
        user = user_by_email(options["email"])
        if not user.is_active:
            raise CommandError(f"{user.email} is deactivated: a key would not work.")
        if len(options["name"]) > 100:
            raise CommandError("--name: write at most 100 characters.")
        _, secret = create_api_key(user=user, organization=personal_organization(user), name=options["name"])
        self.stdout.write(secret)
