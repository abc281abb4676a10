"""A text that is sent often, and how it goes to each driver."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from django.db import DEFAULT_DB_ALIAS, DataError, connections


class Statement:
    """A text that is sent often, written with `%s`, and prepared once: by SQLite's driver, or by PostgreSQL.

    It goes to the driver without Django's cursor, which on PostgreSQL writes each value into the text, in Python, and on
    SQLite looks for the places of the values each time; unless somebody reads along (`DEBUG`, a test, an execute wrapper).
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.with_question_marks = text.replace("%s", "?")

    def __call__(self, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Send it; answers the rows that come back."""
        return Statement.together([(self, values)])[0]

    @staticmethod
    def together(
        statements: "Sequence[tuple[Statement, Sequence[Any]]]", *, last: bool = False
    ) -> list[list[tuple[Any, ...]]]:
        """Send several with their values, and answer the rows of each; to PostgreSQL in one round trip.

        `last` is for who began the transaction itself and does nothing more in it: there its end goes along.
        """
        database = connections[DEFAULT_DB_ALIAS]
        if _is_read_along(database):
            with _readable_cursor(database) as cursor:
                return [_rows(cursor, statement.text, values) for statement, values in statements]
        if database.vendor == "postgresql":
            from aichat.core.database.statements import pipeline  # 0.1 s that others need not wait

            with _ready(database):
                texts = [(statement.text, values) for statement, values in statements]
                return pipeline.send(database.connection, texts, commit=last and database.in_atomic_block)
        with _driver(database) as driver:
            return [_rows(driver, statement.with_question_marks, values) for statement, values in statements]

    def many(self, rows: Sequence[Sequence[Any]]) -> None:
        """Send it once for each row, which only SQLite does without a round trip each."""
        database = connections[DEFAULT_DB_ALIAS]
        if _is_read_along(database):
            with database.cursor() as cursor:
                cursor.executemany(self.text, rows)
            return
        with _driver(database) as driver:
            driver.executemany(self.with_question_marks, rows)


def _rows(cursor: Any, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    cursor.execute(text, values)
    return cursor.fetchall() if cursor.description else []


def _is_read_along(database: Any) -> bool:
    return bool(database.queries_logged or database.execute_wrappers)


@contextmanager
def _ready(database: Any) -> Iterator[None]:
    """Connected, with Django's errors and its refusal to go on in a broken transaction."""
    database.ensure_connection()
    database.validate_no_broken_transaction()
    with database.wrap_database_errors:
        yield


@contextmanager
def _driver(database: Any) -> Iterator[sqlite3.Cursor]:
    """SQLite's own cursor."""
    with _ready(database):
        cursor = database.connection.cursor(sqlite3.Cursor)
        try:
            yield cursor
        finally:
            cursor.close()


def _readable_cursor(database: Any) -> Any:
    """Django's, except that PostgreSQL binds the values: it takes text for a UUID or a number."""
    if database.vendor != "postgresql":
        return database.cursor()
    from psycopg import Cursor

    database.ensure_connection()
    return database._prepare_cursor(Cursor(database.connection))


def recordset(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as PostgreSQL's `json_to_recordset` reads them."""
    try:
        return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str).decode()
    except orjson.JSONEncodeError as error:  # an integer beyond 64 bits, half a surrogate pair
        raise DataError(str(error)) from error
