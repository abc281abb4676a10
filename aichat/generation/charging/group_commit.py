"""Group commit: the writes of concurrent requests are committed together, and each request is answered by its commit.

A request hands in a `Unit`: an operation of the ledger and the rows that are written with it. While batches commit, new
units gather for the next ones, so a lone request never waits for company and a busy process makes few commits. A unit
that fails takes no other with it: its batch is then committed one by one. Nothing is answered before its commit.

| who | what happens, in order |
| --- | --- |
| request | `submit(unit)`, then awaits the future |
| lane | takes the waiting units whose wallets no batch under way moves; reservations and settlements have a lane each |
| event loop | PostgreSQL: the whole batch as one transaction in one round trip (`credits.round_trips`) |
| thread of the lane | what is left: reservations by a transaction that waits for no disk (`credits.ledger.reserve_new`) |
| thread of the lane | what is left: moves the wallets, calls each `unit.write`, inserts all rows, one durable commit |
| event loop | calls `unit.committed`, sets the future; the request goes on |

A thread does what can't be presumed: a wallet that lacks the credits, a hold that is not open, rows that depend on what
the wallet has left. On SQLite and MongoDB it does everything.

A reservation may be lost when the database server crashes; its settlement then takes the charge from what is free, as
after an expiry (`Settle.hold_may_be_lost`). SQLite has one lane: only one of its transactions writes at a time.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from itertools import repeat
from time import monotonic
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import IntegrityError, connection

from accounts.models import Organization
from aichat.core.background import lifecycle
from aichat.core.database import executor, outcomes, transactions
from aichat.core.database.statements import NewRow, insert_rows
from aichat.core.errors import Overloaded
from aichat.core.telemetry import prometheus
from credits import round_trips
from credits.services import Operation, OperationResult, Reserve, Settle, apply, available_to, move_new, reserve_new

logger = logging.getLogger(__name__)

# Turns of the event loop before a batch is taken while others are on their way, or wait: more units come in them. Without
# them a third of a busy process's batches were of one to three units, which cost most for each unit.
GATHERING = 2
LARGEST_BATCH = 256  # units: bounds how long a wallet's row is locked, and how large a statement grows
SETTLING_THREADS = 2  # one builds its statements while the other waits for the disk
# Batches on their way at the same time where the event loop sends them: of reservations, and of settlements.
RESERVING_AT_ONCE, SETTLING_AT_ONCE = 2, 4
# Seconds for which a batch of settlements on MongoDB has no other beside it: each of its six commands costs as much as the
# writes of ten units, and transactions that run at the same time conflict. After that its wallets are locked by somebody.
ALONE = 0.25
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two tries while the database is away


def nothing(result: OperationResult) -> Sequence[NewRow]:
    """The `write` of a unit that adds no rows."""
    return ()


@dataclass(slots=True, kw_only=True)
class Unit:
    """The part of a commit that belongs to one request.

    `write` runs inside the transaction once the operation is done (not when it was refused), perhaps more than once, with
    the request's context variables: it returns the rows to insert, and may run statements of its own. With
    `writes_ahead` it runs none, and needs nothing of the result but the charge, so it may run before the operation is
    done. `committed` runs after the commit, on the event loop. `wallet_of` is the organization whose free credits the
    result gives when there is no operation that does.
    """

    operation: Operation | None = None
    wallet_of: Organization | None = None
    write: Callable[[OperationResult], Sequence[NewRow]] = nothing
    writes_ahead: bool = False
    committed: Callable[[OperationResult], None] | None = None
    patience: float = 0.0  # seconds for which the unit is tried again while the database is away
    context: Context = field(default_factory=copy_context)  # of the request: the commit runs in no request's own
    only_reserves: bool = field(init=False)  # whether the unit is a reservation alone: its commit waits for no disk
    # Whether spending limits count the reservation; such units have batches of their own.
    is_limited: bool = field(init=False)
    is_ready: bool = field(init=False)  # whether operation and rows are known before the commit

    def __post_init__(self) -> None:
        operation = self.operation
        self.only_reserves = type(operation) is Reserve and self.write is nothing
        self.is_limited = isinstance(operation, Reserve) and bool(operation.limits)
        self.is_ready = self.writes_ahead or self.write is nothing


def submit(unit: Unit, *, refusable: bool = False) -> "asyncio.Future[OperationResult]":
    """Have the unit committed. The future gets the result after the commit, or the error of a refused operation.

    A submitted unit is committed even when nobody waits any more: `await lifecycle.shielded(submit(…))`. Raises `Overloaded`
    for a `refusable` unit while COMMIT_QUEUE units are waiting; a settlement is never refused.
    """
    loop, now = asyncio.get_running_loop(), monotonic()
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = _Queue()
    lane = queue.reserving if unit.only_reserves else queue.settling
    if refusable and len(lane.waiting) >= settings.COMMIT_QUEUE:
        raise Overloaded(retry_after=1)
    wallet = unit.operation.wallet_id if unit.operation is not None else None
    future = loop.create_future()
    lane.waiting.append(_Waiting(unit, future, wallet, since=now, patient_until=now + unit.patience))
    queue.start(lane)
    return future


async def commit_at_once(units: Sequence[Unit]) -> list[OperationResult | None]:
    """Commit units of one kind as one transaction in one round trip, from the event loop. PostgreSQL alone can.

    The result is None for a unit that is to be committed in another way. Raises when nothing was done; `OutcomeUnknown`
    when nobody knows.
    """
    from aichat.core.database.statements import on_loop  # with psycopg, that others need not wait for

    trip = _round_trip(units)
    try:
        return trip.results(await on_loop.commit(trip.statements, durable=trip.durable))
    except Exception as error:
        if outcomes.was_sent_with_commit(error):
            raise transactions.OutcomeUnknown("The answer to COMMIT was lost.") from error
        raise


def _round_trip(units: Sequence[Unit]) -> round_trips.RoundTrip:
    """The round trip that commits all units. Raises `ValueError` when they need more than one."""
    operations = [unit.operation for unit in units]
    reserves = [unit.operation for unit in units if unit.only_reserves and isinstance(unit.operation, Reserve)]
    if len(reserves) == len(units):
        return round_trips.Reservations(reserves)
    rows: list[NewRow] = []
    for unit in units:
        if unit.write is not nothing:
            charge = unit.operation.charge if isinstance(unit.operation, Settle) else 0
            rows += unit.context.run(unit.write, OperationResult(charged=charge))
    wallets = [unit.wallet_of.pk if unit.wallet_of else None for unit in units]
    return round_trips.Settlements(operations, wallets, rows)


def commit_each(
    units: Sequence[Unit], unknown: transactions.OutcomeUnknown | None = None
) -> list[OperationResult | Exception]:
    """Commit all units, together if that is possible; a bad one fails alone. `unknown`: the last try may have succeeded."""
    try:
        if unknown is not None:
            return [*transactions.run_again(unknown, _commit_looking, units)]
        return [*commit_together(units)]
    except Exception as error:
        if len(units) == 1 or transactions.is_unavailable(error):
            return [error for _ in units]
        logger.debug("a batch is committed one by one: %r", error)
    return [commit_each([unit])[0] for unit in units]


def commit_together(units: Sequence[Unit]) -> list[OperationResult]:
    """Commit all units in one transaction. Raises what any of them raises, and then nothing of any was done.

    Reservations are presumed to be new and holds to be open, so neither is looked up. When they turn out not to be, an
    earlier try had been committed: then all is done again with a look.
    """
    reserves = [unit.operation for unit in units if unit.only_reserves and isinstance(unit.operation, Reserve)]
    run = transactions.run_atomic_without_flush if len(reserves) == len(units) else transactions.run_atomic
    try:
        if len(reserves) == len(units) and (results := reserve_new(reserves)) is not None:
            return results
        return run(_commit_new, units, last=not transactions.in_transaction())
    except transactions.OutcomeUnknown as unknown:
        return transactions.run_again(unknown, _commit_looking, units)
    except IntegrityError as error:
        logger.debug("something was committed before, or collides: %r", error)
    return transactions.run_repeatable(_commit_looking, units)


def _commit_new(units: Sequence[Unit], last: bool) -> list[OperationResult]:
    done, rows = move_new([unit.operation for unit in units if unit.operation is not None])
    results = _results(units, done)
    insert_rows([*rows, *_rows(units, results)], last=last)
    return results


def _commit_looking(units: Sequence[Unit]) -> list[OperationResult]:
    results = _results(units, apply([unit.operation for unit in units if unit.operation is not None]))
    insert_rows(_rows(units, results))
    return results


def _rows(units: Sequence[Unit], results: Sequence[OperationResult]) -> Iterator[NewRow]:
    """The rows that the units write with their results."""
    for unit, result in zip(units, results, strict=True):
        if result.error is None and unit.write is not nothing:
            yield from unit.context.run(unit.write, result)


def _results(units: Sequence[Unit], done: Sequence[OperationResult]) -> list[OperationResult]:
    """One result for each unit; that of a unit without an operation gives the free credits of its organization."""
    if len(done) == len(units):
        return list(done)
    moved = iter(done)
    free = available_to(unit.wallet_of for unit in units if unit.wallet_of)
    return [
        next(moved)
        if unit.operation is not None
        else OperationResult(available=free[unit.wallet_of.pk] if unit.wallet_of else 0)
        for unit in units
    ]


@dataclass(slots=True)
class _Waiting:
    """A submitted unit and the future of its result."""

    unit: Unit
    future: "asyncio.Future[OperationResult]"
    wallet: UUID | None
    since: float  # monotonic
    patient_until: float = 0.0
    pause: float = SHORTEST_PAUSE

    def settle(self, result: OperationResult | Exception) -> None:
        """Call the unit's `committed` after a commit, and hand the result to the request that waits for it."""
        error = result if isinstance(result, Exception) else result.error
        if not isinstance(result, Exception) and error is None and self.unit.committed:
            try:
                self.unit.context.run(self.unit.committed, result)
            except Exception:  # the unit is committed all the same, and the others of its batch wait for their results
                logger.exception("what follows a commit failed")
        if self.future.done():
            return  # the request was cancelled
        if error is not None:
            self.future.set_exception(error)
        elif isinstance(result, OperationResult):
            self.future.set_result(result)


class _Lane:
    """Waiting units of one kind, and the threads that commit batches of them, each with a connection of its own.

    At most `most` batches are on their way, which are more than the threads where the event loop sends batches itself.

    A batch is begun beside another one after that has been on its way for `alone` seconds.
    """

    def __init__(self, name: str, threads: int, most: int, alone: float = 0.0) -> None:
        self.name, self.threads, self.most, self.alone = name, threads, most, alone
        self.since = 0.0  # monotonic, of the last batch
        self.waiting: deque[_Waiting] = deque()
        self.running = 0  # batches on their way, or about to be taken
        self.is_gathering = False  # one is about to be taken


class _Queue:
    """The units of one event loop."""

    def __init__(self) -> None:
        vendor = connection.vendor
        self.commits_at_once = (
            vendor == "postgresql" and not settings.DEBUG
        )  # with DEBUG the threads' statements are logged
        if vendor == "sqlite":
            self.settling = self.reserving = _Lane("commits", 1, 1)
        elif self.commits_at_once:
            self.settling = _Lane("commits", SETTLING_THREADS, SETTLING_AT_ONCE)
            self.reserving = _Lane("reservations", 1, RESERVING_AT_ONCE)
        else:
            alone = ALONE if vendor == "mongodb" else 0.0
            self.settling = _Lane("commits", SETTLING_THREADS, SETTLING_THREADS, alone)
            self.reserving = _Lane("reservations", 1, 1)
        self.lanes = {self.reserving, self.settling}
        self.moving: set[UUID] = set()  # the wallets of the batches on their way
        self.next: dict[UUID, _Lane] = {}  # whose turn is next at a wallet: no lane starves the other

    def start(self, lane: _Lane) -> None:
        if not lane.waiting or lane.is_gathering or lane.running == lane.most:
            return
        if lane.running and lane.alone and monotonic() < lane.since + lane.alone:
            return
        lane.running += 1
        lane.is_gathering = True
        lane.since = monotonic()
        lifecycle.spawn(self.work(lane))

    async def work(self, lane: _Lane) -> None:
        """Commit batches of the lane until no unit can be taken."""
        is_busy = lane.running > 1
        try:
            while lane.waiting:
                lane.is_gathering = True
                for _ in range(GATHERING if is_busy or len(lane.waiting) > 1 else 0):
                    await asyncio.sleep(0)
                is_busy = True
                batch, wallets = self.take(lane)
                lane.is_gathering = False
                if not batch:
                    return  # until a wallet is free: then another batch starts the lane again
                if lane.alone:
                    lane.since = monotonic()
                    asyncio.get_running_loop().call_later(lane.alone, self.start, lane)
                waited = monotonic() - batch[0].since
                self.moving |= wallets
                if lane.waiting:
                    self.start(lane)  # with units of another kind
                units = [item.unit for item in batch]
                try:
                    if self.commits_at_once and units[0].is_ready:
                        results = await self.commit_at_once(lane, units)
                    else:
                        # Of two kinds, because on SQLite each kind's connection is set in another way.
                        threads = "reservations" if units[0].only_reserves else "commits"
                        results = await executor.run_kept(threads, lane.threads, commit_each, units)
                except Exception as error:  # not even a connection
                    results = [error for _ in batch]
                finally:
                    self.moving -= wallets
                for item, result in zip(batch, results, strict=True):
                    self.answer(lane, item, result)
                for other in self.lanes:
                    if other.waiting:
                        self.start(other)  # units may have waited for these wallets
                prometheus.batch(lane.name, len(batch), waited)
                if lane.alone and lane.running > 1:
                    return  # the other batch goes on with the lane
        finally:
            lane.running -= 1
            lane.is_gathering = False

    def kind(self, unit: Unit) -> object:
        """Units with the same kind go together."""
        return unit.only_reserves, unit.is_limited, unit.is_ready and self.commits_at_once

    async def commit_at_once(self, lane: _Lane, units: Sequence[Unit]) -> list[OperationResult | Exception]:
        """Commit the units from the event loop, and what is left of them by a thread."""
        results: list[OperationResult | None] = [None for _ in units]
        unknown: transactions.OutcomeUnknown | None = None
        try:
            results = await commit_at_once(units)
        except transactions.OutcomeUnknown as error:
            unknown = error
        except Exception as error:
            logger.debug("a batch is committed by a thread: %r", error)
        left = [unit for unit, result in zip(units, results, strict=True) if result is None]
        if not left:
            return [*filter(None, results)]
        done: Iterator[OperationResult | Exception]
        try:
            done = iter(await executor.run_kept(lane.name, lane.threads, commit_each, left, unknown))
        except Exception as error:  # not even a connection
            done = repeat(error)
        return [result or next(done) for result in results]

    def take(self, lane: _Lane) -> tuple[list[_Waiting], set[UUID]]:
        """The next batch and its wallets: waiting units of one kind whose wallets are free; the others go on waiting.

        A second batch that moves the same wallet would only wait for the first one's lock, or conflict with it.
        """
        batch: list[_Waiting] = []
        passed: list[_Waiting] = []
        while lane.waiting and len(batch) < LARGEST_BATCH:
            item = lane.waiting.popleft()
            if batch and self.kind(item.unit) != self.kind(batch[0].unit):
                passed.append(item)
            elif item.wallet is None or (item.wallet not in self.moving and self.next.get(item.wallet, lane) is lane):
                batch.append(item)
            else:
                self.next.setdefault(item.wallet, lane)
                passed.append(item)
        lane.waiting.extendleft(reversed(passed))
        wallets: set[UUID] = set()
        for item in batch:
            if item.wallet is not None:
                wallets.add(item.wallet)
                self.next.pop(item.wallet, None)
        return batch, wallets

    def answer(self, lane: _Lane, item: _Waiting, result: OperationResult | Exception) -> None:
        """Hand the result over, or try again later when the database is away and the unit is patient."""
        is_away = isinstance(result, Exception) and transactions.is_unavailable(result)
        if is_away and monotonic() + item.pause <= item.patient_until:
            item.unit.context.run(logger.warning, "the database is away; settling again in %.1f s", item.pause)
            lifecycle.spawn(self.again(lane, item))
        else:
            item.settle(result)

    async def again(self, lane: _Lane, item: _Waiting) -> None:
        await asyncio.sleep(item.pause)
        item.pause = min(2 * item.pause, LONGEST_PAUSE)
        lane.waiting.append(item)
        self.start(lane)


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()
