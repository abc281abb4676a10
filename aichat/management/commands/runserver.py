"""`manage.py runserver`: the ASGI server for development, which streams whole and starts again when code changes.

Django's own speaks WSGI, which cuts every event stream in two: nothing goes out before the end.
"""

import os
import re
import socket
import sys
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

PACKAGES = ["aichat", "accounts", "credits", "admin_dashboard"]
ADDRESS = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):)?(?P<port>\d{1,5})")


class Command(BaseCommand):
    help = "Serve for development, with reload. In production it is `gunicorn aichat.asgi:application`."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("addrport", nargs="?", default="", help="Port, or address:port; by default HOST and PORT.")
        parser.add_argument("--noreload", action="store_true", help="Don't start again when a file changes.")

    def handle(self, *args: Any, addrport: str, noreload: bool, **options: Any) -> None:
        host, port = address_of(addrport)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise CommandError(f"Can't listen on {host}:{port} ({error.strerror}): choose another port.") from None
        sys.stdout.write(f"Serving http://{host}:{port}{settings.URL_PREFIX}/ for development; Ctrl-C ends it.\n")
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aichat.settings")  # of the process that reload starts
        uvicorn.run(
            "aichat.asgi:application",
            host=host,
            port=port,
            reload=not noreload,
            reload_dirs=PACKAGES if not noreload else None,
            http="aichat.core.web.server:Protocol",
            lifespan="on",
            log_config=settings.LOGGING,
            access_log=False,
            timeout_graceful_shutdown=5,
        )


def address_of(text: str) -> tuple[str, int]:
    """Host and port of `8000`, `0.0.0.0:8000` or `[::1]:8000`; the settings' where nothing is said."""
    if not text:
        return settings.HOST, settings.PORT
    found = ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found["port"]) < 65_536:
        raise CommandError(f"{text!r} is no port and no address:port, such as 127.0.0.1:8000.")
    return (found["host"] or settings.HOST).strip("[]"), int(found["port"])
