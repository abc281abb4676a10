"""Credits moved by hand, from the admin and its REST endpoint, with actor, reason and request ID in the audit log."""

from uuid import UUID

from accounts.models import User
from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.core.database.models import uuid7
from aichat.core.money import format_credits
from credits.models import LedgerEntry, Wallet
from credits.services import OperationResult, adjust, grant, refund


def change_balance(
    wallet: Wallet, *, amount: int, reason: str, actor: User, reference: UUID | None = None
) -> LedgerEntry:
    """Grant `amount` microcredits, or take them away when negative, as an administrator; return the ledger's entry.

    Raises `InsufficientCreditsError` when less is available than would be taken.
    """
    verb = grant if amount > 0 else adjust
    named = f"admin:{reference or uuid7()}"

    def move() -> LedgerEntry:
        return recorded(verb(wallet.organization, amount, reason=reason, actor=actor, reference=named), wallet, actor)

    return transactions.run_atomic(move)


def refund_charge(charge: LedgerEntry, *, amount: int, reason: str, actor: User, reference: UUID) -> LedgerEntry:
    """Give `amount` microcredits of a charge back, as an administrator; return the ledger's entry.

    Raises `RefundTooLarge` when the refunds of the charge would exceed it.
    """

    def give_back() -> LedgerEntry:
        result = refund(charge, amount, reason=reason, actor=actor, reference=f"admin:{reference}")
        return recorded(result, charge.wallet, actor)

    return transactions.run_atomic(give_back)


def recorded(result: OperationResult, wallet: Wallet, actor: User) -> LedgerEntry:
    """Write the result's entry into the audit log, unless the entry was made before; return the entry."""
    entry = result.entry
    assert entry is not None
    if not result.repeated:
        balances = (format_credits(entry.balance_after - entry.amount), format_credits(entry.balance_after))
        audit_log.record(
            actor, wallet, audit_log.CHANGED, {"balance": balances}, reason=entry.reason, entry=str(entry.pk)
        )
    return entry
