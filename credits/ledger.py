"""`apply`: the one way credits move.

The order of locks is always holds, spending counters, wallets, each sorted, so that two batches do not wait for each
other; where an engine still sees a conflict, `db.run_atomic` runs the batch again.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import DataError, IntegrityError, connection
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts.models import Organization
from aichat import db
from aichat.money import LARGEST, to_microcredits
from credits import limits
from credits.models import Hold, HoldRef, LedgerEntry, Limit, Wallet
from credits.operations import (
    BalanceTooLarge,
    Credit,
    InsufficientCreditsError,
    LedgerBroken,
    Operation,
    Outcome,
    Refund,
    RefundTooLarge,
    Release,
    Reserve,
    Settle,
    Unaffordable,
    UnknownHold,
    UnknownWallet,
)

Kind = LedgerEntry.Kind
State = Hold.State


def apply(operations: Sequence[Operation]) -> list[Outcome]:
    """Apply all operations in one commit and answer an outcome for each, in order; a bad one fails alone.

    Doing an operation twice is doing it once: each carries a reference, unique in its wallet. Inside a transaction of
    the caller's (`db.run_atomic`) it joins that.
    """
    if not operations:
        return []
    if connection.in_atomic_block:
        return _apply_looking(operations)
    try:
        return db.run_atomic(_apply, operations)
    except (IntegrityError, DataError, LedgerBroken):
        pass  # one was done before, or somebody else did one at this moment, or one is bad
    try:
        return db.run_atomic(_apply_looking, operations)
    except (IntegrityError, DataError, LedgerBroken, db.Conflict) as error:
        if len(operations) == 1:
            return [Outcome(error=error)]
        return [apply([operation])[0] for operation in operations]


def _apply_looking(operations: Sequence[Operation]) -> list[Outcome]:
    """As `_apply`, with a look first at what had been done before.

    An insert that collides all the same was raced: the whole transaction, also a caller's, must run again.
    """
    try:
        return _apply(operations, look=True)
    except IntegrityError as error:
        raise db.Conflict(str(error)) from error


@dataclass(slots=True)
class _Step:
    """One operation on its way through `_apply`: its effect on the wallet, and its outcome."""

    operation: Operation
    outcome: Outcome = field(default_factory=Outcome)
    available: int = 0  # change of what is available
    held: int = 0  # change of what is held
    needs: int = 0  # how much must be available beforehand
    entry: LedgerEntry | None = None
    counted: list[Limit] = field(default_factory=list)

    @property
    def is_live(self) -> bool:
        return not self.outcome.repeated and self.outcome.error is None


def _apply(operations: Sequence[Operation], look: bool = False) -> list[Outcome]:
    now = _now()
    steps = [_Step(operation) for operation in operations]
    _skip_repeated(steps, look)
    _claim_holds(steps, now)
    _claim_refunds(steps)
    for step in steps:
        if step.is_live:
            _plan(step, now)
    _count(steps)
    by_wallet: dict[UUID, list[_Step]] = defaultdict(list)
    for step in steps:
        if step.is_live:
            by_wallet[step.operation.wallet_id].append(step)
    for wallet_id in sorted(by_wallet):
        if not _move(wallet_id, by_wallet[wallet_id]):
            for step in by_wallet[wallet_id]:
                _move_alone(wallet_id, step)
    _write_holds(steps, now)
    _write_entries(by_wallet)
    return [step.outcome for step in steps]


# --- What was done before ---------------------------------------------------------------------------------------------


def _skip_repeated(steps: list[_Step], look: bool) -> None:
    """Mark what the ledger has already, or what stands twice in the list.

    Grants are always looked up; reservations only once an insert has collided, because they are the hot path and their
    references are new.
    """
    credit_steps = [step for step in steps if isinstance(step.operation, Credit | Refund)]
    if credit_steps:
        _skip_known(credit_steps, _known_entries(credit_steps))
    reserving = [step for step in steps if isinstance(step.operation, Reserve)]
    if reserving and look:
        ids = [step.operation.hold_id for step in reserving if isinstance(step.operation, Reserve)]
        _skip_known(reserving, dict.fromkeys(Hold.objects.filter(id__in=ids).values_list("id", flat=True)))


def _identity(operation: Operation) -> object:
    match operation:
        case Credit() | Refund():
            return operation.wallet_id, str(operation.kind), operation.reference
        case Reserve(hold_id=hold_id):
            return hold_id
    return None


def _known_entries(steps: list[_Step]) -> dict[object, LedgerEntry | None]:
    """By identity. The lists may find more than was asked for (one wallet's reference in another), never less."""
    operations = [step.operation for step in steps if isinstance(step.operation, Credit | Refund)]
    rows = LedgerEntry.objects.filter(
        wallet_id__in={operation.wallet_id for operation in operations},
        kind__in={operation.kind for operation in operations},
        reference__in={operation.reference for operation in operations},
    )
    return {(row.wallet_id, row.kind, row.reference): row for row in rows}


def _skip_known(steps: list[_Step], known: dict[object, LedgerEntry | None]) -> None:
    for step in steps:
        identity = _identity(step.operation)
        if identity in known:
            step.outcome.repeated, step.outcome.entry = True, known[identity]
        known.setdefault(identity, None)


def _claim_holds(steps: list[_Step], now: datetime) -> None:
    """Close the holds of settlements and releases: the row count of a conditional UPDATE says whether all were open."""
    groups: dict[tuple[State, datetime | None], list[tuple[_Step, HoldRef]]] = defaultdict(list)
    for step in steps:
        match step.operation:
            case Settle(hold=hold):
                groups[State.SETTLED, None].append((step, hold))
            case Release(hold=hold, if_expired_at=None):
                groups[State.RELEASED, None].append((step, hold))
            case Release(hold=hold, if_expired_at=moment):
                groups[State.EXPIRED, moment].append((step, hold))
    for (state, moment), group in groups.items():
        # A token for each group, not for the batch: a settlement and a release of one hold must not both find theirs.
        claim = db.uuid7()
        closing = {"state": state, "closed_at": now, "closed_by": claim}
        ids = sorted({hold.id for _, hold in group})
        open_ones = Hold.objects.filter(id__in=ids, state=State.OPEN)
        if moment is not None:
            open_ones = open_ones.filter(expires_at__lte=moment)
        ours = set(ids)
        if open_ones.update(**closing) < len(group):
            ours = set(Hold.objects.filter(id__in=ids, closed_by=claim).values_list("id", flat=True))
        for step, hold in group:
            if hold.id in ours:
                ours.discard(hold.id)  # a twin in this list comes too late
                step.held = -hold.amount
            else:
                _claim_closed(step, hold, closing)


def _claim_closed(step: _Step, hold: HoldRef, closing: dict[str, object]) -> None:
    """The hold was not open. One that expired under its request can still be settled: the credits went back, the charge
    takes what is available now. Otherwise it was closed before, or never made."""
    row = Hold.objects.filter(id=hold.id)
    if closing["state"] == State.SETTLED and row.filter(state=State.EXPIRED).update(**closing):
        return
    if not row.exists():
        step.outcome.error = UnknownHold(str(hold.id))
        return
    step.outcome.repeated = True
    if closing["state"] == State.SETTLED:
        charge = LedgerEntry.objects.filter(wallet_id=hold.wallet_id, kind=Kind.CHARGE, reference=hold.reference)
        step.outcome.entry = charge.first()
        step.outcome.charged = -step.outcome.entry.amount if step.outcome.entry else 0


def _claim_refunds(steps: list[_Step]) -> None:
    """The refunds of a charge are counted on its hold, by the same kind of guard as a balance."""
    for step in steps:
        operation = step.operation
        if isinstance(operation, Refund) and step.is_live:
            room = operation.charge.amount - operation.amount
            if not _hold_of(operation).filter(refunded__lte=room).update(refunded=F("refunded") + operation.amount):
                step.outcome.error = RefundTooLarge()


def _hold_of(refund: Refund) -> QuerySet[Hold]:
    return Hold.objects.filter(wallet_id=refund.wallet_id, reference=refund.charge.reference)


# --- What is to be done -----------------------------------------------------------------------------------------------


def _plan(step: _Step, now: datetime) -> None:
    """What the operation does to the wallet, when nothing stands in its way."""
    match step.operation:
        case Reserve(amount=amount):
            step.available, step.held, step.needs = -amount, amount, amount
        case Settle(charge=charge) as operation:
            _plan_charge(step, charge)
            if charge:
                step.entry = _entry(operation, Kind.CHARGE, -charge, operation.hold.reference, now)
        case Release():
            step.available = -step.held
        case Credit(amount=amount) as operation:
            step.available, step.needs = amount, max(0, -amount)
            step.entry = _entry(operation, operation.kind, amount, operation.reference, now)
        case Refund(amount=amount) as operation:
            step.available = amount
            step.entry = _entry(operation, operation.kind, amount, operation.reference, now)
            step.entry.charge_id = operation.charge.id


def _plan_charge(step: _Step, charge: int) -> None:
    from_hold = -step.held
    step.outcome.charged = charge
    step.available = from_hold - charge
    step.needs = max(0, charge - from_hold)


def _entry(
    operation: Settle | Credit | Refund, kind: LedgerEntry.Kind, amount: int, reference: str, now: datetime
) -> LedgerEntry:
    return LedgerEntry(
        wallet_id=operation.wallet_id,
        kind=kind,
        amount=amount,
        reference=reference,
        request_id=operation.request_id,
        actor_id=None if isinstance(operation, Settle) else operation.actor_id,
        reason=operation.reason,
        created_at=now,
    )


def _count(steps: list[_Step]) -> None:
    """Hold reservations against their spending limits, and correct the count of what is settled or released."""
    changes: list[tuple[UUID, _Step, Limit | None]] = []
    for step in steps:
        if not step.is_live:
            continue
        match step.operation:
            case Reserve(limits=limits_):
                changes += [(limit.counter_id, step, limit) for limit in limits_]
            case Settle(hold=hold) | Release(hold=hold):
                changes += [(counter.counter_id, step, None) for counter in hold.counted]
    for counter_id, step, limit in sorted(changes, key=lambda change: change[0]):
        match step.operation:
            case Reserve(amount=amount) if limit and step.is_live:
                if limits.count(limit, amount):
                    step.counted.append(limit)
                else:
                    _refuse_reservation(step, step.operation, limits.reached(limit, amount))
            case Settle(hold=hold) | Release(hold=hold):
                starts = next(counter.starts for counter in hold.counted if counter.counter_id == counter_id)
                limits.correct(counter_id, starts, step.outcome.charged + step.held)


def _refuse_reservation(step: _Step, operation: Reserve, error: Unaffordable) -> None:
    """Undo what was counted for it. Done before, it is no refusal: its own hold may be what now lacks."""
    for limit in step.counted:
        limits.correct(limit.counter_id, limit.starts, -operation.amount)
    if Hold.objects.filter(id=operation.hold_id).exists():
        step.outcome.repeated = True
    else:
        step.outcome.error = error


# --- Doing it ---------------------------------------------------------------------------------------------------------


def _move(wallet_id: UUID, steps: list[_Step]) -> bool:
    """THE guard: one conditional UPDATE, whose row count is the answer. All steps or none."""
    wallet = Wallet.objects.filter(
        pk=wallet_id,
        available__gte=sum(step.needs for step in steps),
        held__gte=-sum(step.held for step in steps if step.held < 0),
    )
    gained = sum(step.entry.amount for step in steps if step.entry and step.entry.amount > 0)
    if gained:  # engines differ in what they do with a sum beyond 64 bits; none of it is right
        wallet = wallet.filter(available__lte=LARGEST - gained - F("held"))
    return bool(
        wallet.update(
            available=F("available") + sum(step.available for step in steps),
            held=F("held") + sum(step.held for step in steps),
            sequence=F("sequence") + sum(step.entry is not None for step in steps),
        )
    )


def _move_alone(wallet_id: UUID, step: _Step) -> None:
    """One operation after the joint UPDATE was refused: do it, cut it to what is there, or refuse it."""
    if _move(wallet_id, [step]):
        return
    try:
        wallet = Wallet.objects.filter(pk=wallet_id).first() or open_wallet(wallet_id)
    except Organization.DoesNotExist:
        step.outcome.error = UnknownWallet(str(wallet_id))
        return
    if _move(wallet_id, [step]):
        return
    match step.operation:
        case Settle(charge=charge):
            _charge_what_is_there(wallet_id, step, charge)
        case Release():
            raise LedgerBroken(f"wallet {wallet_id} holds less than its open holds")
        case operation:
            _refuse(step, operation, wallet)


def _refuse(step: _Step, operation: Reserve | Credit | Refund, wallet: Wallet) -> None:
    short = InsufficientCreditsError(required=step.needs, available=wallet.available)
    step.outcome.available, step.entry = wallet.available, None
    match operation:
        case Reserve():
            _refuse_reservation(step, operation, short)
        case Refund(amount=amount):
            _hold_of(operation).update(refunded=F("refunded") - amount)
            step.outcome.error = BalanceTooLarge()
        case Credit():
            step.outcome.error = short if step.needs else BalanceTooLarge()


def _charge_what_is_there(wallet_id: UUID, step: _Step, charge: int) -> None:
    """A charge beyond its hold, with too little available: take what there is, never below zero, and say what lacks."""
    entry = step.entry
    while True:
        wallet = Wallet.objects.get(pk=wallet_id)
        if wallet.held < -step.held or entry is None:
            raise LedgerBroken(f"wallet {wallet_id} holds less than its open holds")
        taken = min(charge, wallet.available - step.held)
        _plan_charge(step, taken)
        entry.amount, step.entry = -taken, entry if taken else None
        if _move(wallet_id, [step]):
            break
    step.outcome.shortfall = charge - taken
    assert isinstance(step.operation, Settle)
    for counter_id, starts in step.operation.hold.counted:
        limits.correct(counter_id, starts, taken - charge)


def _write_holds(steps: list[_Step], now: datetime) -> None:
    holds = [
        Hold(
            id=operation.hold_id,
            wallet_id=operation.wallet_id,
            amount=operation.amount,
            reference=operation.hold.reference,
            request_id=operation.request_id,
            expires_at=operation.expires_at,
            created_at=now,
            counted=[(str(limit.counter_id), limit.starts.isoformat()) for limit in step.counted] or None,
        )
        for step in steps
        if isinstance(operation := step.operation, Reserve) and step.is_live
    ]
    if holds:
        Hold.objects.bulk_create(holds)


def _write_entries(by_wallet: dict[UUID, list[_Step]]) -> None:
    """Number and chain the new entries. The wallets' rows are ours until the commit, so nobody else takes a number."""
    live = {wallet_id: [step for step in steps if step.is_live] for wallet_id, steps in by_wallet.items()}
    touched = {
        wallet_id: steps
        for wallet_id, steps in live.items()
        if not all(isinstance(step.operation, Reserve) for step in steps)
    }
    if not touched:
        return
    wallets = Wallet.objects.in_bulk(touched)
    fresh = {wallet_id: [step for step in steps if step.entry] for wallet_id, steps in touched.items()}
    digests = _last_digests(
        {wallet_id: wallets[wallet_id].sequence - len(steps) for wallet_id, steps in fresh.items() if steps}
    )
    entries = []
    for wallet_id, steps in touched.items():
        wallet = wallets[wallet_id]
        for step in steps:
            step.outcome.available = wallet.available
        sequence = wallet.sequence - len(fresh[wallet_id])
        balance = wallet.balance - sum(step.entry.amount for step in fresh[wallet_id] if step.entry)
        digest = digests.get(wallet_id, "")
        for step in fresh[wallet_id]:
            entry = step.entry
            assert entry is not None
            sequence += 1
            balance += entry.amount
            entry.sequence, entry.balance_after = sequence, balance
            entry.digest = digest = entry.digest_after(digest)
            step.outcome.entry = entry
            entries.append(entry)
    LedgerEntry.objects.bulk_create(entries)


def _last_digests(sequences: dict[UUID, int]) -> dict[UUID, str]:
    """The digest of the entry with the given sequence, per wallet."""
    wanted = Q()
    for wallet_id, sequence in sequences.items():
        if sequence:
            wanted |= Q(wallet_id=wallet_id, sequence=sequence)
    return dict(LedgerEntry.objects.filter(wanted).values_list("wallet_id", "digest")) if wanted else {}


def open_wallet(organization_id: UUID) -> Wallet:
    """Make the wallet, with starter credits when it is a person's (a team's would be free credits for any member)."""
    organization = Organization.objects.get(pk=organization_id)
    wallet = Wallet.objects.create(pk=organization_id)
    starter = to_microcredits(settings.STARTER_CREDITS)
    if organization.is_personal and starter:
        welcome = Credit(
            wallet_id=organization_id, amount=starter, reference="starter", kind=Kind.STARTER, reason="Welcome"
        )
        _apply([welcome])
        wallet.refresh_from_db()
    return wallet


def _now() -> datetime:
    """Now, in whole milliseconds: MongoDB keeps no more, and the digest of an entry must be the same everywhere."""
    now = timezone.now()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
