"""Database work off the event loop: threads that keep their connections, and work that several callers share."""

import asyncio
import os
import select
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Generic, ParamSpec, TypeVar

from django.conf import settings
from django.db import (
    close_old_connections,
    connection,
    connections,
)

from aichat.core.database.transactions import is_mongodb

P = ParamSpec("P")
T = TypeVar("T")

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


if hasattr(os, "register_at_fork"):
    # A thread pool does not survive a fork: the child makes its own.
    os.register_at_fork(after_in_child=_threads.clear)
