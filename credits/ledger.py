"""`apply`: the one way credits move.

The phases of a list of operations, in one transaction, top to bottom in this file:

1. claim: mark the operations that were done before, close holds, count refunds (`guards`)
2. plan: compute the effect of each operation on its wallet (`planning`)
3. count: hold reservations against their spending limits
4. move: change each wallet by one guarded UPDATE for all its operations, else by one for each operation
5. write: insert the new holds and entries

Locks are taken in the order holds, counters, wallets, each sorted, so two lists don't wait for each other; where an
engine still sees a conflict, `run_atomic` runs the list again. MongoDB has no locks to wait for, only conflicts.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import starmap
from operator import attrgetter
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError

from accounts.models import Organization
from aichat.core.database import clock, transactions
from aichat.core.database.statements import NewRow, insert_rows
from aichat.core.money import LARGEST, to_microcredits
from credits import engines, guards
from credits.engines import portable
from credits.engines.base import Chain, Closings, Count, Move, Standing
from credits.models import Hold, HoldRef, LedgerEntry, Wallet
from credits.operations import Credit, LedgerBroken, Operation, OperationResult, Reserve, UnknownWallet
from credits.planning import ClosingStep, ReserveStep, Step, move, step_of

Kind = LedgerEntry.Kind
State = Hold.State
Standings = dict[UUID, Standing]
IS_PLAIN = attrgetter("is_plain")


def apply(operations: Sequence[Operation]) -> list[OperationResult]:
    """Do all operations in one commit; return a result for each, in order. A bad operation fails alone.

    Doing an operation twice is doing it once: each carries a reference, unique in its wallet. Inside a transaction of
    the caller's (`run_atomic`) the operations join that transaction.
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
        pass  # an operation was done before, another process is doing it now, or one is bad
    try:
        return transactions.run_repeatable(_apply_looking, operations)
    except (IntegrityError, DataError, LedgerBroken, transactions.Conflict) as error:
        if len(operations) == 1:
            return [OperationResult(error=error)]
        return [apply([operation])[0] for operation in operations]


def move_new(operations: Sequence[Operation]) -> tuple[list[OperationResult], list[NewRow]]:
    """Do operations of which none was done before, up to the writing: return the results and the rows to insert.

    The caller inserts the rows in the same transaction. Raises `IntegrityError`, there or here, if an operation had
    been done before: the caller then runs its transaction again, with `apply`.
    """
    now = now_in_milliseconds()
    steps = [step_of(operation) for operation in operations]
    if all(map(IS_PLAIN, steps)):
        closing = [step for step in steps if isinstance(step, ClosingStep)]
        closings = (
            guards.presume_open(closing, now) if closing else []
        )  # confirmed in the round trip that moves the wallets
        for step in steps:
            step.plan(now)
        standings = _move_wallets(steps, closings)
    else:
        standings = _claim_and_move(steps, now, look=False)
    return [step.result for step in steps], _new_rows(steps, standings, now)


def reserve_new(operations: Sequence[Reserve]) -> list[OperationResult] | None:
    """Make new reservations in a transaction of their own that does not wait for the disk, by few round trips.

    None when the database can't do that, or asks for another try: then nothing was done. A reservation whose wallet
    refuses gets its result from `apply`, afterwards; where spending limits are counted, all of the list is then left.
    """
    engine = engines.current()
    if not engine.reserves_at_once or transactions.in_transaction():
        return None
    plan = plan_reservations(operations)
    if plan is None:
        return None
    try:
        moved = engine.reserve(plan.moves, plan.holds, plan.counts) if plan.moves else {}
    except DatabaseError as error:
        if transactions.is_transient(error):
            return None
        raise
    if moved is None:
        return None
    results = plan.results(moved)
    rest = [operation for operation, result in zip(operations, results, strict=True) if result is None]
    refused = iter(_apply_rest(rest))
    return [result or next(refused) for result in results]


@dataclass(slots=True)
class ReservationPlan:
    """New reservations on their way to an engine. `moves` are of the wallets that can hold so much at all."""

    steps: Sequence[ReserveStep]
    moves: Sequence[Move]
    holds: Sequence[NewRow]
    counts: Sequence[Count]

    def results(self, moved: Mapping[UUID, int | None]) -> list[OperationResult | None]:
        """The results by the free microcredits of the moved wallets; None for a reservation whose wallet did not move."""
        for step in self.steps:
            step.result.available = moved.get(step.wallet_id) or 0
        return [step.result if step.wallet_id in moved else None for step in self.steps]


def plan_reservations(operations: Sequence[Reserve]) -> ReservationPlan | None:
    """Plan reservations that are presumed to be new; None when spending limits want them one by one."""
    now, steps = now_in_milliseconds(), [ReserveStep(operation) for operation in operations]
    for step in steps:
        step.plan(now)
        step.counted = list(step.operation.limits)
    moves = [one for one in starmap(move, steps_by_wallet(steps)) if one.needs <= LARGEST]
    counts = _counts(operations)
    if counts is None or (counts and sum(move.needs for move in moves) != sum(step.needs for step in steps)):
        return None
    return ReservationPlan(steps, moves, [_new_hold(step, now) for step in steps], counts)


def _counts(operations: Sequence[Reserve]) -> list[Count] | None:
    """What the reservations count in their spending counters together; None when they know a limit by two amounts."""
    found: dict[UUID, Count] = {}
    for operation in operations:
        for limit in operation.limits:
            before = found.get(limit.counter_id, Count(limit.counter_id, limit.starts, 0, limit.amount))
            if (before.starts, before.most) != (limit.starts, limit.amount):
                return None
            found[limit.counter_id] = before._replace(amount=before.amount + operation.amount)
    return sorted(found.values())


def _apply_rest(operations: Sequence[Operation]) -> list[OperationResult]:
    """Apply operations after others of their list were committed: a database that is away is their error alone."""
    try:
        return apply(operations)
    except Exception as error:
        return [OperationResult(error=error) for _ in operations]


def _apply_looking(operations: Sequence[Operation]) -> list[OperationResult]:
    """Apply the operations after a look at the reservations that were made before.

    An insert that collides all the same was raced: the whole transaction, also a caller's, must run again.
    """
    try:
        return _apply(operations, look=True)
    except IntegrityError as error:
        raise transactions.Conflict(str(error)) from error


def _apply(operations: Sequence[Operation], look: bool = False) -> list[OperationResult]:
    now = now_in_milliseconds()
    steps = [step_of(operation) for operation in operations]
    standings = _claim_and_move(steps, now, look)
    insert_rows(_new_rows(steps, standings, now))
    return [step.result for step in steps]


def _claim_and_move(steps: list[Step], now: datetime, look: bool) -> Standings:
    guards.claim(steps, now, look=look)
    for step in steps:
        if step.is_live:
            step.plan(now)
    _count(steps)
    return _move_wallets(steps)


def _count(steps: Sequence[Step]) -> None:
    """Hold reservations against their spending limits, and correct the counts of the others, in order of the counters."""
    changes = [(counter, step) for step in steps if step.is_live for counter in step.counters()]
    for counter, step in sorted(changes, key=lambda change: change[0].counter_id):
        step.count(counter)


# --- Moving wallets ---------------------------------------------------------------------------------------------------


def _move_wallets(steps: Sequence[Step], closings: Closings = ()) -> Standings:
    """Move each wallet by one guarded statement for all its steps or, when together they are refused, one by one."""
    by_wallet = steps_by_wallet(steps)
    moves = list(starmap(move, by_wallet))
    sane = [one for one in moves if max(one.needs, one.closes, one.gains) <= LARGEST]
    steps_of = dict(by_wallet)

    def chain(wallet_id: UUID, standing: Standing) -> str:
        return _chain([step.entry for step in steps_of[wallet_id] if step.entry is not None], standing)

    standings = _moved(sane, closings, chain)
    if len(standings) == len(moves):
        return standings
    entries: dict[UUID, int] = {}
    for wallet_id, of_wallet in by_wallet:
        if wallet_id not in standings:
            for step in of_wallet:
                _move_alone(step)
            entries[wallet_id] = sum(step.entry is not None for step in of_wallet if step.is_live)
    return standings | portable.standings(entries)


def steps_by_wallet(steps: Iterable[Step]) -> list[tuple[UUID, list[Step]]]:
    """The live steps by wallet, in the order in which wallets are locked."""
    found: dict[UUID, list[Step]] = defaultdict(list)
    for step in steps:
        if step.is_live:
            found[step.wallet_id].append(step)
    return sorted(found.items())


def _moved(moves: list[Move], closings: Closings, chain: Chain) -> Standings:
    engine = engines.current()
    if not closings:
        return engine.move_wallets(moves, chain) if moves else {}
    closed, standings = engine.close_and_move(closings, moves, chain)
    if closed < sum([len(ids) for _, ids in closings]):
        raise IntegrityError("a hold was not open")
    return standings


def _move_alone(step: Step) -> None:
    """Do one step after the joint UPDATE was refused: in full, cut to what the wallet has, or not at all."""
    if portable.move_wallet(move(step.wallet_id, [step])):
        return
    try:
        wallet = Wallet.objects.filter(pk=step.wallet_id).first() or open_wallet(step.wallet_id)
    except Organization.DoesNotExist:
        step.result.error = UnknownWallet(str(step.wallet_id))
        return
    while not portable.move_wallet(move(step.wallet_id, [step])):
        step.refuse(wallet)
        if not step.is_live:
            return
        wallet = Wallet.objects.get(pk=step.wallet_id)


# --- Writing rows -----------------------------------------------------------------------------------------------------


def _new_rows(steps: Sequence[Step], standings: Standings, now: datetime) -> list[NewRow]:
    """The holds and entries to insert, for steps whose wallets have moved; completes the results of the steps."""
    rows: list[NewRow] = []
    entries: dict[UUID, list[LedgerEntry]] = defaultdict(list)
    for step in steps:
        if not step.is_live:
            continue
        step.result.available = standings[step.wallet_id].available
        step.result.entry = step.entry
        if step.entry:
            entries[step.wallet_id].append(step.entry)
        if isinstance(step, ReserveStep):
            rows.append(_new_hold(step, now))
        elif step.lost_hold:
            rows.append(_lost_hold(step.lost_hold, now))
    for wallet_id, of_wallet in entries.items():
        if not of_wallet[0].digest:  # the engine had no use for it
            _chain(of_wallet, standings[wallet_id])
        for entry in of_wallet:
            rows.append((LedgerEntry, vars(entry)))
    return rows


def _new_hold(step: ReserveStep, now: datetime) -> NewRow:
    operation = step.operation
    counted = [(str(limit.counter_id), limit.starts.isoformat()) for limit in step.counted] or None
    return _hold_row(operation.hold, "OPEN", now, operation.expires_at, operation.request_id, counted)


def _lost_hold(hold: HoldRef, now: datetime) -> NewRow:
    """The row of a hold that a crash of the database lost, as settled: a second settlement and refunds find it there."""
    counted = [(str(counter.counter_id), counter.starts.isoformat()) for counter in hold.counted] or None
    model, values = _hold_row(hold, "SETTLED", now, now, "", counted)
    return model, {**values, "closed_at": now}


def _hold_row(
    hold: HoldRef, state: str, now: datetime, expires_at: datetime, request_id: str, counted: object
) -> NewRow:
    return Hold, {
        "id": hold.id,
        "wallet_id": hold.wallet_id,
        "amount": hold.amount,
        "state": state,
        "reference": hold.reference,
        "request_id": request_id,
        "expires_at": expires_at,
        "created_at": now,
        "closed_at": None,
        "closed_by": None,
        "refunded": 0,
        "counted": counted,
    }


def number(entries: Sequence[LedgerEntry], standing: Standing) -> None:
    """Give a wallet's new entries their numbers and the balances after them; the wallet then stands as said."""
    sequence, balance = standing.sequence - len(entries), standing.available + standing.held
    for entry in entries:
        balance -= entry.amount
    for entry in entries:
        sequence += 1
        balance += entry.amount
        entry.sequence, entry.balance_after = sequence, balance
        entry._state.adding = False  # readers see the entry after its commit


def _chain(entries: Sequence[LedgerEntry], standing: Standing) -> str:
    """Number and chain a wallet's new entries; return the digest of the last one.

    No other list takes a number until the commit: the wallet's row is locked, or (MongoDB) its change conflicts with ours.
    """
    number(entries, standing)
    digest = standing.digest or ""
    for entry in entries:
        entry.digest = digest = entry.digest_after(digest)
    return digest


def open_wallet(organization_id: UUID) -> Wallet:
    """Make the wallet of an organization, with starter credits for a personal one.

    A team gets none: they would be free credits for any member. With EMAIL_VERIFICATION=required they come once the
    person's address is confirmed (`credits/starter.py`).
    """
    organization = Organization.objects.select_related("personal_to").get(pk=organization_id)
    person = organization.personal_to
    wallet = Wallet.objects.create(pk=organization_id)
    is_wanted = person and (settings.EMAIL_VERIFICATION != "required" or person.email_confirmed)
    if is_wanted and settings.STARTER_CREDITS:
        _apply([starter_credits(organization_id)])
        wallet.refresh_from_db()
    return wallet


def starter_credits(wallet_id: UUID) -> Credit:
    """The operation that gives a wallet its starter credits; its reference makes it do so once."""
    amount = to_microcredits(settings.STARTER_CREDITS)
    return Credit(wallet_id=wallet_id, amount=amount, reference="starter", kind=Kind.STARTER, reason="Welcome")


def now_in_milliseconds() -> datetime:
    """The present in whole milliseconds: MongoDB keeps no more, and an entry must have the same digest on every engine."""
    now = clock.shared_now()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
