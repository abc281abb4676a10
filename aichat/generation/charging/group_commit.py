"""Group commit: what concurrent requests of a process write is committed together, and each is answered by its commit.

A request hands in a `Unit`: an operation of the ledger and what is written with it. While one transaction commits, the
units that come gather for the next, so a lone request never waits for company and a busy process makes few commits. A
unit that fails takes no other with it: the batch is then applied one by one. Nothing is answered before it is durable.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import IntegrityError

from accounts.models import Organization
from aichat.core.background import lifecycle
from aichat.core.database import executor, transactions
from aichat.core.database.statements import NewRow, insert_rows
from aichat.core.errors import Overloaded
from credits.services import Operation, OperationResult, apply, apply_new, available_to

logger = logging.getLogger(__name__)

# Turns of the event loop before a batch is taken. An idle one has nothing to do in them and goes on at once; what a busy
# one does in them hands in more units: a third of its batches were of one to three, and cost most for each unit.
GATHERING = 2
LARGEST_BATCH = 256  # units: bounds how long a wallet's row is locked, and how large a statement grows
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two tries while the database is away


def nothing(outcome: OperationResult) -> Sequence[NewRow]:
    return ()


@dataclass(slots=True, kw_only=True)
class Unit:
    """What one request commits.

    `write` runs inside the transaction once the operation is done (not when it was refused), perhaps more than once, and
    with the request's context variables: it answers the rows to insert, and may run statements of its own. `committed`
    runs after the commit, on the event loop. `wallet_of` is whose free credits the outcome is to say when there is no
    operation to say them.
    """

    operation: Operation | None = None
    wallet_of: Organization | None = None
    write: Callable[[OperationResult], Sequence[NewRow]] = nothing
    committed: Callable[[OperationResult], None] | None = None
    patience: float = 0.0  # seconds it is tried again while the database is away
    context: Context = field(default_factory=copy_context)  # of the request: the commit runs in nobody's own


def submit(unit: Unit, *, refusable: bool = False) -> "asyncio.Future[OperationResult]":
    """Have the unit committed; the outcome comes with the commit, and a refused operation's error is raised.

    What is submitted is done even when nobody waits any more: `await asyncio.shield(submit(…))`. Raises `Overloaded` for
    a `refusable` unit while COMMIT_QUEUE units are waiting; a settlement is never refused.
    """
    loop = asyncio.get_running_loop()
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = _Queue()
    return queue.submit(unit, refusable)


def commit_together(units: Sequence[Unit]) -> list[OperationResult]:
    """Commit all units in one transaction. Raises what any of them raises, and then nothing of any was done.

    Reservations are new and holds are open, so neither is looked up; when it turns out that they are not, an earlier
    try had been committed.
    """
    try:
        return transactions.run_atomic(_write, units, partial(apply_new, last=not transactions.in_transaction()))
    except transactions.OutcomeUnknown as unknown:
        return transactions.run_again(unknown, _write, units, _apply_and_insert)
    except IntegrityError as error:
        logger.debug("something was committed before, or collides: %r", error)
    return transactions.run_repeatable(_write, units, _apply_and_insert)


def commit_each(units: Sequence[Unit]) -> list[OperationResult | Exception]:
    """Commit all units, together if that is possible; a bad one fails alone."""
    try:
        return [*commit_together(units)]
    except Exception as error:
        if len(units) == 1 or transactions.is_unavailable(error):
            return [error for _ in units]
        logger.debug("a batch is committed one by one: %r", error)
    return [commit_each([unit])[0] for unit in units]


Also = Callable[
    [list[OperationResult]], Iterable[NewRow]
]  # the rows to be written with operations, by what became of these


def _apply_and_insert(operations: Sequence[Operation], also: Also) -> list[OperationResult]:
    outcomes = apply(operations)
    insert_rows(also(outcomes))
    return outcomes


def _write(
    units: Sequence[Unit], apply: Callable[[Sequence[Operation], Also], list[OperationResult]]
) -> list[OperationResult]:
    outcomes: list[OperationResult] = []

    def rows(done: Sequence[OperationResult]) -> Iterator[NewRow]:
        outcomes.extend(_outcomes(units, done))
        for unit, outcome in zip(units, outcomes, strict=True):
            if outcome.error is None and unit.write is not nothing:
                yield from unit.context.run(unit.write, outcome)

    apply([unit.operation for unit in units if unit.operation is not None], rows)
    return outcomes


def _outcomes(units: Sequence[Unit], done: Sequence[OperationResult]) -> Iterator[OperationResult]:
    """One for each unit; of those without an operation, what there is to spend."""
    moved = iter(done)
    free = available_to(unit.wallet_of for unit in units if unit.wallet_of)  # one look for all
    for unit in units:
        if unit.operation is not None:
            yield next(moved)
        else:
            yield OperationResult(available=free[unit.wallet_of.pk]) if unit.wallet_of else OperationResult()


@dataclass(slots=True)
class _Waiting:
    unit: Unit
    future: "asyncio.Future[OperationResult]"
    patient_until: float = 0.0
    pause: float = SHORTEST_PAUSE

    def settle(self, outcome: OperationResult | Exception) -> None:
        error = outcome if isinstance(outcome, Exception) else outcome.error
        if not isinstance(outcome, Exception) and error is None and self.unit.committed:
            self.unit.context.run(self.unit.committed, outcome)
        if self.future.done():
            return  # who asked was cancelled
        if error is not None:
            self.future.set_exception(error)
        elif isinstance(outcome, OperationResult):
            self.future.set_result(outcome)


class _Queue:
    """The units of one event loop."""

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.is_busy = False

    def submit(self, unit: Unit, refusable: bool) -> "asyncio.Future[OperationResult]":
        if refusable and len(self.waiting) >= settings.COMMIT_QUEUE:
            raise Overloaded(retry_after=1)
        item = _Waiting(unit, asyncio.get_running_loop().create_future(), patient_until=monotonic() + unit.patience)
        self.add(item)
        return item.future

    def add(self, item: _Waiting) -> None:
        self.waiting.append(item)
        if not self.is_busy:
            self.is_busy = True
            lifecycle.spawn(self.work())

    async def work(self) -> None:
        try:
            while self.waiting:
                for _ in range(GATHERING):
                    await asyncio.sleep(0)
                batch = [self.waiting.popleft() for _ in range(min(len(self.waiting), LARGEST_BATCH))]
                try:
                    outcomes = await executor.run_in_line(commit_each, [item.unit for item in batch])
                except Exception as error:  # not even a connection
                    outcomes = [error for _ in batch]
                for item, outcome in zip(batch, outcomes, strict=True):
                    self.answer(item, outcome)
        finally:
            self.is_busy = False

    def answer(self, item: _Waiting, outcome: OperationResult | Exception) -> None:
        """Hand the outcome over, or try again later when the database is away and the unit is patient."""
        is_away = isinstance(outcome, Exception) and transactions.is_unavailable(outcome)
        if is_away and monotonic() + item.pause <= item.patient_until:
            item.unit.context.run(logger.warning, "the database is away; settling again in %.1f s", item.pause)
            lifecycle.spawn(self.again(item))
        else:
            item.settle(outcome)

    async def again(self, item: _Waiting) -> None:
        await asyncio.sleep(item.pause)
        item.pause = min(2 * item.pause, LONGEST_PAUSE)
        self.add(item)


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()
