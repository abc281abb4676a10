"""`apply`: the one way credits move.

The order of locks is always holds, spending counters, wallets, each sorted, so that two batches do not wait for each
other; where an engine still sees a conflict, `db.run_atomic` runs the batch again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import DataError, IntegrityError
from django.db.models import F
from django.utils import timezone

from accounts.models import Organization
from aichat.core.database import transactions
from aichat.core.database.statements import NewRow, insert_rows
from aichat.core.money import LARGEST, to_microcredits
from credits import engines, guards, new_rows, spending_limits
from credits.engines import portable
from credits.engines.base import Closings, Move, Standing
from credits.models import Hold, LedgerEntry, Limit, Wallet
from credits.operations import (
    BalanceTooLarge,
    Credit,
    InsufficientCreditsError,
    LedgerBroken,
    Operation,
    OperationResult,
    Refund,
    Release,
    Reserve,
    Settle,
    Unaffordable,
    UnknownWallet,
)
from credits.planning import Step, move

Kind = LedgerEntry.Kind
State = Hold.State
Standings = dict[UUID, Standing]


def apply(operations: Sequence[Operation]) -> list[OperationResult]:
    """Apply all operations in one commit and answer an outcome for each, in order; a bad one fails alone.

    Doing an operation twice is doing it once: each carries a reference, unique in its wallet. Inside a transaction of
    the caller's (`db.run_atomic`) it joins that.
    """
    if not operations:
        return []
    if transactions.in_transaction():
        return _apply_looking(operations)
    try:
        return transactions.run_atomic(_apply, operations)
    except transactions.OutcomeUnknown as unknown:
        return transactions.run_again(unknown, _apply_looking, operations)
    except (IntegrityError, DataError, LedgerBroken):
        pass  # one was done before, or somebody else did one at this moment, or one is bad
    try:
        return transactions.run_repeatable(_apply_looking, operations)
    except (IntegrityError, DataError, LedgerBroken, transactions.Conflict) as error:
        if len(operations) == 1:
            return [OperationResult(error=error)]
        return [apply([operation])[0] for operation in operations]


def apply_new(
    operations: Sequence[Operation], also: Callable[[list[OperationResult]], Iterable[NewRow]], *, last: bool = False
) -> list[OperationResult]:
    """`apply` in a transaction of the caller's, presuming that nothing was done before; `also` answers the rows to be
    written with the outcomes. With `last`, for who began the transaction, its end goes to the database with them.

    Raises `IntegrityError` if something had been done: the caller then runs its transaction again, with `apply`.
    """
    now = _now()
    steps = [Step(operation) for operation in operations]
    move_all = _close_and_move if all(step.is_plain for step in steps) else _claim_and_move
    found = move_all(steps, now)
    outcomes = [step.outcome for step in steps]
    insert_rows([*new_rows.of(steps, found, now), *also(outcomes)], last=last)
    return outcomes


def _apply_looking(operations: Sequence[Operation]) -> list[OperationResult]:
    """As `_apply`, with a look first at what had been done before.

    An insert that collides all the same was raced: the whole transaction, also a caller's, must run again.
    """
    try:
        return _apply(operations, look=True)
    except IntegrityError as error:
        raise transactions.Conflict(str(error)) from error


def _apply(operations: Sequence[Operation], look: bool = False) -> list[OperationResult]:
    now = _now()
    steps = [Step(operation) for operation in operations]
    found = _claim_and_move(steps, now, look)
    insert_rows(new_rows.of(steps, found, now))
    return [step.outcome for step in steps]


def _claim_and_move(steps: list[Step], now: datetime, look: bool = False) -> Standings:
    guards.skip_repeated(steps, look)
    guards.claim_holds(steps, now)
    guards.claim_refunds(steps)
    for step in steps:
        if step.is_live:
            step.plan(now)
    _count(steps)
    return _move_wallets(steps)


def _close_and_move(steps: list[Step], now: datetime) -> Standings:
    """The same when every hold is presumed to be open: the database is asked once."""
    closings = guards.presume_open(steps, now)
    for step in steps:
        step.plan(now)
    return _move_wallets(steps, closings)


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
                if spending_limits.count(limit, amount):
                    step.counted.append(limit)
                else:
                    _refuse_reservation(step, step.operation, spending_limits.reached(limit, amount))
            case Settle() | Release():
                _correct(step, step.outcome.charged + step.held, counter_id)
            case Refund(amount=amount):
                _correct(step, -amount, counter_id)


def _correct(step: Step, change: int, counter_id: UUID | None = None) -> None:
    """Correct the count of the step's hold, in one of its counters or in all."""
    for counter in step.counters:
        if counter_id in {None, counter.counter_id}:
            spending_limits.correct(counter.counter_id, counter.starts, change)


def _refuse_reservation(step: Step, operation: Reserve, error: Unaffordable) -> None:
    """Undo what was counted for it. Done before, it is no refusal: its own hold may be what now lacks."""
    for limit in step.counted:
        spending_limits.correct(limit.counter_id, limit.starts, -operation.amount)
    guards.skip_reserved([step])
    if step.is_live:
        step.outcome.error = error


# --- Doing it ---------------------------------------------------------------------------------------------------------


def _move_wallets(steps: list[Step], closings: Closings = ()) -> Standings:
    """All steps of a wallet by one guarded statement, or, when together they are refused, one by one."""
    by_wallet: dict[UUID, list[Step]] = defaultdict(list)
    for step in steps:
        if step.is_live:
            by_wallet[step.operation.wallet_id].append(step)
    moves = [move(wallet_id, by_wallet[wallet_id]) for wallet_id in sorted(by_wallet)]
    sane = [move for move in moves if max(move.needs, move.closes, move.gains) <= LARGEST]
    standings = _moved(sane, closings)
    alone = [move.wallet_id for move in moves if move.wallet_id not in standings]
    for wallet_id in alone:
        for step in by_wallet[wallet_id]:
            _move_alone(wallet_id, step)
    return standings | portable.standings({wallet_id: _entries(by_wallet[wallet_id]) for wallet_id in alone})


def _moved(moves: list[Move], closings: Closings) -> Standings:
    engine = engines.current()
    if not closings:
        return engine.move_wallets(moves) if moves else {}
    closed, standings = engine.close_and_move(closings, moves)
    if closed < sum(len(ids) for _, ids in closings):
        raise IntegrityError("a hold was not open")
    return standings


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
            guards.hold_of(operation).update(refunded=F("refunded") - amount)
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
