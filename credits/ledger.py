"""`apply`: the one way credits move.

The order of locks is always holds, spending counters, wallets, each sorted, so that two batches do not wait for each
other; where an engine still sees a conflict, `db.run_atomic` runs the batch again.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import DataError, IntegrityError
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts.models import Organization
from aichat import db
from aichat.money import LARGEST, to_microcredits
from credits import engines, limits
from credits.engines import portable
from credits.engines.base import Closing, Standing
from credits.models import Hold, HoldRef, LedgerEntry, Limit, Wallet
from credits.operations import (
    BalanceTooLarge,
    Credit,
    InsufficientCreditsError,
    LedgerBroken,
    Operation,
    Outcome,
    ReferenceTaken,
    Refund,
    RefundTooLarge,
    Release,
    Reserve,
    Settle,
    Unaffordable,
    UnknownHold,
    UnknownWallet,
)
from credits.steps import Step, move

Kind = LedgerEntry.Kind
State = Hold.State


def apply(operations: Sequence[Operation]) -> list[Outcome]:
    """Apply all operations in one commit and answer an outcome for each, in order; a bad one fails alone.

    Doing an operation twice is doing it once: each carries a reference, unique in its wallet. Inside a transaction of
    the caller's (`db.run_atomic`) it joins that.
    """
    if not operations:
        return []
    if db.in_transaction():
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


def apply_new(operations: Sequence[Operation]) -> list[Outcome]:
    """`apply` for a transaction of the caller's, without a look whether a reservation had been made before.

    Raises `IntegrityError` if one had: the caller then runs its transaction again, with `apply`.
    """
    return _apply(operations) if operations else []


def _apply_looking(operations: Sequence[Operation]) -> list[Outcome]:
    """As `_apply`, with a look first at what had been done before.

    An insert that collides all the same was raced: the whole transaction, also a caller's, must run again.
    """
    try:
        return _apply(operations, look=True)
    except IntegrityError as error:
        raise db.Conflict(str(error)) from error


def _apply(operations: Sequence[Operation], look: bool = False) -> list[Outcome]:
    now = _now()
    steps = [Step(operation) for operation in operations]
    _skip_repeated(steps, look)
    _claim_holds(steps, now)
    _claim_refunds(steps)
    for step in steps:
        if step.is_live:
            step.plan(now)
    _count(steps)
    by_wallet: dict[UUID, list[Step]] = defaultdict(list)
    for step in steps:
        if step.is_live:
            by_wallet[step.operation.wallet_id].append(step)
    standings = _move_wallets(by_wallet)
    _write_holds(steps, now)
    _write_entries(by_wallet, standings)
    return [step.outcome for step in steps]


# --- What was done before ---------------------------------------------------------------------------------------------


def _skip_repeated(steps: list[Step], look: bool) -> None:
    """Mark what the ledger has already, or what stands twice in the list.

    Grants are always looked up; reservations only once an insert has collided, because they are the hot path and their
    references are new.
    """
    credit_steps = [step for step in steps if isinstance(step.operation, Credit | Refund)]
    if credit_steps:
        _skip_known(credit_steps, _known_entries(credit_steps))
    reserving = [step for step in steps if isinstance(step.operation, Reserve)]
    if reserving and look:
        _skip_reserved(reserving)


def _known_entries(steps: list[Step]) -> dict[object, LedgerEntry | None]:
    """By identity. The lists may find more than was asked for (one wallet's reference in another), never less."""
    operations = [step.operation for step in steps if isinstance(step.operation, Credit | Refund)]
    rows = LedgerEntry.objects.filter(
        wallet_id__in={operation.wallet_id for operation in operations},
        kind__in={operation.kind for operation in operations},
        reference__in={operation.reference for operation in operations},
    )
    return {(row.wallet_id, row.kind, row.reference): row for row in rows}


def _skip_known(steps: list[Step], known: dict[object, LedgerEntry | None]) -> None:
    for step in steps:
        operation = step.operation
        if isinstance(operation, Credit | Refund):
            identity = operation.wallet_id, str(operation.kind), operation.reference
            if identity in known:
                step.outcome.repeated, step.outcome.entry = True, known[identity]
            known.setdefault(identity, None)


def _skip_reserved(steps: list[Step]) -> None:
    """Mark the reservations whose hold there is, and refuse those whose reference another hold of their wallet has."""
    asked = [(step, step.operation.hold) for step in steps if isinstance(step.operation, Reserve)]
    rows = Hold.objects.filter(
        Q(id__in=[hold.id for _, hold in asked])
        | Q(wallet_id__in={hold.wallet_id for _, hold in asked}, reference__in=[hold.reference for _, hold in asked])
    )
    owners = {
        (wallet_id, reference): pk for pk, wallet_id, reference in rows.values_list("id", "wallet_id", "reference")
    }
    made = set(owners.values())
    for step, hold in asked:
        if hold.id in made:
            step.outcome.repeated = True
        elif owners.setdefault((hold.wallet_id, hold.reference), hold.id) != hold.id:
            step.outcome.error = ReferenceTaken(f"wallet {hold.wallet_id}: {hold.reference}")
        else:
            made.add(hold.id)


def _claim_holds(steps: list[Step], now: datetime) -> None:
    """Close the holds of settlements and releases: the row count of a conditional UPDATE says whether all were open."""
    groups: dict[tuple[State, datetime | None], list[tuple[Step, HoldRef]]] = defaultdict(list)
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
        closing = Closing(state, at=now, by=db.uuid7(), expired_at=moment)
        ours = engines.current().close_holds(sorted({hold.id for _, hold in group}), closing)
        for step, hold in group:
            step.counters = hold.counted
            if hold.id in ours:
                ours.discard(hold.id)  # a twin in this list comes too late
                step.held = -hold.amount
            else:
                _claim_closed(step, hold, closing)


def _claim_closed(step: Step, hold: HoldRef, closing: Closing) -> None:
    """The hold was not open. One that expired under its request can still be settled: the credits went back, the charge
    takes what is available now. Otherwise it was closed before, or never made."""
    row = Hold.objects.filter(id=hold.id)
    settles = closing.state == State.SETTLED
    if settles and row.filter(state=State.EXPIRED).update(
        state=closing.state, closed_at=closing.at, closed_by=closing.by
    ):
        return
    if not row.exists():
        step.outcome.error = UnknownHold(str(hold.id))
        return
    step.outcome.repeated = True
    if settles:
        charge = LedgerEntry.objects.filter(wallet_id=hold.wallet_id, kind=Kind.CHARGE, reference=hold.reference)
        step.outcome.entry = charge.first()
        step.outcome.charged = -step.outcome.entry.amount if step.outcome.entry else 0


def _claim_refunds(steps: list[Step]) -> None:
    """The refunds of a charge are counted on its hold, by the same kind of guard as a balance.

    What comes back was not spent, so the hold's spending counters are lowered too while their period runs.
    """
    for step in steps:
        operation = step.operation
        if isinstance(operation, Refund) and step.is_live:
            room = operation.charge.amount - operation.amount
            hold = _hold_of(operation)
            if not hold.filter(refunded__lte=room).update(refunded=F("refunded") + operation.amount):
                step.outcome.error = RefundTooLarge()
            else:
                step.counters = hold.get().ref.counted


def _hold_of(refund: Refund) -> QuerySet[Hold]:
    return Hold.objects.filter(wallet_id=refund.wallet_id, reference=refund.charge.reference)


# --- Spending limits --------------------------------------------------------------------------------------------------


def _count(steps: list[Step]) -> None:
    """Hold reservations against their spending limits, and correct the count of what is settled or released."""
    changes: list[tuple[UUID, Step, Limit | None]] = []
    for step in steps:
        if not step.is_live:
            continue
        match step.operation:
            case Reserve(limits=limits_):
                changes += [(limit.counter_id, step, limit) for limit in limits_]
            case Settle() | Release() | Refund():
                changes += [(counter.counter_id, step, None) for counter in step.counters]
    for counter_id, step, limit in sorted(changes, key=lambda change: change[0]):
        match step.operation:
            case Reserve(amount=amount) if limit and step.is_live:
                if limits.count(limit, amount):
                    step.counted.append(limit)
                else:
                    _refuse_reservation(step, step.operation, limits.reached(limit, amount))
            case Settle() | Release():
                _correct(step, step.outcome.charged + step.held, counter_id)
            case Refund(amount=amount):
                _correct(step, -amount, counter_id)


def _correct(step: Step, change: int, counter_id: UUID | None = None) -> None:
    """Correct the count of the step's hold, in one of its counters or in all."""
    for counter in step.counters:
        if counter_id in {None, counter.counter_id}:
            limits.correct(counter.counter_id, counter.starts, change)


def _refuse_reservation(step: Step, operation: Reserve, error: Unaffordable) -> None:
    """Undo what was counted for it. Done before, it is no refusal: its own hold may be what now lacks."""
    for limit in step.counted:
        limits.correct(limit.counter_id, limit.starts, -operation.amount)
    _skip_reserved([step])
    if step.is_live:
        step.outcome.error = error


# --- Doing it ---------------------------------------------------------------------------------------------------------


def _move_wallets(by_wallet: dict[UUID, list[Step]]) -> dict[UUID, Standing]:
    """All steps of a wallet by one guarded statement, or, when together they are refused, one by one."""
    moves = [move(wallet_id, by_wallet[wallet_id]) for wallet_id in sorted(by_wallet)]
    sane = [move for move in moves if max(move.needs, move.closes, move.gains) <= LARGEST]
    standings = engines.current().move_wallets(sane) if sane else {}
    alone = [move.wallet_id for move in moves if move.wallet_id not in standings]
    for wallet_id in alone:
        for step in by_wallet[wallet_id]:
            _move_alone(wallet_id, step)
    return standings | portable.standings({wallet_id: _entries(by_wallet[wallet_id]) for wallet_id in alone})


def _entries(steps: list[Step]) -> int:
    return sum(step.entry is not None for step in steps if step.is_live)


def _move(wallet_id: UUID, step: Step) -> bool:
    return portable.move_wallet(move(wallet_id, [step]))


def _move_alone(wallet_id: UUID, step: Step) -> None:
    """One operation after the joint UPDATE was refused: do it, cut it to what is there, or refuse it."""
    if _move(wallet_id, step):
        return
    try:
        wallet = Wallet.objects.filter(pk=wallet_id).first() or open_wallet(wallet_id)
    except Organization.DoesNotExist:
        step.outcome.error = UnknownWallet(str(wallet_id))
        return
    if _move(wallet_id, step):
        return
    match step.operation:
        case Settle(charge=charge):
            _charge_what_is_there(wallet_id, step, charge)
        case Release():
            raise LedgerBroken(f"wallet {wallet_id} holds less than its open holds")
        case operation:
            _refuse(step, operation, wallet)


def _refuse(step: Step, operation: Reserve | Credit | Refund, wallet: Wallet) -> None:
    short = InsufficientCreditsError(required=step.needs, available=wallet.available)
    step.outcome.available, step.entry = wallet.available, None
    match operation:
        case Reserve():
            _refuse_reservation(step, operation, short)
        case Refund(amount=amount):
            _hold_of(operation).update(refunded=F("refunded") - amount)
            _correct(step, amount)
            step.outcome.error = BalanceTooLarge()
        case Credit():
            step.outcome.error = short if step.needs else BalanceTooLarge()


def _charge_what_is_there(wallet_id: UUID, step: Step, charge: int) -> None:
    """A charge beyond its hold, with too little available: take what there is, never below zero, and say what lacks."""
    entry = step.entry
    while True:
        wallet = Wallet.objects.get(pk=wallet_id)
        if wallet.held < -step.held or entry is None:
            raise LedgerBroken(f"wallet {wallet_id} holds less than its open holds")
        taken = min(charge, wallet.available - step.held)
        step.plan_charge(taken)
        entry.amount, step.entry = -taken, entry if taken else None
        if _move(wallet_id, step):
            break
    step.outcome.shortfall = charge - taken
    _correct(step, taken - charge)


def _write_holds(steps: list[Step], now: datetime) -> None:
    holds = [
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
        }
        for step in steps
        if isinstance(operation := step.operation, Reserve) and step.is_live
    ]
    db.insert_values(Hold, holds)


def _write_entries(by_wallet: dict[UUID, list[Step]], standings: dict[UUID, Standing]) -> None:
    """Number and chain the new entries. The wallets' rows are ours until the commit, so nobody else takes a number."""
    entries: list[LedgerEntry] = []
    for wallet_id, standing in standings.items():
        live = [step for step in by_wallet[wallet_id] if step.is_live]
        for step in live:
            step.outcome.available = standing.available
            step.outcome.entry = step.entry
        fresh = [step.entry for step in live if step.entry]
        sequence = standing.sequence - len(fresh)
        balance = standing.available + standing.held - sum(entry.amount for entry in fresh)
        digest = standing.digest or ""
        for entry in fresh:
            sequence += 1
            balance += entry.amount
            entry.sequence, entry.balance_after = sequence, balance
            entry.digest = digest = entry.digest_after(digest)
        entries += fresh
    db.insert(entries)


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
