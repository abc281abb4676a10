"""Commands that are sent to MongoDB as they are: the driver's own methods cost more, and Django's queries far more.

Each runs in the transaction that is open on this thread's connection, and raises what Django's queries raise.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from django.db import connection
from django.db.models import Model
from django_mongodb_backend.query import wrap_database_errors
from pymongo.errors import BulkWriteError

LONGEST = 8 * 1024 * 1024  # bytes of documents in one command; the driver refuses to send more than twice as many
ALL_AT_ONCE = {"singleBatch": True, "batchSize": 100_000}


def find(
    model: type[Model], where: Mapping[str, Any], names: Sequence[str], index: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The named columns of the few rows that meet a condition, found by the index of these columns."""
    wanted = {"filter": where, "projection": dict.fromkeys(names, 1), "hint": index}
    reply = _send({"find": model._meta.db_table, **wanted, **ALL_AT_ONCE})
    found: list[dict[str, Any]] = reply["cursor"]["firstBatch"]
    return found


def update(model: type[Model], updates: Sequence[Mapping[str, Any]]) -> int:
    """Do updates as the server takes them (`q`, `u`, `multi`, `hint`). Returns how many rows met their conditions."""
    return int(_send({"update": model._meta.db_table, "updates": updates, "ordered": False})["n"])


def insert(table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert documents with keys. Raises `IntegrityError` on a collision."""
    documents = [RawBSONDocument(bson.encode(row)) for row in rows]
    if connection.session is not None and sum(len(each.raw) for each in documents) <= LONGEST:  # type: ignore[attr-defined]
        _send({"insert": table, "documents": documents})
    else:
        _insert_in_parts(table, documents)


@wrap_database_errors  # type: ignore[untyped-decorator]
def _insert_in_parts(table: str, documents: Sequence[RawBSONDocument]) -> None:
    collection = connection.get_collection(table)  # type: ignore[attr-defined]
    collection.insert_many(documents, session=connection.session)  # type: ignore[attr-defined]


@wrap_database_errors  # type: ignore[untyped-decorator]
def _send(command: dict[str, Any]) -> dict[str, Any]:
    database: Any = connection.database  # type: ignore[attr-defined]
    reply: dict[str, Any] = database.command(command, session=connection.session)  # type: ignore[attr-defined]
    if reply.get("writeErrors"):
        raise BulkWriteError(reply)
    return reply
