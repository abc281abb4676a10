"""The verbs of the ledger: one class for each says how the verb is claimed, planned, counted and refused.

A `Step` is one operation on its way through `credits.ledger`. A new verb is an operation in `credits.operations`, a
class here and a line in `step_of`, where mypy and `assert_never` notice a verb that was left out.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, assert_never
from uuid import UUID

from django.db.models import F, Q, QuerySet

from aichat.core.database.models import uuid7
from credits import spending_limits
from credits.engines.base import Move
from credits.models import Counted, Hold, HoldRef, LedgerEntry, Limit, Wallet
from credits.operations import (
    BalanceTooLarge,
    Credit,
    InsufficientCreditsError,
    LedgerBroken,
    Operation,
    OperationResult,
    ReferenceTaken,
    Refund,
    Release,
    Reserve,
    Settle,
    UnknownHold,
)

Kind = LedgerEntry.Kind
State = Hold.State


class Step:
    """One operation, its effect on its wallet in microcredits, and its result."""

    __slots__ = ("available", "entry", "held", "lost_hold", "needs", "result", "wallet_id")

    def __init__(self, wallet_id: UUID) -> None:
        self.wallet_id = wallet_id
        self.result = OperationResult()
        self.available = 0  # the change of the free credits
        self.held = 0  # the change of the held credits
        self.needs = 0  # the least that must be free before
        self.entry: LedgerEntry | None = None
        self.lost_hold: HoldRef | None = None  # a crash of the database lost its row: it is written anew, as settled

    @property
    def is_live(self) -> bool:
        """Whether the operation is still to be done: not repeated, not refused."""
        return not self.result.repeated and self.result.error is None

    @property
    def is_plain(self) -> bool:
        """Whether the operation touches nothing but its hold and its wallet."""
        raise NotImplementedError

    def plan(self, now: datetime) -> None:
        """Set the effect on the wallet that the operation has when nothing stands in its way."""
        raise NotImplementedError

    def counters(self) -> "Sequence[Limit | Counted]":
        """The spending counters that the operation changes."""
        return ()

    def count(self, counter: "Limit | Counted") -> None:
        """Change one of the counters; a reservation may be refused by it."""
        raise NotImplementedError

    def refuse(self, wallet: Wallet) -> None:
        """Refuse the operation, because the wallet does not meet its guard, and undo what the operation has claimed.

        A settlement is never refused: it sets `needs` to what the wallet can give instead.
        """
        raise NotImplementedError


class ReserveStep(Step):
    """Moves credits from available to held and makes a hold."""

    __slots__ = ("counted", "operation")

    def __init__(self, operation: Reserve) -> None:
        super().__init__(operation.wallet_id)
        self.operation = operation
        self.counted: list[Limit] = []  # the limits in which the reservation was counted

    @property
    def is_plain(self) -> bool:
        return not self.operation.limits

    def plan(self, now: datetime) -> None:
        amount = self.operation.amount
        self.available, self.held, self.needs = -amount, amount, amount

    def counters(self) -> Sequence[Limit | Counted]:
        return self.operation.limits

    def count(self, counter: Limit | Counted) -> None:
        if not self.is_live or not isinstance(counter, Limit):
            return
        if spending_limits.count(counter, self.operation.amount):
            self.counted.append(counter)
        else:
            self.refuse_with(spending_limits.reached(counter, self.operation.amount))

    def refuse(self, wallet: Wallet) -> None:
        self.result.available = wallet.available
        self.refuse_with(InsufficientCreditsError(required=self.needs, available=wallet.available))

    def refuse_with(self, error: Exception) -> None:
        """Undo the counts and refuse with the error.

        A reservation that was made before is repeated instead: what lacks now may be what its own hold took.
        """
        for limit in self.counted:
            spending_limits.correct(limit.counter_id, limit.starts, -self.operation.amount)
        hold = self.operation.hold
        same = Q(pk=hold.id) | Q(wallet_id=hold.wallet_id, reference=hold.reference)
        found = set(Hold.objects.filter(same).values_list("pk", flat=True))
        if hold.id in found:
            self.result.repeated = True
        else:
            self.result.error = ReferenceTaken(f"wallet {hold.wallet_id}: {hold.reference}") if found else error


class ClosingStep(Step):
    """Closes a hold: a settlement or a release."""

    __slots__ = ("closed_as", "hold", "may_be_lost", "only_if_expired_at")
    state: ClassVar[Hold.State]

    def __init__(self, hold: HoldRef, may_be_lost: bool, only_if_expired_at: datetime | None = None) -> None:
        super().__init__(hold.wallet_id)
        self.hold, self.may_be_lost = hold, may_be_lost
        self.only_if_expired_at = only_if_expired_at  # when set, only a hold whose time had run out by then is closed
        self.closed_as = self.state if only_if_expired_at is None else State.EXPIRED

    @property
    def is_plain(self) -> bool:
        return not self.hold.counted and self.only_if_expired_at is None

    def claim_open(self) -> None:
        """Note that this operation has closed the hold."""
        self.held = -self.hold.amount

    def claim_closed(self, by: UUID, now: datetime) -> None:
        """Decide what to do about a hold that is not open: closed before, expired, lost or never made."""
        if Hold.objects.filter(pk=self.hold.id).exists():
            self.result.repeated = True
        elif self.may_be_lost:
            self.result.repeated = True  # nothing is held, so a release has nothing to give back
        else:
            self.result.error = UnknownHold(str(self.hold.id))

    def counters(self) -> Sequence[Limit | Counted]:
        return self.hold.counted

    def count(self, counter: Limit | Counted) -> None:
        spending_limits.correct(counter.counter_id, counter.starts, self.result.charged + self.held)


class SettleStep(ClosingStep):
    """Closes a hold with one charge."""

    __slots__ = ("operation",)
    state = State.SETTLED

    def __init__(self, operation: Settle) -> None:
        super().__init__(operation.hold, operation.hold_may_be_lost)
        self.operation = operation

    def claim_closed(self, by: UUID, now: datetime) -> None:
        """Settle a hold that expired under its request, or that a crash of the database lost, from what is available.

        The credits of such a hold are free again or were never taken. A hold that was settled before gives its charge.
        """
        hold = Hold.objects.filter(pk=self.hold.id)
        if hold.filter(state=State.EXPIRED).update(state=State.SETTLED, closed_at=now, closed_by=by):
            return
        if self.may_be_lost and not hold.exists():
            self.lost_hold = self.hold
            return
        super().claim_closed(by, now)
        if self.result.repeated:
            charge = LedgerEntry.objects.filter(
                wallet_id=self.wallet_id, kind=Kind.CHARGE, reference=self.hold.reference
            ).first()
            self.result.entry, self.result.charged = charge, -charge.amount if charge else 0

    def plan(self, now: datetime) -> None:
        charge = self.operation.charge
        self.plan_charge(charge)
        if charge:
            self.entry = new_entry(self.operation, Kind.CHARGE, -charge, self.hold.reference, now)

    def plan_charge(self, charge: int) -> None:
        self.result.charged = charge
        self.available = -self.held - charge
        self.needs = max(0, charge + self.held)

    def refuse(self, wallet: Wallet) -> None:
        """Cut the charge to what the wallet has, never below zero; the rest is the result's shortfall."""
        if wallet.held < -self.held or self.entry is None:
            raise LedgerBroken(f"wallet {self.wallet_id} holds less than its open holds")
        before = self.result.charged
        taken = min(self.operation.charge, wallet.available - self.held)
        self.plan_charge(taken)
        self.entry.amount, self.entry = -taken, self.entry if taken else None
        self.result.shortfall = self.operation.charge - taken
        for counter in self.hold.counted:
            spending_limits.correct(counter.counter_id, counter.starts, taken - before)


class ReleaseStep(ClosingStep):
    """Closes a hold without a charge."""

    __slots__ = ("operation",)
    state = State.RELEASED

    def __init__(self, operation: Release) -> None:
        super().__init__(operation.hold, operation.hold_may_be_lost, operation.if_expired_at)
        self.operation = operation

    def plan(self, now: datetime) -> None:
        self.available = -self.held

    def refuse(self, wallet: Wallet) -> None:
        raise LedgerBroken(f"wallet {self.wallet_id} holds less than its open holds")


class EntryStep(Step):
    """Writes an entry with a reference of its own: done once for each wallet, kind and reference."""

    __slots__ = ()
    is_plain = False  # whether it was done before is always looked up

    @property
    def identity(self) -> tuple[UUID, str, str]:
        """Wallet, kind and reference of the entry."""
        raise NotImplementedError


class CreditStep(EntryStep):
    """Adds credits to a wallet, or takes some away (an adjustment)."""

    __slots__ = ("operation",)

    def __init__(self, operation: Credit) -> None:
        super().__init__(operation.wallet_id)
        self.operation = operation

    @property
    def identity(self) -> tuple[UUID, str, str]:
        return self.wallet_id, str(self.operation.kind), self.operation.reference

    def plan(self, now: datetime) -> None:
        amount = self.operation.amount
        self.available, self.needs = amount, max(0, -amount)
        self.entry = new_entry(self.operation, self.operation.kind, amount, self.operation.reference, now)

    def refuse(self, wallet: Wallet) -> None:
        self.result.available, self.entry = wallet.available, None
        short = InsufficientCreditsError(required=self.needs, available=wallet.available)
        self.result.error = short if self.needs else BalanceTooLarge()


class RefundStep(EntryStep):
    """Gives a part of a charge back. The refunds of a charge are counted on its hold, by one conditional UPDATE."""

    __slots__ = ("counted", "operation")

    def __init__(self, operation: Refund) -> None:
        super().__init__(operation.wallet_id)
        self.operation = operation
        self.counted: Sequence[Counted] = ()  # what comes back was not spent: the counters of the hold are lowered

    @property
    def identity(self) -> tuple[UUID, str, str]:
        return self.wallet_id, str(self.operation.kind), self.operation.reference

    @property
    def hold(self) -> QuerySet[Hold]:
        """The row of the charge's hold."""
        return Hold.objects.filter(wallet_id=self.wallet_id, reference=self.operation.charge.reference)

    def plan(self, now: datetime) -> None:
        amount = self.operation.amount
        self.available = amount
        self.entry = new_entry(self.operation, self.operation.kind, amount, self.operation.reference, now)

    def counters(self) -> Sequence[Limit | Counted]:
        return self.counted

    def count(self, counter: Limit | Counted) -> None:
        spending_limits.correct(counter.counter_id, counter.starts, -self.operation.amount)

    def refuse(self, wallet: Wallet) -> None:
        self.result.available, self.entry = wallet.available, None
        self.hold.update(refunded=F("refunded") - self.operation.amount)
        for counter in self.counted:
            spending_limits.correct(counter.counter_id, counter.starts, self.operation.amount)
        self.result.error = BalanceTooLarge()


def step_of(operation: Operation) -> Step:
    """The step that does the operation."""
    match operation:
        case Reserve():
            return ReserveStep(operation)
        case Settle():
            return SettleStep(operation)
        case Release():
            return ReleaseStep(operation)
        case Credit():
            return CreditStep(operation)
        case Refund():
            return RefundStep(operation)
        case _:
            assert_never(operation)


def new_entry(
    operation: Settle | Credit | Refund, kind: LedgerEntry.Kind, amount: int, reference: str, now: datetime
) -> LedgerEntry:
    """An entry without its place in the chain, which the moved wallet's row gives it."""
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
    """The joint effect of all the steps on their wallet."""
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
