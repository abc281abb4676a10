import secrets
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from accounts.commands import refusals
from accounts.models import Role, User
from accounts.services import create_api_key, register_user
from accounts.tenancy import personal_organization
from aichat.catalog.sync import sync_models
from aichat.providers.registry import KEY_SETTINGS
from credits.services import wallet_of


class Command(BaseCommand):
    help = "From nothing to a working installation: tables, models, the first admin and API key. Safe to run again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", default="admin@example.com", help="The first admin's login.")
        parser.add_argument("--address", default=own_address(), help="Where clients reach the server.")

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        sync_models()
        address, key = options["address"], "$API_KEY"
        admin = User.objects.filter(role=Role.ADMIN, is_active=True).order_by("created_at").first()
        if admin is None:
            password = secrets.token_urlsafe(12)
            with refusals():
                admin = register_user(
                    email=options["email"], password=password, name="Admin", role=Role.ADMIN, email_confirmed=True
                )
            organization = personal_organization(admin)
            wallet_of(organization)
            _, key = create_api_key(user=admin, organization=organization, name="first key")
            self.stdout.write("\nKeep these, they are shown only once:")
            self.stdout.write(f"  admin login  {admin.email}\n  password     {password}\n  API key      {key}")
        else:
            self.stdout.write(
                f"\nAlready set up: the admin is {admin.email}. For a further API key:"
                f"\n  API_KEY=$({python()} manage.py create_api_key {admin.email})"
            )
        if not any(getattr(settings, name) for name in KEY_SETTINGS):
            self.stdout.write(f"\nNo provider key is set ({', '.join(KEY_SETTINGS)}): a demo model answers.")
        pages = f"\nPages  {address}/" if settings.PORTAL else ""
        self.stdout.write(
            f"{pages}\nAdmin  {address}/admin/\nAPI    {address}/api/docs/"
            f'\nTry    curl {address}/v1/chat/completions -H "Authorization: Bearer {key}" '
            "-H 'Content-Type: application/json' "
            """-d '{"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}'\n"""
        )


def own_address() -> str:
    """Return the address at which a browser or curl on this machine reaches the server."""
    host = "127.0.0.1" if settings.HOST in {"", "0.0.0.0", "::"} else settings.HOST  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.PORT}{settings.URL_PREFIX}"


def python() -> str:
    """Return the running Python interpreter, as a path to type in the current folder."""
    path, here = Path(sys.executable), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
