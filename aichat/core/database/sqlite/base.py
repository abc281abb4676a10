"""The connection to SQLite. Django loads this module for `ENGINE = "aichat.core.database.sqlite"`.

Connections are kept: Django runs each synchronous view in a thread of its own, and closes the thread's connection after it.
To open one anew takes as long as three small views: the file, 60 functions of Python, a few pragmas, and all of the schema,
which SQLite parses for each connection. So a closed connection waits for whoever connects next, as in psycopg's pool.

Transactions wait for each other in short pauses: those of SQLite's own grow to 0.1 s while the one that is waited for takes
a millisecond or two.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

from django.db.backends.sqlite3 import base

MOST = 8  # kept connections of a process: the last one closed is taken first, so few of them fill their page caches
SHORTEST_PAUSE, LONGEST_PAUSE = 0.0005, 0.01  # seconds between two tries to begin a transaction


class Kept(NamedTuple):
    """A connection that nobody uses. `file` tells whether the path still leads to the file that it has open."""

    alias: str  # a database that is configured in two ways has two
    database: str
    file: tuple[int, int]
    connection: sqlite3.Connection


_kept: list[Kept] = []
_waiting = threading.Lock()  # one thread of a process tries: several would take the interpreter from the one that works


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's connection to SQLite; the driver's connection outlives it."""

    transaction_mode: str

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cursors: WeakSet[sqlite3.Cursor] = WeakSet()
        self.flushes = True  # what the caller wants of the next transaction: that its commit waits for the disk
        # How the driver's connection is set. Each change costs a hundredth of a chat, so it is made when it is needed.
        self.is_waiting = self.is_flushing = True

    # --- Transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def without_flush(self) -> Iterator[None]:
        """Inside, transactions are begun whose commit is written to the disk together with the next durable one."""
        self.flushes = False
        try:
            yield
        finally:
            self.flushes = True

    def _start_transaction_under_autocommit(self) -> None:
        """Begin a transaction, after those of others.

        No cursor is made that an error could keep alive: the garbage collector would reset it in any thread, waiting with the
        interpreter in hand for a connection that waits for that thread's transaction.
        """
        if self.queries_logged or self.execute_wrappers:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
            return
        timeout = self.settings_dict["OPTIONS"]["timeout"]
        deadline, pause = time.monotonic() + timeout, SHORTEST_PAUSE
        if self.is_waiting or self.flushes is not self.is_flushing:
            self._set(waiting=False, flushing=self.flushes)
        lock = _waiting
        is_first = lock.acquire(timeout=timeout)
        try:
            while not self._begin(is_last_try=time.monotonic() > deadline):
                time.sleep(pause)
                pause = min(1.2 * pause, LONGEST_PAUSE)
        finally:
            if is_first:
                lock.release()

    def _begin(self, *, is_last_try: bool) -> bool:
        """Return whether the transaction has begun: not while another one writes, which is an error at the last try."""
        with self.wrap_database_errors:
            try:
                self.connection.execute(f"BEGIN {self.transaction_mode}")
            except sqlite3.OperationalError as error:
                if is_last_try or error.sqlite_errorname != "SQLITE_BUSY":
                    raise
                return False
        return True

    def _set(self, *, waiting: bool, flushing: bool) -> None:
        """Set whether statements wait for the transactions of others, and whether commits wait for the disk."""
        if waiting is not self.is_waiting:
            seconds = self.settings_dict["OPTIONS"]["timeout"] if waiting else 0
            self.connection.execute(f"PRAGMA busy_timeout = {int(1000 * seconds)}")
            self.is_waiting = waiting
        if flushing is not self.is_flushing:
            self.connection.execute(f"PRAGMA synchronous = {'FULL' if flushing else 'NORMAL'}")
            self.is_flushing = flushing

    def create_cursor(self, name: str | None = None) -> Any:
        return self._known(super().create_cursor(name))

    def plain_cursor(self) -> sqlite3.Cursor:
        """Return a cursor of the driver's own, for statements that have `?` in place of each value."""
        return self._known(self.connection.cursor(sqlite3.Cursor))

    def _known(self, cursor: sqlite3.Cursor) -> sqlite3.Cursor:
        is_set = self.is_waiting and self.is_flushing
        if not (is_set or self.in_atomic_block or self.connection.in_transaction):
            self._set(waiting=True, flushing=True)  # each of its statements is a transaction of its own
        self.cursors.add(cursor)
        return cursor

    # --- Connections --------------------------------------------------------------------------------------------------

    def get_new_connection(self, conn_params: dict[str, Any]) -> sqlite3.Connection:
        self.is_waiting = self.is_flushing = True
        database = str(conn_params["database"])
        file = _file(database)
        while _kept:
            with suppress(IndexError):  # another thread took the last one
                kept = _kept.pop()
                if kept[:3] == (self.alias, database, file):
                    return kept.connection
                kept.connection.close()
        connection: sqlite3.Connection = super().get_new_connection(conn_params)
        return connection

    def _close(self) -> None:
        database = str(self.settings_dict["NAME"])
        file = _file(database)
        for cursor in [*self.cursors]:
            cursor.close()  # one that was not read to its end would keep its view of the database
        self.cursors.clear()
        is_clean = not (self.errors_occurred or self.in_atomic_block or self.connection.in_transaction)
        if file is None or not is_clean or len(_kept) >= MOST:
            self.connection.close()
            return
        if not (self.is_waiting and self.is_flushing):
            self._set(waiting=True, flushing=True)
        self.connection.execute("PRAGMA foreign_keys = ON")  # whatever was done with it
        _kept.append(Kept(self.alias, database, file, self.connection))


def _file(database: str) -> tuple[int, int] | None:
    """Return the device and number of the file at this path; None when there is no file, as for a database in memory."""
    try:
        found = Path(database).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def close_kept() -> None:
    """Close the connections that nobody uses. The last one of all to be closed writes SQLite's log into the database."""
    while _kept:
        with suppress(IndexError):
            _kept.pop().connection.close()


def _renew_lock() -> None:
    """Make a new lock in a forked child: a thread of the parent that has the old one would never release it there."""
    global _waiting
    _waiting = threading.Lock()


if hasattr(os, "register_at_fork"):
    # SQLite's connections must not be carried across a fork: https://www.sqlite.org/howtocorrupt.html
    os.register_at_fork(before=close_kept, after_in_child=_renew_lock)
