"""Writes a wallet's whole past at once, for demonstration data with entries of earlier days.

Beside `credits/ledger.py` this is the only writer of entries; the rows it writes satisfy the same invariants.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from aichat.core.database import statements, transactions
from credits.models import Hold, LedgerEntry, Wallet

Kind = LedgerEntry.Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One past movement. `amount` is in microcredits; a charge is negative and names the hold that it settled."""

    kind: LedgerEntry.Kind
    amount: int
    at: datetime
    reason: str = ""
    request_id: str = ""
    hold_id: UUID | None = None


def write_history(wallet_id: UUID, movements: Sequence[Movement]) -> Wallet:
    """Open a wallet with these movements, in order. Raises `ValueError` when its balance would go below zero."""
    entries: list[LedgerEntry] = []
    holds: list[Hold] = []
    balance, digest = 0, ""
    for sequence, move in enumerate(movements, start=1):
        balance += move.amount
        if balance < 0:
            raise ValueError(f"Movement {sequence} takes the balance of wallet {wallet_id} below zero.")
        entry = LedgerEntry(
            wallet_id=wallet_id,
            sequence=sequence,
            kind=move.kind,
            amount=move.amount,
            balance_after=balance,
            reference=str(move.hold_id) if move.hold_id else f"history:{sequence}",
            request_id=move.request_id,
            reason=move.reason,
            # Whole milliseconds, as the ledger's own: MongoDB keeps no more, and the digest is over them.
            created_at=move.at.replace(microsecond=move.at.microsecond // 1000 * 1000),
        )
        entry.digest = digest = entry.digest_after(digest)
        entries.append(entry)
        if move.hold_id:
            holds.append(_settled_hold(wallet_id, move, move.hold_id))
    wallet = Wallet(pk=wallet_id, available=balance, sequence=len(entries))
    transactions.run_atomic(_write, wallet, holds, entries)
    return wallet


def _settled_hold(wallet_id: UUID, move: Movement, hold_id: UUID) -> Hold:
    return Hold(
        id=hold_id,
        wallet_id=wallet_id,
        amount=-move.amount,
        state=Hold.State.SETTLED,
        reference=str(hold_id),
        request_id=move.request_id,
        created_at=move.at,
        closed_at=move.at,
        expires_at=move.at + timedelta(minutes=15),
    )


def _write(wallet: Wallet, holds: list[Hold], entries: list[LedgerEntry]) -> None:
    wallet.save(force_insert=True)
    statements.insert(holds)
    statements.insert(entries)
