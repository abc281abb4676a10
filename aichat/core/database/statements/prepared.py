"""Statements that are sent often, by the quickest way to each engine's driver."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import orjson
from django.db import DEFAULT_DB_ALIAS, DataError, connections


class Statement:
    """A SQL text with `%s` places that is sent often and prepared once, by SQLite's driver or by PostgreSQL.

    The statement bypasses Django's cursor, which on PostgreSQL writes each value into the text in Python and on SQLite
    searches the text for places each time. Django's cursor is used while statements are logged (DEBUG, tests, wrappers).
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.with_question_marks = text.replace("%s", "?")

    def __call__(self, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Send the statement with its values; return the rows."""
        return Statement.together([(self, values)])[0]

    @staticmethod
    def together(
        statements: "Sequence[tuple[Statement, Sequence[Any]]]", *, last: bool = False
    ) -> list[list[tuple[Any, ...]]]:
        """Send several statements with their values; return the rows of each. PostgreSQL gets them in one round trip.

        `last`: the caller began the transaction and does nothing more in it, so PostgreSQL gets COMMIT in the same trip.
        """
        database: Any = connections[DEFAULT_DB_ALIAS]
        if database.queries_logged or database.execute_wrappers:
            with _readable_cursor(database) as cursor:
                return [_rows(cursor, statement.text, values) for statement, values in statements]
        if database.vendor == "postgresql":
            from aichat.core.database.statements import pipeline  # 0.1 s that others need not wait

            with _ready(database):
                texts = [(statement.text, values) for statement, values in statements]
                return pipeline.send(database.connection, texts, commit=last and database.in_atomic_block)
        found = []
        with _ready(database), closing(database.plain_cursor()) as driver:
            for statement, values in statements:
                found.append(_rows(driver, statement.with_question_marks, values))
        return found

    def many(self, rows: Sequence[Sequence[Any]]) -> None:
        """Send the statement once for each row of values. For SQLite, where this needs no round trips."""
        database: Any = connections[DEFAULT_DB_ALIAS]
        if database.queries_logged or database.execute_wrappers:
            with database.cursor() as cursor:
                cursor.executemany(self.text, rows)
            return
        with _ready(database), closing(database.plain_cursor()) as driver:
            driver.executemany(self.with_question_marks, rows)


def _rows(cursor: Any, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    cursor.execute(text, values)
    return cursor.fetchall() if cursor.description else []


def _ready(database: Any) -> Any:
    """Connect if needed and refuse a broken transaction, as Django does; return Django's translator of driver errors."""
    database.ensure_connection()
    database.validate_no_broken_transaction()
    return database.wrap_database_errors


def _readable_cursor(database: Any) -> Any:
    """Django's logging cursor; for PostgreSQL one that binds values in the server, which takes text for any type."""
    if database.vendor != "postgresql":
        return database.cursor()
    from psycopg import Cursor

    database.ensure_connection()
    return database._prepare_cursor(Cursor(database.connection))


def recordset(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The rows as the JSON text that PostgreSQL's `json_to_recordset` takes. Raises `DataError` for what JSON can't say."""
    try:
        return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str).decode()
    except orjson.JSONEncodeError as error:  # an integer beyond 64 bits, half a surrogate pair
        raise DataError(str(error)) from error
