from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rest_framework.exceptions import ErrorDetail

from accounts.commands import user_by_email
from accounts.models import Scope
from accounts.serializers import ApiKeySerializer
from accounts.services import create_api_key
from accounts.tenancy import personal_organization

LISTS = {"model": "models", "allowed_ip": "allowed_ips", "scope": "scopes"}  # the field that an option is repeated for


class Command(BaseCommand):
    help = "Make an API key of a user's personal organization and print it; it can't be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="command line")
        parser.add_argument(
            "--spend-limit", help="Credits the key may ever spend; without it no limit but the balance."
        )
        parser.add_argument("--spend-limit-day", help="Credits the key may spend in a UTC day.")
        parser.add_argument("--spend-limit-month", help="Credits the key may spend in a UTC month.")
        parser.add_argument("--rate-limit", help="Requests of the key, such as 60/min.")
        parser.add_argument("--expires-at", help="When it ends, such as 2030-01-31T00:00:00Z.")
        parser.add_argument("--model", action="append", help="A model it may use; repeat it for several.")
        parser.add_argument(
            "--allowed-ip", action="append", help="An address or network it may be used from; repeat it."
        )
        parser.add_argument(
            "--scope", action="append", help=f"What it may be used for ({', '.join(Scope.values)}); repeat it."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = user_by_email(options["email"])
        if not user.is_active:
            raise CommandError(f"{user.email} is deactivated: a key would not work.")
        wanted = limits_of(options)
        _, secret = create_api_key(
            user=user,
            organization=personal_organization(user),
            expires_at=wanted.pop("expiry", None),
            **wanted,
        )
        self.stdout.write(secret)


def limits_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of the key, checked as `POST /api/v1/api-keys` does. Raises `CommandError` with one line."""
    names = ("name", "spend_limit", "spend_limit_day", "spend_limit_month", "rate_limit", "expires_at")
    body = {name: options[name] for name in names if options[name] is not None}
    body |= {field: options[option] for option, field in LISTS.items() if options[option] is not None}
    form = ApiKeySerializer(data=body)
    if not form.is_valid():
        field, problem = next(iter(form.errors.items()))
        option = next((option for option, name in LISTS.items() if name == field), field)
        raise CommandError(f"--{option.replace('_', '-')}: {first_words(problem)}")
    return dict(form.validated_data)


def first_words(problem: Any) -> str:
    """Return the first sentence of DRF's nested errors."""
    while not isinstance(problem, ErrorDetail):
        problem = next(iter(problem.values() if isinstance(problem, dict) else problem))
    return str(problem)
