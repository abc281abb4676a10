"""Statements sent without the ORM, for the few places where it would cost more than the database's own work.

`insert` writes what `bulk_create` writes, at a tenth of its time: how each column is converted is decided once for each
model, and the whole list is one parameter (PostgreSQL), one prepared statement (SQLite) or one call (MongoDB).
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cache
from operator import itemgetter
from types import NoneType
from typing import Any, TypeAlias
from uuid import UUID

import orjson
from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, connection, connections, models

Convert = Callable[[Any], Any]
Field: TypeAlias = "models.Field[Any, Any]"


def insert(rows: Sequence[models.Model]) -> None:
    """Add new rows of one model in the current transaction; no signals, and keys must be set (as `db.Row` does).

    Values are plain ones, no expressions. Raises what `bulk_create` would: `IntegrityError` on a collision.
    """
    if not rows:
        return
    insert_values(type(rows[0]), [row.__dict__ for row in rows])
    for row in rows:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def insert_values(model: type[models.Model], rows: Sequence[Mapping[str, Any]]) -> None:
    """The same without instances, which cost as much again: every column's value, by its attribute's name."""
    if not rows:
        return
    vendor = connection.vendor
    table = _table(model, vendor)
    WRITERS[vendor](table, [table.values(row) for row in rows])


class Statement:
    """A text that is sent often, written with `%s`, and prepared once: by SQLite's driver, or by PostgreSQL.

    It goes to the driver without Django's cursor, which on PostgreSQL writes each value into the text, in Python, and on
    SQLite looks for the places of the values each time; unless somebody reads along (`DEBUG`, a test, an execute wrapper).
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._with_question_marks = text.replace("%s", "?")

    def __call__(self, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Send it; answers the rows that come back."""
        database = connections[DEFAULT_DB_ALIAS]
        if database.queries_logged or database.execute_wrappers:
            with _readable_cursor(database) as cursor:
                cursor.execute(self.text, values)
                return cursor.fetchall() if cursor.description else []
        with _driver(database) as (cursor, is_sqlite):
            cursor.execute(self._with_question_marks if is_sqlite else self.text, values)
            return cursor.fetchall() if cursor.description else []

    def many(self, rows: Sequence[Sequence[Any]]) -> None:
        """Send it once for each row, which only SQLite does without a round trip each."""
        database = connections[DEFAULT_DB_ALIAS]
        if database.queries_logged or database.execute_wrappers:
            with database.cursor() as cursor:
                cursor.executemany(self.text, rows)
            return
        with _driver(database) as (cursor, _):
            cursor.executemany(self._with_question_marks, rows)


@contextmanager
def _driver(database: Any) -> Iterator[tuple[Any, bool]]:
    """The driver's own cursor, with Django's errors and its refusal to go on in a broken transaction."""
    database.ensure_connection()
    database.validate_no_broken_transaction()
    with database.wrap_database_errors:
        if database.vendor == "sqlite":
            cursor = database.connection.cursor(sqlite3.Cursor)
            try:
                yield cursor, True
            finally:
                cursor.close()
        else:
            yield _postgresql_cursor(database.connection), False


def _postgresql_cursor(connection: Any) -> Any:
    """One that lets the server bind the values; kept with its connection, because making one costs 10 µs."""
    cursor = getattr(connection, "statements_cursor", None)
    if cursor is None:
        cursor = connection.statements_cursor = _new_postgresql_cursor(connection)
    return cursor


def _new_postgresql_cursor(connection: Any) -> Any:
    from psycopg import Cursor

    return Cursor(connection)


def _readable_cursor(database: Any) -> Any:
    if database.vendor != "postgresql":
        return database.cursor()
    database.ensure_connection()
    return database._prepare_cursor(_new_postgresql_cursor(database.connection))


# --- Columns ----------------------------------------------------------------------------------------------------------


class Table:
    """A model's columns, and how a row's values become the driver's."""

    def __init__(self, model: type[models.Model], vendor: str) -> None:
        fields: list[Any] = [field for field in model._meta.concrete_fields if not field.generated]
        self.name = model._meta.db_table
        self.names: list[str] = [field.column for field in fields]
        self.insert = Statement("" if vendor == "mongodb" else _insert_text(self.name, fields))
        self._read = itemgetter(*(field.attname for field in fields))
        self._steps = [_step(field, vendor) for field in fields]
        computed = [field.name for field in fields if _is_computed(field)]
        if computed:
            raise TypeError(f"{model.__name__} needs bulk_create: saving it computes {', '.join(computed)}.")

    def values(self, row: Mapping[str, Any]) -> list[Any]:
        return [
            value if type(value) in plain else convert(value)
            for value, (plain, convert) in zip(self._read(row), self._steps, strict=True)
        ]


@cache
def _table(model: type[models.Model], vendor: str) -> Table:
    return Table(model, vendor)


def _is_computed(field: Field) -> bool:
    """Whether saving changes the row (a file is stored, a date set)."""
    if isinstance(field, models.DateField):
        return field.auto_now or field.auto_now_add
    return type(field).pre_save is not models.Field.pre_save


PLAIN: dict[str, frozenset[type]] = {
    "CharField": frozenset({str}),
    "TextField": frozenset({str}),
    "BooleanField": frozenset({bool}),
    "FloatField": frozenset({float}),
    "PositiveSmallIntegerField": frozenset({int}),
    "SmallIntegerField": frozenset({int}),
    "PositiveIntegerField": frozenset({int}),
    "IntegerField": frozenset({int}),
    "BigIntegerField": frozenset({int}),
}
NONE = frozenset({NoneType})


def _step(field: Field, vendor: str) -> tuple[frozenset[type], Convert]:
    """Values of the first types go to the driver as they are, others are converted."""
    target: Any = field
    while isinstance(target, models.ForeignKey):
        target = target.target_field
    kind = target.get_internal_type()
    plain = PLAIN.get(kind, frozenset()) | NONE

    def as_django_does(value: Any) -> Any:
        return field.get_db_prep_save(value, connection)

    convert = FAST.get((vendor, kind), _unchanged)(as_django_does)
    if kind == "CharField":
        convert = _choice(convert)
    if kind == "JSONField" and vendor != "mongodb":
        convert = _json_text(target.encoder, orjson.Fragment if vendor == "postgresql" else str)
    if vendor == "postgresql" and kind in {"UUIDField", "DateField", "DateTimeField"}:
        plain |= {UUID, date, datetime}
    if vendor == "mongodb":
        if "IntegerField" in kind and "Small" not in kind:
            plain = NONE  # of a class of its own, lest the driver store a small number shorter
        if not field.null:
            plain, convert = plain - NONE, _not_null(field, convert)
    return plain, convert


def _unchanged(convert: Convert) -> Convert:
    return convert


def _choice(otherwise: Convert) -> Convert:
    return lambda value: value.value if isinstance(value, models.TextChoices) else otherwise(value)


def _json_text(encoder: Any, wrap: Convert) -> Convert:
    return lambda value: wrap(json.dumps(value, cls=encoder))


def _not_null(field: Field, convert: Convert) -> Convert:
    """MongoDB has no NOT NULL: its backend checks when it saves."""

    def checked(value: Any) -> Any:
        if value is None:
            raise IntegrityError(f"You can't set {field.name} (a non-nullable field) to None.")
        return convert(value)

    return checked


def _hex(otherwise: Convert) -> Convert:
    return lambda value: value.hex if type(value) is UUID else otherwise(value)


def _utc_text(otherwise: Convert) -> Convert:
    def text(value: Any) -> Any:
        if type(value) is datetime and value.tzinfo is UTC:
            return str(value.replace(tzinfo=None))
        return otherwise(value)

    return text


def _day_text(otherwise: Convert) -> Convert:
    return lambda value: value.isoformat() if type(value) is date else otherwise(value)


def _int64(otherwise: Convert) -> Convert:
    from bson import Int64

    return lambda value: Int64(value) if type(value) is int else otherwise(value)


FAST: dict[tuple[str, str], Callable[[Convert], Convert]] = {
    ("sqlite", "UUIDField"): _hex,
    ("sqlite", "DateTimeField"): _utc_text,
    ("sqlite", "DateField"): _day_text,
    ("mongodb", "UUIDField"): _hex,
    ("mongodb", "BigIntegerField"): _int64,
    ("mongodb", "IntegerField"): _int64,
    ("mongodb", "PositiveIntegerField"): _int64,
}


# --- Writing ----------------------------------------------------------------------------------------------------------


def _quoted(name: str | None) -> str:
    return connection.ops.quote_name(name or "")


def _insert_text(table: str, fields: Sequence[Field]) -> str:
    names = ", ".join(_quoted(field.column) for field in fields)
    beginning = f"INSERT INTO {_quoted(table)} ({names})"
    if connection.vendor != "postgresql":
        return f"{beginning} VALUES ({', '.join(['%s'] * len(fields))})"
    # One text for any number of rows, so that it is prepared once; and faster than VALUES, COPY or arrays.
    typed = ", ".join(f"{_quoted(field.column)} {field.db_type(connection)}" for field in fields)
    return f"{beginning} SELECT {names} FROM json_to_recordset(%s::json) AS new ({typed})"


def _write_sqlite(table: Table, rows: list[list[Any]]) -> None:
    table.insert.many(rows)


def _write_postgresql(table: Table, rows: list[list[Any]]) -> None:
    table.insert([recordset(table.names, rows)])


def recordset(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as PostgreSQL's `json_to_recordset` reads them."""
    try:
        return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str).decode()
    except orjson.JSONEncodeError as error:  # an integer beyond 64 bits, half a surrogate pair
        raise DataError(str(error)) from error


def _write_mongodb(table: Table, rows: list[list[Any]]) -> None:
    from django_mongodb_backend.query import wrap_database_errors

    collection = connection.get_collection(table.name)  # type: ignore[attr-defined]
    documents = [dict(zip(table.names, row, strict=True)) for row in rows]
    wrap_database_errors(collection.insert_many)(documents, session=connection.session)  # type: ignore[attr-defined]


WRITERS: dict[str, Callable[[Table, list[list[Any]]], None]] = {
    "sqlite": _write_sqlite,
    "postgresql": _write_postgresql,
    "mongodb": _write_mongodb,
}
