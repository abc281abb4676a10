"""Transactions that run again after a conflict, on whichever database is configured, and the meaning of its errors."""

import logging
import random
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, partial
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)

from aichat.core.database import outcomes
from aichat.core.database.outcomes import OutcomeUnknown as OutcomeUnknown

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

_undos: ContextVar[list[Callable[[], None]] | None] = ContextVar("undos", default=None)
SHORTEST_PAUSE, LONGEST_PAUSE = 0.005, 0.2  # seconds, before a transaction is tried again
REPEATED_SECONDS = 2.0  # for which an unknown outcome is looked up by whoever waits for it
# https://www.postgresql.org/docs/current/errcodes-appendix.html: serialization failure, deadlock detected, prepared
# statement forgotten by its session
TRANSIENT_SQLSTATES = {"40001", "40P01", "26000"}


def atomic() -> Any:
    """A context manager for a transaction on the configured engine. Django's own `atomic` does nothing on MongoDB."""
    if is_mongodb():
        from aichat.core.database.mongodb import turns  # 0.3 s that others need not wait

        return turns.atomic()
    return transaction.atomic()


@cache  # the engine of a process never changes, and each transaction asks a few times
def vendor() -> str:
    """The engine that is configured: `postgresql`, `mongodb` or `sqlite`."""
    return connection.vendor


@cache
def is_mongodb() -> bool:
    return vendor() == "mongodb"


def in_transaction() -> bool:
    """Whether a transaction is open on this thread's connection, on any engine."""
    database = connections[DEFAULT_DB_ALIAS]  # `connection` would look for it at each attribute
    return database.in_atomic_block or getattr(database, "in_atomic_block_mongo", False)


def run_atomic(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in one transaction, and again when the engine asks for it (deadlock, write conflict).

    A lost answer to COMMIT is looked up (`outcomes.py`). Raises `OutcomeUnknown` when the database can't be asked.

    `work` may therefore run several times and must not keep state between runs. Inside an outer transaction `work`
    joins that transaction, and the outermost `run_atomic` runs again, for at most DATABASE_TIMEOUT seconds.
    """
    if in_transaction():
        return work(*args, **kwargs)
    deadline = time.monotonic() + settings.DATABASE_TIMEOUT
    pause = SHORTEST_PAUSE
    while True:
        undos: list[Callable[[], None]] = []
        token = _undos.set(undos)
        try:
            return _attempt(partial(work, *args, **kwargs))
        except Exception as error:
            for undo in reversed(undos):
                undo()
            if not is_transient(error) or time.monotonic() > deadline:
                raise
            logger.debug("transaction conflict, trying again")
        finally:
            _undos.reset(token)
        time.sleep(random.uniform(0, pause))
        pause = min(2 * pause, LONGEST_PAUSE)


def on_rollback(undo: Callable[[], None]) -> None:
    """Have `undo` called when the open `run_atomic` is rolled back. Does nothing outside of one.

    The database forgets what was written; the Python objects that were saved do not, and `run_atomic` may run again.
    """
    undos = _undos.get()
    if undos is not None:
        undos.append(undo)


def _attempt(work: Callable[[], T]) -> T:
    """One transaction. Raises `Conflict` when its COMMIT got no answer and the database says that nothing was committed."""
    ending: outcomes.Ending | None = None
    try:
        with atomic():
            result = work()
            ending = outcomes.before_commit()
        return result
    except Exception as error:
        if ending is None and outcomes.was_sent_with_commit(error):
            raise OutcomeUnknown("The answer to COMMIT was lost.") from error
        if ending is None or not outcomes.is_untold(error):
            raise
        logger.warning("the answer to COMMIT was lost: %s", error)
        if not outcomes.was_committed(ending):
            raise Conflict("COMMIT did not arrive") from error
        return result


def run_repeatable(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`run_atomic` for work that finds by its own references what an earlier run of it has done.

    When the answer to COMMIT is lost, `work` runs again and so finds out. Raises `OutcomeUnknown` as `run_again` does.
    """
    try:
        return run_atomic(work, *args, **kwargs)
    except OutcomeUnknown as error:
        return run_again(error, work, *args, **kwargs)


def run_again(unknown: OutcomeUnknown, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run repeatable work after an `unknown` outcome, which is raised when the database stays away for REPEATED_SECONDS."""
    deadline, pause = time.monotonic() + REPEATED_SECONDS, SHORTEST_PAUSE
    while not in_transaction():
        connection.close()  # the one that was lost; on MongoDB this does nothing
        try:
            return run_atomic(work, *args, **kwargs)
        except DatabaseError as error:
            # A collision here is the first run, which committed between look and insert.
            if not (is_unavailable(error) or isinstance(error, IntegrityError)):
                raise
            if time.monotonic() > deadline:
                break
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    raise unknown


def run_atomic_without_flush(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` as `run_atomic` does, in a transaction whose commit does not wait for the disk.

    A crash of the database server, or of its machine, may lose such a transaction, and never a later durable one
    without it: only work may run here whose loss the later work can bear. By engine:

    - SQLite: `PRAGMA synchronous = NORMAL` for the transaction; the log is written to disk with the next durable one.
    - MongoDB: write concern `{w: 1, j: false}`: the primary alone has it, in memory. A later transaction of majority
      write concern comes after it in the log of operations, so it is not durable without this one.
    - PostgreSQL: `synchronous_commit = off` for the transaction (`statements/on_loop.py` does so in one round trip).
    """
    if in_transaction():
        return run_atomic(work, *args, **kwargs)
    if vendor() == "postgresql":
        return run_atomic(_without_flush, partial(work, *args, **kwargs))
    with connection.without_flush():  # type: ignore[attr-defined]
        return run_atomic(work, *args, **kwargs)


def _without_flush(work: Callable[[], T]) -> T:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
    return work()


class Conflict(DatabaseError):
    """Another transaction interfered: the outermost `run_atomic` must run its work again."""


def is_transient(error: BaseException) -> bool:
    """Whether a transaction failed only because of another one, so that running it again may succeed."""
    if isinstance(error, Conflict):
        return True
    if is_mongodb():
        from aichat.core.database.mongodb import errors

        return errors.is_transient(error)
    return getattr(error.__cause__, "sqlstate", None) in TRANSIENT_SQLSTATES


def is_unavailable(error: BaseException) -> bool:
    """Whether the error says that the database is gone, restarting, out of connections or too slow.

    Transient errors count too, because `run_atomic` has retried them until DATABASE_TIMEOUT was over. A wrong
    statement or a missing table, which SQLite also reports as OperationalError, does not count.
    """
    if is_transient(error) or isinstance(error, OutcomeUnknown):
        return True
    if is_mongodb():
        from aichat.core.database.mongodb import errors

        return errors.is_unavailable(error)
    if getattr(error.__cause__, "sqlite_errorname", "") == "SQLITE_ERROR":
        return False
    return isinstance(error, OperationalError | InterfaceError)
