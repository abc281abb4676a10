"""Asks once at start whether a database answers at DATABASE_URL, so that a wrong address is one clear line in the log."""

import socket
import struct
from typing import Any

PATIENCE = 3.0  # seconds for all addresses together; a database that is up answers in milliseconds
# PostgreSQL's SSLRequest, which every version and every pooler answers with one byte before anything else is said.
# https://www.postgresql.org/docs/current/protocol-message-formats.html
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


def database_problem(database: dict[str, Any]) -> str:
    """Why no server of a DATABASES entry answers, in one sentence; empty when one does, or it is a file."""
    servers = addresses(database)
    reasons = []
    for host, port in servers:
        try:
            with socket.create_connection((host, port), timeout=PATIENCE / len(servers)) as connection:
                greet(connection, database)
                return ""
        except OSError as error:
            reasons.append(f"{host}:{port} ({error.strerror or error})")
    if not reasons:
        return ""
    return f"DATABASE_URL: no database answers at {', '.join(reasons)}: start it, or mend the address."


def greet(connection: socket.socket, database: dict[str, Any]) -> None:
    """Make the server answer something, because a proxy, or a server that hangs, may accept connections and never answer.

    Raises `OSError`. A MongoDB that speaks TLS is left to its driver.
    """
    if database["ENGINE"] == "django.db.backends.postgresql":
        connection.sendall(SSL_REQUEST)
        if connection.recv(1) not in {b"S", b"N", b"E"}:
            raise OSError("it is no PostgreSQL server")
    elif not is_tls(database["HOST"]):
        connection.sendall(mongodb_hello())
        if not connection.recv(1):
            raise OSError("it is no MongoDB server")


def is_tls(uri: str) -> bool:
    from pymongo.uri_parser import parse_uri  # others need not load it

    return bool(parse_uri(uri)["options"].get("tls"))


def mongodb_hello() -> bytes:
    """The message that a MongoDB server answers before any login: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/"""
    import bson  # of pymongo

    op_msg, no_flags, body_section = 2013, bytes(4), b"\0"
    body = no_flags + body_section + bson.encode({"hello": 1, "$db": "admin"})
    return struct.pack("<iiii", 16 + len(body), 1, 0, op_msg) + body


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
