"""Sends whole transactions to PostgreSQL from the event loop, without a thread: one round trip for each.

A thread costs two wake-ups for every transaction, and while it works it takes the interpreter from the requests. The
connections here are the event loop's own, beside the pool: each carries one transaction after the other.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGresult

from aichat.core.database.statements.pipeline import Exchange, Line, Rows
from aichat.core.database.statements.prepared import Statement

LOOK = 0.25  # seconds without an answer, after which the socket is looked at though the event loop has told nothing
# The commit does not wait until the log is on disk; the next durable commit writes it too.
WITHOUT_WAITING_FOR_THE_DISK = "SET LOCAL synchronous_commit = off"


async def commit(statements: Sequence[tuple[Statement, Sequence[Any]]], *, durable: bool) -> list[Rows]:
    """Send statements with their values as one transaction, in one round trip; return the rows of each.

    Unless `durable` the commit does not wait for the disk: a crash of the server may lose the transaction, and never a
    later one without it (https://www.postgresql.org/docs/current/wal-async-commit.html). Raises `django.db.Error`, with
    nothing done, unless `outcomes.was_sent_with_commit` says that the answer to COMMIT was lost. There are as many
    connections as callers at the same time.
    """
    free = _free.setdefault(asyncio.get_running_loop(), [])
    while free:
        connection = free.pop()
        if connection.is_open:
            break
    else:
        connection = _Connection(await asyncio.to_thread(_connect))
    try:
        return await connection.commit(statements, durable=durable)
    finally:
        if connection.is_deaf:
            connection.close()
        elif connection.is_open:
            free.append(connection)


def close() -> None:
    """Close the connections of all event loops. No transaction may be on its way."""
    for connection in list(_connections):
        loop = connection.loop()
        if loop is not None and loop.is_running():
            loop.call_soon_threadsafe(connection.close)
        else:
            connection.close()


def _connect() -> BaseDatabaseWrapper:
    """A connection as Django makes it, outside of the pool: the event loop keeps it."""
    database = connections.create_connection(DEFAULT_DB_ALIAS)
    options = {name: value for name, value in database.settings_dict["OPTIONS"].items() if name != "pool"}
    database.settings_dict = {**database.settings_dict, "OPTIONS": options}
    database.ensure_connection()
    return database


class _Connection:
    """One connection, and the answer that it waits for."""

    def __init__(self, database: BaseDatabaseWrapper) -> None:
        self.database = database
        self.line = Line(database.connection)
        self.libpq, self.socket = self.line.libpq, self.line.libpq.socket
        self.libpq.nonblocking = 1
        self.libpq.enter_pipeline_mode()
        self.answer: asyncio.Future[None] | None = None
        self.looking: asyncio.TimerHandle | None = None
        self.is_deaf = False  # it had an answer of which the event loop told nothing
        loop = asyncio.get_running_loop()
        self.loop = ref(loop)  # `_free` would keep an event loop that a connection of it keeps
        loop.add_reader(self.socket, self.read)
        self.is_open = True
        _connections.add(self)

    async def commit(self, statements: Sequence[tuple[Statement, Sequence[Any]]], *, durable: bool) -> list[Rows]:
        begin = ["BEGIN"] if durable else ["BEGIN", WITHOUT_WAITING_FOR_THE_DISK]
        texts = [(statement.text, values) for statement, values in statements]
        exchanges = self.line.exchanges(texts, begin, ["COMMIT"])
        with self.database.wrap_database_errors:
            try:
                exchange = next(exchanges)
                while True:
                    exchange = exchanges.send(await self.exchange(exchange))
            except StopIteration as end:
                rows: list[Rows] = end.value
                return rows
            finally:
                await self.end_transaction()

    async def end_transaction(self) -> None:
        """Roll a transaction back that has failed."""
        if self.is_open and self.libpq.transaction_status != TransactionStatus.IDLE:
            await self.exchange(Exchange([self.line.saying("ROLLBACK")], commits=False))

    async def exchange(self, exchange: Exchange) -> list[PGresult]:
        """Send all commands, and return one result for each.

        When the connection is lost and the last command commits, the error says so in its attribute `commit_was_sent`.
        """
        loop = asyncio.get_running_loop()
        self.answer = loop.create_future()
        # The server ends a statement after DATABASE_TIMEOUT itself.
        self.looking = loop.call_later(LOOK, self.look, loop.time() + 1.5 * settings.DATABASE_TIMEOUT)
        try:
            self.line.put(exchange)
            self.write()
            await self.answer
        except BaseException as lost:
            lost.commit_was_sent = exchange.commits  # type: ignore[attr-defined]
            self.close()  # the next transaction would take the outstanding results for its own
            raise
        finally:
            self.answer = None
            self.looking.cancel()
        return self.line.checked(exchange)

    def look(self, deadline: float) -> None:
        """Take an answer of which the event loop has told nothing, or give up at the deadline, in seconds of its clock.

        Event loops know sockets by their numbers, so a mistake of anybody about a number that was used again is enough: then
        all reservations would wait for this answer.
        """
        loop = asyncio.get_running_loop()
        self.read()
        if self.answer is None or self.answer.done():
            self.is_deaf = True
        elif loop.time() > deadline:
            self.fail(psycopg.OperationalError("The server does not answer."))
        else:
            self.looking = loop.call_later(LOOK, self.look, deadline)

    def write(self) -> None:
        """Send what the socket takes, and the rest when it takes more."""
        if self.libpq.flush():
            asyncio.get_running_loop().add_writer(self.socket, self.go_on_writing)

    def go_on_writing(self) -> None:
        try:
            if not self.libpq.flush():
                asyncio.get_running_loop().remove_writer(self.socket)
        except Exception as error:
            self.fail(error)

    def read(self) -> None:
        """Take what the server has sent. Unasked it says only that it ends: then the connection is not used again."""
        try:
            self.libpq.consume_input()
            if self.answer is None:
                self.close()
            elif self.line.take() and not self.answer.done():
                self.answer.set_result(None)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Close the connection, and hand the error to whoever waits for an answer.

        At once, even when the last answer has come and its transaction goes on: libpq has closed the socket, and the event
        loop, which knows it by its number, would later be told to forget whichever connection has that number by then.
        """
        self.close()
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            loop = self.loop()
            if loop is not None and not loop.is_closed():
                loop.remove_reader(self.socket)
                loop.remove_writer(self.socket)
            self.database.connection.close()
            _connections.discard(self)


_free: WeakKeyDictionary[asyncio.AbstractEventLoop, list[_Connection]] = WeakKeyDictionary()
_connections: WeakSet[_Connection] = WeakSet()


def _forget() -> None:
    """In a forked child: the connections are the parent's, and a child that closed them would end its sessions."""
    _free.clear()
    _connections.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
