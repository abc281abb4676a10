"""The database as our code uses it: transactions that retry, work off the event loop, and the base of our tables."""

import asyncio
import logging
import os
import random
import select
import struct
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from django.conf import settings
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connection,
    connections,
    models,
    transaction,
)

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

SHORTEST_PAUSE, LONGEST_PAUSE = 0.005, 0.2  # seconds, before a transaction is tried again
# https://www.postgresql.org/docs/current/errcodes-appendix.html: serialization failure, deadlock detected, prepared
# statement forgotten by its session
TRANSIENT_SQLSTATES = {"40001", "40P01", "26000"}


def atomic() -> Any:
    """A transaction on whichever engine is configured. Django's own does nothing on MongoDB."""
    if is_mongodb():
        from django_mongodb_backend import transaction as mongodb_transaction  # 0.3 s that others need not wait

        return mongodb_transaction.atomic()
    return transaction.atomic()


def is_mongodb() -> bool:
    return connection.vendor == "mongodb"


def in_transaction() -> bool:
    """Whether a transaction is open. Django's own flag knows nothing of MongoDB's."""
    return connection.in_atomic_block or getattr(connection, "in_atomic_block_mongo", False)


def run_atomic(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in one transaction, again when the engine asks for it (deadlock, write conflict).

    `work` may therefore run several times: it must not keep state between runs. Inside an outer transaction it joins
    that one, and the outermost `run_atomic` retries, for at most DATABASE_TIMEOUT.
    """
    if in_transaction():
        return work(*args, **kwargs)
    deadline = time.monotonic() + settings.DATABASE_TIMEOUT
    pause = SHORTEST_PAUSE
    while True:
        try:
            with atomic():
                return work(*args, **kwargs)
        except Exception as error:
            if not is_transient(error) or time.monotonic() > deadline:
                raise
            logger.debug("transaction conflict, trying again")
        time.sleep(random.uniform(0, pause))
        pause = min(2 * pause, LONGEST_PAUSE)


class Conflict(DatabaseError):
    """Work found itself raced by another transaction: the outermost `run_atomic` is to run again."""


def is_transient(error: BaseException) -> bool:
    """Whether the transaction failed only because of somebody else's."""
    if isinstance(error, Conflict):
        return True
    if is_mongodb():
        from aichat.mongodb import errors

        return errors.is_transient(error)
    return getattr(error.__cause__, "sqlstate", None) in TRANSIENT_SQLSTATES


def is_unavailable(error: BaseException) -> bool:
    """Whether the database could not do it in time: gone, restarting, out of connections, too slow.

    What is transient counts too: `run_atomic` has tried it again until DATABASE_TIMEOUT was over.
    SQLite reports a wrong statement or a missing table as an OperationalError too: those are defects of ours.
    """
    if is_transient(error):
        return True
    if is_mongodb():
        from aichat.mongodb import errors

        return errors.is_unavailable(error)
    if getattr(error.__cause__, "sqlite_errorname", "") == "SQLITE_ERROR":
        return False
    return isinstance(error, OperationalError | InterfaceError)


def ping() -> None:
    """Ask the database for an answer; raises `django.db.Error` when there is none."""
    if is_mongodb():
        connection.ping()  # type: ignore[attr-defined]
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


# --- Off the event loop -----------------------------------------------------------------------------------------------

_threads: dict[str, ThreadPoolExecutor] = {}
_threads_lock = threading.Lock()


def _executor(name: str, size: int) -> ThreadPoolExecutor:
    found = _threads.get(name)
    if found is None:
        with _threads_lock:
            found = _threads.get(name) or _threads.setdefault(name, ThreadPoolExecutor(size, thread_name_prefix=name))
    return found


async def run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run synchronous database work on a thread that keeps its connection, with the caller's context variables.

    The connection is free again when `work` returns: nothing is held while a provider is being waited for.
    """
    call = partial(copy_context().run, _with_connection, partial(work, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_executor("database", settings.DATABASE_THREADS), call)


async def run_in_line(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same one after another, on one thread with a connection of its own, and without any context.

    For what comes all the time: a connection from the pool is asked first whether it still lives.
    """
    call = partial(_with_kept_connection, partial(work, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_executor("commits", 1), call)


class Shared(Generic[T]):
    """`run(work)`, once for all who wait for it on an event loop: what is read again each second is not read by each.

    Who comes while it runs gets its result, or its error, too.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self._running: dict[asyncio.AbstractEventLoop, asyncio.Task[T]] = {}

    async def __call__(self) -> T:
        loop = asyncio.get_running_loop()
        task = self._running.get(loop)
        if task is None:
            task = self._running[loop] = loop.create_task(run(self.work))
            task.add_done_callback(lambda _: self._running.pop(loop))
        return await asyncio.shield(task)  # one who leaves does not stop it for the others


def _with_connection(work: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return work()
    finally:
        if connection.settings_dict["OPTIONS"].get("pool"):
            connection.close()  # back to the pool, for the other threads


def _with_kept_connection(work: Callable[[], T]) -> T:
    if is_mongodb():
        return _with_connection(work)  # its client keeps the connections
    if connection.connection is not None and (connection.errors_occurred or _was_told_something()):
        connection.close()
    return work()


def _was_told_something() -> bool:
    """Whether the server spoke without being asked: it says goodbye when it stops. Costs no round trip."""
    if connection.vendor != "postgresql":
        return False
    poll = select.poll()  # `select` itself knows no more than 1,024 descriptors
    poll.register(connection.connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def close() -> None:
    """End the threads and their connections (at shutdown)."""
    with _threads_lock:
        threads = list(_threads.values())
        _threads.clear()
    for pool in threads:
        for _ in range(settings.DATABASE_THREADS):
            pool.submit(connections.close_all)
        pool.shutdown(wait=True)


# --- Tables -----------------------------------------------------------------------------------------------------------

_clock_lock = threading.Lock()
_clock = 0
_drawn: list[int] = []  # from the system's generator: asking it once for many IDs is cheaper than making one of them


def uuid7() -> uuid.UUID:
    """A time-ordered UUID (RFC 9562, version 7): new rows stay together in an index, and IDs sort by creation.

    The 12 bits after the milliseconds carry the fraction of the millisecond and never go back within a process, so two
    rows of one process are always in order.
    """
    global _clock
    now = time.time_ns() * 4096 // 1_000_000  # milliseconds with a 12-bit fraction
    with _clock_lock:
        _clock = now = max(now, _clock + 1)
        if not _drawn:
            _drawn.extend(struct.unpack("256Q", os.urandom(2048)))
        bits = _drawn.pop() >> 2
    value = (now >> 12) << 80 | 0x7 << 76 | (now & 0xFFF) << 64 | 0b10 << 62 | bits
    return uuid.UUID(int=value)


class Row(models.Model):
    """Base of our own tables. The column is `_id` on every engine, because MongoDB has no other primary key."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, db_column="_id")

    class Meta:
        abstract = True


if hasattr(os, "register_at_fork"):
    # A thread pool does not survive a fork; the child makes its own.
    os.register_at_fork(after_in_child=_threads.clear)
    os.register_at_fork(after_in_child=_drawn.clear)
