"""SQLite's connections are kept, and its transactions wait in short pauses."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from aichat.core.database.sqlite import base
from aichat.core.database.sqlite.base import DatabaseWrapper

TIMEOUT = 0.3  # seconds that a transaction waits for another one
Connect = Callable[[], DatabaseWrapper]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite3"


@pytest.fixture
def connect(path: Path, django_db_blocker: Any) -> Iterator[Connect]:
    """Makes connections to a file of this test alone, each as a thread of the server has one."""
    options = {"timeout": TIMEOUT, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"}
    made: list[DatabaseWrapper] = []

    def connect() -> DatabaseWrapper:
        made.append(DatabaseWrapper({**connection.settings_dict, "NAME": str(path), "OPTIONS": options}, "another"))
        made[-1].ensure_connection()
        return made[-1]

    with django_db_blocker.unblock():  # the database of the tests is not touched
        base.close_kept()
        yield connect
        for database in made:
            database.close()
        base.close_kept()


def execute(database: DatabaseWrapper, statement: str) -> None:
    with database.cursor() as cursor:
        cursor.execute(statement)


def pragma(database: DatabaseWrapper, name: str) -> Any:
    return database.connection.execute(f"PRAGMA {name}").fetchone()[0]


def begin(database: DatabaseWrapper) -> None:
    database.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    database.in_atomic_block = True


def commit(database: DatabaseWrapper) -> None:
    database.in_atomic_block = False
    database.commit()
    database.set_autocommit(True)


# --- Connections ------------------------------------------------------------------------------------------------------


def test_a_closed_connection_is_kept_for_whoever_connects_next(connect: Connect) -> None:
    first = connect()
    opened = first.connection
    first.close()
    assert connect().connection is opened
    assert connect().connection is not opened  # somebody has it


def test_another_configuration_of_the_database_has_connections_of_its_own(connect: Connect) -> None:
    first = connect()
    other = DatabaseWrapper(first.settings_dict, "other")
    other.connect()
    opened = other.connection
    other.close()
    assert connect().connection is not opened


def test_few_connections_are_kept(connect: Connect) -> None:
    for database in [connect() for _ in range(base.MOST + 3)]:
        database.close()
    assert len(base._kept) == base.MOST


def test_a_connection_to_a_file_that_was_replaced_is_not_used_again(connect: Connect, path: Path) -> None:
    old = connect()
    execute(old, "CREATE TABLE old (id)")
    old.close()
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    new = connect()
    assert new.connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


@pytest.mark.parametrize("spoil", ["an error", "an open transaction"])
def test_a_connection_that_may_be_broken_is_not_kept(connect: Connect, spoil: str) -> None:
    database = connect()
    if spoil == "an error":
        with pytest.raises(OperationalError):
            execute(database, "SELECT * FROM missing")
    else:
        database.connection.execute("BEGIN IMMEDIATE")
    cursor = database.create_cursor()
    database.close()
    assert base._kept == []
    database.connect()
    database.close()
    assert cursor and len(base._kept) == 1  # a cursor of the first connection is not in its way


def test_a_kept_connection_sees_what_was_written_meanwhile(connect: Connect) -> None:
    """Its last user read half of the rows, and holds the cursor still: until it is closed SQLite shows the rows of then."""
    reader, writer = connect(), connect()
    execute(writer, "CREATE TABLE numbers (id)")
    execute(writer, "INSERT INTO numbers VALUES (1), (2)")
    half_read = reader.create_cursor()
    half_read.execute("SELECT id FROM numbers")
    half_read.fetchone()
    reader.close()
    execute(writer, "INSERT INTO numbers VALUES (3)")
    [(found,)] = connect().connection.execute("SELECT count(*) FROM numbers")
    assert found == 3


def test_a_kept_connection_is_set_as_a_new_one(connect: Connect) -> None:
    database = connect()
    with database.without_flush():
        begin(database)
    database.connection.execute("PRAGMA foreign_keys = OFF")  # has no effect in a transaction
    commit(database)
    database.disable_constraint_checking()
    database.close()
    again = connect()
    assert [pragma(again, name) for name in ("foreign_keys", "synchronous", "busy_timeout")] == [1, 2, 1000 * TIMEOUT]


def test_no_connection_is_carried_into_a_forked_process(connect: Connect) -> None:
    connect().close()
    assert base._kept
    child = os.fork()
    if child == 0:
        os._exit(0 if base._kept == [] else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0


# --- Transactions -----------------------------------------------------------------------------------------------------


def test_a_transaction_waits_for_another_one_and_begins_when_that_ends(connect: Connect) -> None:
    first, second = connect(), connect()
    execute(first, "CREATE TABLE numbers (id)")
    begin(first)
    ended = threading.Timer(TIMEOUT / 3, first.connection.execute, ["COMMIT"])
    ended.start()
    begin(second)
    ended.join()
    execute(second, "INSERT INTO numbers VALUES (1)")
    commit(second)
    first.in_atomic_block = False


def test_a_transaction_gives_up_after_the_timeout(connect: Connect) -> None:
    first, second = connect(), connect()
    begin(first)
    began = time.monotonic()
    with pytest.raises(OperationalError, match="locked") as error:
        begin(second)
    assert error.value and not [*second.cursors]  # else the error would keep one for the garbage collector to reset
    assert TIMEOUT <= time.monotonic() - began < 20 * TIMEOUT
    commit(first)


@pytest.mark.parametrize("cursor", [DatabaseWrapper.cursor, DatabaseWrapper.plain_cursor])
def test_a_statement_outside_of_a_transaction_waits_too(connect: Connect, cursor: Callable[..., Any]) -> None:
    first, second = connect(), connect()
    execute(first, "CREATE TABLE numbers (id)")
    begin(second)
    commit(second)  # it is set for transactions now
    begin(first)
    ended = threading.Timer(TIMEOUT / 3, first.connection.execute, ["COMMIT"])
    ended.start()
    cursor(second).execute("INSERT INTO numbers VALUES (1)")
    ended.join()
    first.in_atomic_block = False


def test_what_follows_a_transaction_without_flush_waits_for_the_disk(connect: Connect) -> None:
    database = connect()
    with database.without_flush():
        begin(database)
        assert pragma(database, "synchronous") == 1  # NORMAL
        commit(database)
    begin(database)
    assert pragma(database, "synchronous") == 2  # FULL
    commit(database)
    with database.without_flush():
        begin(database)
        commit(database)
    execute(database, "CREATE TABLE numbers (id)")
    assert pragma(database, "synchronous") == 2
