"""The ledger's statements for MongoDB: all wallets of a list in one command.

A transaction reads one snapshot. Writing a document that another transaction changed since is a conflict, after which
the whole transaction runs again: so the values that were read decide. Nobody waits for a lock, so the order of the
statements is free: the wallets come first, because that is where transactions meet, and one that has to run again has
then done little.

A wallet's document has one more field than the table, `last_entry`: the number and the digest of its last entry, so that
the next one need not look for them. Where the number is not the wallet's `sequence` the entry is looked up: other ways
to move a wallet, and the versions before this field, do not write it.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from aichat.core.database import transactions
from aichat.core.database.statements import NewRow, insert_rows
from aichat.core.money import LARGEST
from credits.engines.base import Chain, Closing, Closings, Count, Move, Standing
from credits.engines.portable import available as available
from credits.models import Hold, LedgerEntry, Wallet

reserves_at_once = True

KEY = {"_id": 1}
ENTRY = {"wallet_id": 1, "sequence": 1}
STANDING = ["available", "held", "sequence", "last_entry"]


def close_holds(ids: Sequence[UUID], closing: Closing) -> set[UUID]:
    from aichat.core.database.mongodb import commands

    these, by = {"_id": {"$in": [id_.hex for id_ in ids]}}, closing.by.hex
    still_open: dict[str, Any] = {**these, "state": Hold.State.OPEN.value}
    if closing.expired_at is not None:
        still_open["expires_at"] = {"$lte": closing.expired_at}
    closed = {"$set": {"state": str(closing.state), "closed_at": closing.at, "closed_by": by}}
    # By the key: the planner would try the index in which all open holds stand.
    if commands.update(Hold, [{"q": still_open, "u": closed, "multi": True, "hint": KEY}]) == len(ids):
        return set(ids)
    return {UUID(row["_id"]) for row in commands.find(Hold, {**these, "closed_by": by}, ["_id"], KEY)}


def move_wallets(moves: Sequence[Move], chain: Chain) -> dict[UUID, Standing]:
    from aichat.core.database.mongodb import commands

    wanted = {"_id": {"$in": [move.wallet_id.hex for move in moves]}}
    wallets = {UUID(row["_id"]): row for row in commands.find(Wallet, wanted, STANDING, KEY)}
    right = [move for move in moves if move.wallet_id in wallets and _is_met(move, wallets[move.wallet_id])]
    digests = _digests({move.wallet_id: wallets[move.wallet_id] for move in right if move.entries})
    standings, updates = {}, []
    for move in right:
        wallet_id, wallet = move.wallet_id, wallets[move.wallet_id]
        standings[wallet_id] = standing = Standing(
            wallet["available"] + move.available,
            wallet["held"] + move.held,
            wallet["sequence"] + move.entries,
            digests.get(wallet_id, ""),
        )
        update = _moving(move)
        if move.entries:
            last = {"sequence": standing.sequence, "digest": chain(wallet_id, standing)}
            update["u"]["$set"] = {"last_entry": last}
        updates.append(update)
    if updates and commands.update(Wallet, updates) != len(updates):
        raise transactions.Conflict("a wallet is gone")
    return standings


def _is_met(move: Move, wallet: Mapping[str, Any]) -> bool:
    """Whether a wallet meets the guard of the move."""
    available, held = wallet["available"], wallet["held"]
    has_room = not move.gains or available + held <= LARGEST - move.gains
    return bool(available >= move.needs and held >= move.closes and has_room)


def _moving(move: Move) -> dict[str, Any]:
    """The update of a wallet, with its guard."""
    from bson import Int64

    guard: dict[str, Any] = {"_id": move.wallet_id.hex, "available": {"$gte": move.needs}}
    if move.closes:
        guard["held"] = {"$gte": move.closes}
    changes = {"available": Int64(move.available), "held": Int64(move.held), "sequence": Int64(move.entries)}
    return {"q": guard, "u": {"$inc": changes}}


def _digests(wallets: Mapping[UUID, Mapping[str, Any]]) -> dict[UUID, str]:
    """The digests of the wallets' last entries; none for a wallet without entries."""
    from aichat.core.database.mongodb import commands

    found, missing = {}, []
    for wallet_id, wallet in wallets.items():
        last = wallet.get("last_entry")
        if last and last["sequence"] == wallet["sequence"]:
            found[wallet_id] = last["digest"]
        elif wallet["sequence"]:
            missing.append({"wallet_id": wallet_id.hex, "sequence": wallet["sequence"]})
    if missing:
        for row in commands.find(LedgerEntry, {"$or": missing}, ["wallet_id", "digest"], ENTRY):
            found[UUID(row["wallet_id"])] = row["digest"]
    return found


def close_and_move(closings: Closings, moves: Sequence[Move], chain: Chain) -> tuple[int, dict[UUID, Standing]]:
    standings = move_wallets(moves, chain) if moves else {}
    return sum([len(close_holds(ids, closing)) for closing, ids in closings]), standings


class _Refused(Exception):
    """A wallet does not move."""


def reserve(
    moves: Sequence[Move], holds: Sequence[NewRow], counts: Sequence[Count] = ()
) -> Mapping[UUID, int | None] | None:
    if counts:
        return None
    try:
        return transactions.run_atomic_without_flush(_reserve, moves, holds)
    except _Refused:
        return None


def _reserve(moves: Sequence[Move], holds: Sequence[NewRow]) -> dict[UUID, int | None]:
    from aichat.core.database.mongodb import commands

    if commands.update(Wallet, [_moving(move) for move in moves]) != len(moves):
        raise _Refused
    moved: dict[UUID, int | None] = {move.wallet_id: None for move in moves}
    insert_rows(row for row in holds if row[1]["wallet_id"] in moved)
    return moved
