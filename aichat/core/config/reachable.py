"""Whether anything listens where DATABASE_URL points: asked once at start, so that a wrong address is one clear line."""

import socket
from typing import Any

PATIENCE = 3.0  # seconds for one address; a database that is up accepts in milliseconds


def database_problem(database: dict[str, Any]) -> str:
    """Why no server of a DATABASES entry accepts a connection, in one sentence; empty when one does, or it is a file."""
    reasons = []
    for host, port in addresses(database):
        try:
            with socket.create_connection((host, port), timeout=PATIENCE):
                return ""
        except OSError as error:
            reasons.append(f"{host}:{port} ({error.strerror or error})")
    if not reasons:
        return ""
    return f"DATABASE_URL: no database answers at {', '.join(reasons)}: start it, or mend the address."


def addresses(database: dict[str, Any]) -> list[tuple[str, int]]:
    """Host and port of each server; empty for SQLite, for a socket in a folder, and for `mongodb+srv://`."""
    match database["ENGINE"]:
        case "django.db.backends.postgresql":
            host = database["HOST"] or "localhost"
            return [] if host.startswith("/") or not database["HOST"] else [(host, int(database["PORT"] or 5432))]
        case "aichat.core.database.mongodb" if database["HOST"].startswith("mongodb://"):
            from pymongo.uri_parser import parse_uri  # others need not load it

            return [(host, port or 27017) for host, port in parse_uri(database["HOST"])["nodelist"]]
        case _:
            return []
