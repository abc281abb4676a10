"""Statements sent without the ORM, for the few places where it would cost more than the database's own work.

`insert` writes what `bulk_create` writes, at a tenth of its time: how each column is converted is decided once for each
model, and the whole list is one parameter (PostgreSQL), one prepared statement (SQLite) or one call (MongoDB).
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import cache
from operator import itemgetter
from types import NoneType
from typing import Any, TypeAlias
from uuid import UUID

import orjson
from django.db import DataError, IntegrityError, connection, models

Convert = Callable[[Any], Any]
Field: TypeAlias = "models.Field[Any, Any]"


def insert(rows: Sequence[models.Model]) -> None:
    """Add new rows of one model in the current transaction; no signals, and keys must be set (as `db.Row` does).

    Values are plain ones, no expressions. Raises what `bulk_create` would: `IntegrityError` on a collision.
    """
    if not rows:
        return
    table = _table(type(rows[0]), connection.vendor)
    WRITERS[connection.vendor](table, [table.values(row) for row in rows])
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias


def cursor() -> Any:
    """A cursor of Django's (its errors, its query log); on PostgreSQL one whose statements the server prepares once.

    Django's own on PostgreSQL writes every value into the statement, in Python.
    """
    if connection.vendor != "postgresql":
        return connection.cursor()
    from psycopg import Cursor

    connection.ensure_connection()
    return connection._prepare_cursor(Cursor(connection.connection))  # type: ignore[attr-defined]


# --- Columns ----------------------------------------------------------------------------------------------------------


class Table:
    """A model's columns, and how a row's values become the driver's."""

    def __init__(self, model: type[models.Model], vendor: str) -> None:
        fields: list[Any] = [field for field in model._meta.concrete_fields if not field.generated]
        self.name = model._meta.db_table
        self.names: list[str] = [field.column for field in fields]
        self.statement = "" if vendor == "mongodb" else _insert_statement(self.name, fields)
        self._read = itemgetter(*(field.attname for field in fields))
        self._steps = [_step(field, vendor) for field in fields]
        self._computed = [field for field in fields if _is_computed(field)]

    def values(self, row: models.Model) -> list[Any]:
        for field in self._computed:
            field.pre_save(row, True)
        return [
            value if type(value) in plain else convert(value)
            for value, (plain, convert) in zip(self._read(row.__dict__), self._steps, strict=True)
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
    target: Any = field.target_field if isinstance(field, models.ForeignKey) else field
    kind = target.get_internal_type()
    plain = PLAIN.get(kind, frozenset()) | NONE

    def as_django_does(value: Any) -> Any:
        return field.get_db_prep_save(value, connection)

    convert = FAST.get((vendor, kind), _unchanged)(as_django_does)
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


def _insert_statement(table: str, fields: Sequence[Field]) -> str:
    names = ", ".join(_quoted(field.column) for field in fields)
    beginning = f"INSERT INTO {_quoted(table)} ({names})"
    if connection.vendor != "postgresql":
        return f"{beginning} VALUES ({', '.join(['%s'] * len(fields))})"
    # One text for any number of rows, so that it is prepared once; and faster than VALUES, COPY or arrays.
    typed = ", ".join(f"{_quoted(field.column)} {field.db_type(connection)}" for field in fields)
    return f"{beginning} SELECT {names} FROM json_to_recordset(%s::json) AS new ({typed})"


def _write_sqlite(table: Table, rows: list[list[Any]]) -> None:
    with cursor() as sending:
        sending.executemany(table.statement, rows)


def _write_postgresql(table: Table, rows: list[list[Any]]) -> None:
    with cursor() as sending:
        sending.execute(table.statement, [recordset(table.names, rows)])


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
