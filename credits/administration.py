"""Moving credits by hand: what the admin and its REST endpoint do, with actor, reason and request ID on record."""

from uuid import UUID

from accounts.models import User
from aichat import audit, db
from aichat.money import format_credits
from credits.models import LedgerEntry, Wallet
from credits.services import Credit, Kind, Outcome, apply, refund


def change_balance(
    wallet: Wallet, *, amount: int, reason: str, actor: User, reference: UUID | None = None
) -> LedgerEntry:
    """Grant `amount` microcredits, or take them away when negative, as an administrator; answers the ledger's entry.

    Raises `InsufficientCreditsError` when less is available than would be taken.
    """
    kind = Kind.GRANT if amount > 0 else Kind.ADJUSTMENT
    return db.run_atomic(_change_balance, wallet, kind, amount, reason, actor, reference or db.uuid7())


def _change_balance(
    wallet: Wallet, kind: LedgerEntry.Kind, amount: int, reason: str, actor: User, reference: UUID
) -> LedgerEntry:
    operation = Credit(
        wallet_id=wallet.pk, amount=amount, reference=f"admin:{reference}", kind=kind, actor_id=actor.pk, reason=reason
    )
    return recorded(apply([operation])[0].or_raise(), wallet, actor)


def refund_charge(charge: LedgerEntry, *, amount: int, reason: str, actor: User, reference: UUID) -> LedgerEntry:
    """Give `amount` microcredits of a charge back, as an administrator; answers the ledger's entry.

    Raises `RefundTooLarge` when the refunds of the charge would exceed it.
    """

    def give_back() -> LedgerEntry:
        outcome = refund(charge, amount, reason=reason, actor=actor, reference=f"admin:{reference}")
        return recorded(outcome, charge.wallet, actor)

    return db.run_atomic(give_back)


def recorded(outcome: Outcome, wallet: Wallet, actor: User) -> LedgerEntry:
    """The outcome's entry, once in the audit log."""
    entry = outcome.entry
    assert entry is not None
    if not outcome.repeated:
        balances = (format_credits(entry.balance_after - entry.amount), format_credits(entry.balance_after))
        audit.record(actor, wallet, audit.CHANGED, {"balance": balances}, reason=entry.reason, entry=str(entry.pk))
    return entry
