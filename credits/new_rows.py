"""The rows that operations add: a reservation its hold, a movement of the balance its entry in the wallet's chain."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from aichat.core.database.statements import NewRow
from credits.engines.base import Standing
from credits.models import Hold, LedgerEntry
from credits.operations import Reserve
from credits.planning import Step


def of(steps: Sequence[Step], standings: dict[UUID, Standing], now: datetime) -> list[NewRow]:
    """Of steps whose wallets have moved. Says in each outcome what its wallet has free."""
    live = [step for step in steps if step.is_live]
    return [*_holds(live, now), *_entries(live, standings)]


def _holds(steps: Sequence[Step], now: datetime) -> list[NewRow]:
    return [
        (
            Hold,
            {
                "id": operation.hold_id,
                "wallet_id": operation.wallet_id,
                "amount": operation.amount,
                "state": "OPEN",
                "reference": operation.reference or str(operation.hold_id),
                "request_id": operation.request_id,
                "expires_at": operation.expires_at,
                "created_at": now,
                "closed_at": None,
                "closed_by": None,
                "refunded": 0,
                "counted": [(str(limit.counter_id), limit.starts.isoformat()) for limit in step.counted] or None,
            },
        )
        for step in steps
        if isinstance(operation := step.operation, Reserve)
    ]


def _entries(steps: Sequence[Step], standings: dict[UUID, Standing]) -> list[NewRow]:
    """Number and chain the new entries. The wallets' rows are ours until the commit, so nobody else takes a number."""
    fresh: dict[UUID, list[LedgerEntry]] = defaultdict(list)
    for step in steps:
        wallet_id = step.operation.wallet_id
        step.outcome.available = standings[wallet_id].available
        step.outcome.entry = step.entry
        if step.entry:
            fresh[wallet_id].append(step.entry)
    for wallet_id, entries in fresh.items():
        _chain(entries, standings[wallet_id])
    return [(LedgerEntry, vars(entry)) for entries in fresh.values() for entry in entries]


def _chain(entries: Sequence[LedgerEntry], standing: Standing) -> None:
    sequence = standing.sequence - len(entries)
    balance = standing.available + standing.held - sum(entry.amount for entry in entries)
    digest = standing.digest or ""
    for entry in entries:
        sequence += 1
        balance += entry.amount
        entry.sequence, entry.balance_after = sequence, balance
        entry.digest = digest = entry.digest_after(digest)
        entry._state.adding = False  # it is seen after its commit
