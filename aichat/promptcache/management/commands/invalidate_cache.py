from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.commands import refusals
from aichat.promptcache import services


class Command(BaseCommand):
    help = (
        "Declare cached answers out of date: all of them, or those of one organization, user, model or system prompt."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--organization", metavar="ID")
        which.add_argument("--user", metavar="ID_OR_EMAIL")
        which.add_argument("--model", metavar="SLUG")
        which.add_argument("--prompt", metavar="TEXT", help="The system prompt itself, or its version.")

    def handle(self, *args: Any, **options: Any) -> None:
        scopes = ("organization", "user", "model", "prompt")
        scope = next((name for name in scopes if options[name] is not None), "all")
        with refusals():
            row = services.invalidate(scope, options.get(scope) or "")
        self.stdout.write(f"Out of date from now on: {row.get_scope_display()} {row.target}".rstrip() + ".")
