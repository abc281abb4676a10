"""The ledger's statements for MongoDB: all wallets of a list in one call.

A transaction reads one snapshot. Writing a document that another transaction changed since is a conflict, after which
the whole transaction runs again: so the values that were read decide, and the filter only confirms them.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Model

from aichat.core.database import transactions
from aichat.core.money import LARGEST
from credits.engines.base import Closings, Move, Standing
from credits.engines.portable import available as available
from credits.engines.portable import close_holds as close_holds
from credits.engines.portable import reserve as reserve
from credits.engines.portable import reserves_at_once as reserves_at_once
from credits.models import LedgerEntry, Wallet


def move_wallets(moves: Sequence[Move]) -> dict[UUID, Standing]:
    ids = [move.wallet_id.hex for move in moves]
    wallets = {
        UUID(row["_id"]): (row["available"], row["held"], row["sequence"])
        for row in _find(Wallet, {"_id": {"$in": ids}}, ["available", "held", "sequence"])
    }
    right = [move for move in moves if move.wallet_id in wallets and _is_met(move, *wallets[move.wallet_id])]
    if not right:
        return {}
    _write(right)
    last = {move.wallet_id: wallets[move.wallet_id][2] for move in right if move.entries}
    digests = _digests(last)
    found = {}
    for move in right:
        available, held, sequence = wallets[move.wallet_id]
        digest = digests.get(move.wallet_id, "")
        found[move.wallet_id] = Standing(available + move.available, held + move.held, sequence + move.entries, digest)
    return found


def _digests(sequences: Mapping[UUID, int]) -> dict[UUID, str]:
    """The digests of the wallets' last entries, which have these numbers; none for a wallet without entries."""
    from bson import Int64

    last = [{"wallet_id": pk.hex, "sequence": Int64(sequence)} for pk, sequence in sequences.items() if sequence]
    found = _find(LedgerEntry, {"$or": last}, ["wallet_id", "digest"]) if last else ()
    return {UUID(row["wallet_id"]): row["digest"] for row in found}


def _find(model: type[Model], where: dict[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """The documents as the driver gives them: Django's query for a list of wallets costs more than their settlement."""
    from django_mongodb_backend.query import wrap_database_errors

    collection: Any = connection.get_collection(model._meta.db_table)  # type: ignore[attr-defined]

    def read() -> list[dict[str, Any]]:
        return list(collection.find(where, names, session=connection.session))  # type: ignore[attr-defined]

    found: list[dict[str, Any]] = wrap_database_errors(read)()
    return found


def _is_met(move: Move, available: int, held: int, sequence: int) -> bool:
    """Whether a wallet with these values meets the guard of the move."""
    has_room = not move.gains or available + held <= LARGEST - move.gains
    return available >= move.needs and held >= move.closes and has_room


def _write(moves: Sequence[Move]) -> None:
    from bson import Int64
    from django_mongodb_backend.query import wrap_database_errors
    from pymongo import UpdateOne

    writes = [
        UpdateOne(
            {"_id": move.wallet_id.hex, "available": {"$gte": move.needs}, "held": {"$gte": move.closes}},
            {"$inc": {"available": Int64(move.available), "held": Int64(move.held), "sequence": Int64(move.entries)}},
        )
        for move in moves
    ]
    collection: Any = connection.get_collection(Wallet._meta.db_table)  # type: ignore[attr-defined]
    result = wrap_database_errors(collection.bulk_write)(writes, session=connection.session, ordered=False)  # type: ignore[attr-defined]
    if result.matched_count != len(moves):
        raise transactions.Conflict("a wallet changed under its transaction")


def close_and_move(closings: Closings, moves: Sequence[Move]) -> tuple[int, dict[UUID, Standing]]:
    return sum(len(close_holds(ids, closing)) for closing, ids in closings), move_wallets(moves)
