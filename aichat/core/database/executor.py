"""Runs database work beside the event loop, on threads that keep their connections."""

import asyncio
import os
import select
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, close_old_connections, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from aichat.core.database.transactions import is_mongodb, vendor

P = ParamSpec("P")
T = TypeVar("T")

_threads: dict[str, ThreadPoolExecutor] = {}
_threads_lock = threading.Lock()


def _new_executor(name: str, size: int) -> ThreadPoolExecutor:
    """The threads of this name, if another thread has made them meanwhile, else new ones."""
    with _threads_lock:
        return _threads.get(name) or _threads.setdefault(name, ThreadPoolExecutor(size, thread_name_prefix=name))


async def run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run synchronous database work on a thread that keeps its connection, with the caller's context variables.

    The connection is free again when `work` returns: nothing is held while a provider is being waited for.
    """
    call = partial(copy_context().run, _with_connection, partial(work, *args, **kwargs))
    threads = _threads.get("database") or _new_executor("database", settings.DATABASE_THREADS)
    return await asyncio.get_running_loop().run_in_executor(threads, call)


def run_kept(name: str, threads: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
    """Run frequent database work on one of the `threads` of this name, each with a connection that it keeps; await it.

    The caller's context variables are not passed on, and the kept connection needs no liveness query: a connection from
    the pool does.
    """
    call = partial(_with_kept_connection, partial(work, *args, **kwargs))
    return asyncio.get_running_loop().run_in_executor(_threads.get(name) or _new_executor(name, threads), call)


def _with_connection(work: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return work()
    finally:
        if connection.settings_dict["OPTIONS"].get("pool"):
            connection.close()  # back to the pool, for the other threads


def _with_kept_connection(work: Callable[[], T]) -> T:
    if is_mongodb():
        return _with_connection(work)  # MongoDB's client keeps the connections itself
    database = connections[DEFAULT_DB_ALIAS]
    if database.connection is not None and (database.errors_occurred or _was_told_something(database)):
        database.close()
    return work()


def _was_told_something(database: BaseDatabaseWrapper) -> bool:
    """Whether the server has sent something unasked, as it does when it stops. The look costs no round trip."""
    if database.vendor != "postgresql":
        return False
    poll = select.poll()  # `select` itself knows no more than 1,024 descriptors
    poll.register(database.connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def close() -> None:
    """End the threads and their connections, and those of event loops (at shutdown)."""
    with _threads_lock:
        threads = list(_threads.values())
        _threads.clear()
    for pool in threads:
        for _ in range(settings.DATABASE_THREADS):
            pool.submit(connections.close_all)
        pool.shutdown(wait=True)
    if vendor() == "postgresql":
        from aichat.core.database.statements import on_loop

        on_loop.close()
    if vendor() == "sqlite":
        from aichat.core.database.sqlite import base

        base.close_kept()


if hasattr(os, "register_at_fork"):
    # A thread pool does not survive a fork: the child makes its own.
    os.register_at_fork(after_in_child=_threads.clear)
