from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.commands import user_by_email
from accounts.models import Role
from accounts.services import LastAdmin, change_user


class Command(BaseCommand):
    help = "Give a user the role USER, SUBSCRIBER or ADMIN."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("role", help=", ".join(Role))

    def handle(self, *args: Any, **options: Any) -> None:
        role = options["role"].upper()
        if role not in list(Role):
            raise CommandError(f"There is no role {options['role']}: write one of {', '.join(Role)}.")
        user = user_by_email(options["email"])
        try:
            change_user(user, role=Role(role))
        except LastAdmin as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{user.email} is {role}.")
