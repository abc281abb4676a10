"""One operation on its way through `credits.ledger`: what it does to its wallet, decided before anything is written."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from aichat.core.database.models import uuid7
from credits.engines.base import Move
from credits.models import Counted, LedgerEntry, Limit
from credits.operations import Credit, Operation, OperationResult, Refund, Release, Reserve, Settle

Kind = LedgerEntry.Kind


@dataclass(slots=True)
class Step:
    """An operation with its effect on the wallet and its outcome."""

    operation: Operation
    outcome: OperationResult = field(default_factory=OperationResult)
    available: int = 0  # change of what is available
    held: int = 0  # change of what is held
    needs: int = 0  # how much must be available beforehand
    entry: LedgerEntry | None = None
    counted: list[Limit] = field(default_factory=list)  # the limits a reservation was counted in
    counters: Sequence[Counted] = ()  # where its hold was counted, when it closes or refunds one

    @property
    def is_live(self) -> bool:
        return not self.outcome.repeated and self.outcome.error is None

    @property
    def is_plain(self) -> bool:
        """Whether it is done without a look at what there is beside its hold and its wallet."""
        match self.operation:
            case Reserve(limits=limits):
                return not limits
            case Settle(hold=hold) | Release(hold=hold, if_expired_at=None):
                return not hold.counted
            case _:
                return False

    def plan(self, now: datetime) -> None:
        """What the operation does to the wallet, when nothing stands in its way."""
        match self.operation:
            case Reserve(amount=amount):
                self.available, self.held, self.needs = -amount, amount, amount
            case Settle(charge=charge) as operation:
                self.plan_charge(charge)
                if charge:
                    self.entry = entry(operation, Kind.CHARGE, -charge, operation.hold.reference, now)
            case Release():
                self.available = -self.held
            case Credit(amount=amount) as operation:
                self.available, self.needs = amount, max(0, -amount)
                self.entry = entry(operation, operation.kind, amount, operation.reference, now)
            case Refund(amount=amount) as operation:
                self.available = amount
                self.entry = entry(operation, operation.kind, amount, operation.reference, now)

    def plan_charge(self, charge: int) -> None:
        from_hold = -self.held
        self.outcome.charged = charge
        self.available = from_hold - charge
        self.needs = max(0, charge - from_hold)


def entry(
    operation: Settle | Credit | Refund, kind: LedgerEntry.Kind, amount: int, reference: str, now: datetime
) -> LedgerEntry:
    """Without its place in the chain, which the wallet's row gives it."""
    return LedgerEntry.unsaved(
        id=uuid7(),
        wallet_id=operation.wallet_id,
        sequence=0,
        kind=kind,
        amount=amount,
        balance_after=0,
        reference=reference,
        request_id=operation.request_id,
        actor_id=None if isinstance(operation, Settle) else operation.actor_id,
        reason=operation.reason,
        charge_id=operation.charge.id if isinstance(operation, Refund) else None,
        created_at=now,
        digest="",
    )


def move(wallet_id: UUID, steps: Sequence[Step]) -> Move:
    """What all the steps together do to their wallet."""
    available = held = entries = needs = closes = gains = 0
    for step in steps:
        available += step.available
        held += step.held
        needs += step.needs
        if step.held < 0:
            closes -= step.held
        if step.entry is not None:
            entries += 1
            if step.entry.amount > 0:
                gains += step.entry.amount
    return Move(wallet_id, available, held, entries, needs, closes, gains)
