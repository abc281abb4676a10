"""Inserts new rows: converts a model's values to the driver's, and writes them on each engine."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from operator import attrgetter, itemgetter
from types import NoneType
from typing import Any, TypeAlias
from uuid import UUID

import orjson
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connection, models

from aichat.core.database import transactions
from aichat.core.database.statements.prepared import Statement, recordset

Convert = Callable[[Any], Any]
Field: TypeAlias = "models.Field[Any, Any]"
NewRow: TypeAlias = tuple[type[models.Model], Mapping[str, Any]]  # every column's value, by its attribute's name


def insert(rows: Sequence[models.Model]) -> None:
    """Insert new instances of one model in the current transaction, without signals; keys must be set (as `Row` does).

    Values must be plain, not expressions. Raises `IntegrityError` on a collision, as `bulk_create` would.
    """
    if not rows:
        return
    insert_values(type(rows[0]), [row.__dict__ for row in rows])
    for row in rows:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def insert_values(model: type[models.Model], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of one model given as mappings from attribute names to values, with a value for every column."""
    insert_rows([(model, row) for row in rows])


def insert_rows(rows: Iterable[NewRow], *, last: bool = False) -> None:
    """Insert rows of several models, model by model in order of first appearance; on PostgreSQL in one round trip.

    `last`: the caller began the transaction and does nothing more in it, so PostgreSQL gets COMMIT in the same trip.
    """
    if tables := _by_table(rows):
        WRITERS[transactions.vendor()](tables, last)


def _by_table(rows: Iterable[NewRow]) -> "Rows":
    """The rows as the driver's values, by table in order of first appearance."""
    by_model: dict[type[models.Model], tuple[Table, list[list[Any]]]] = {}
    vendor = transactions.vendor()
    for model, values in rows:
        found = by_model.get(model)
        if found is None:
            found = by_model[model] = (_table(model, vendor), [])
        found[1].append(found[0].values(values))
    return list(by_model.values())


def insertions(rows: Iterable[NewRow]) -> "list[tuple[Statement, list[Any]]]":
    """PostgreSQL's statements that insert the rows, one for each model in order of first appearance, with their values."""
    return [(table.insert, [recordset(table.names, values)]) for table, values in _by_table(rows)]


def table_of(model: type[models.Model]) -> "Table":
    """The table of a model on the configured database."""
    return _table(model, transactions.vendor())


class Encoded:
    """A value for a JSON column that is written often, with its JSON text made once."""

    __slots__ = ("text", "value")

    def __init__(self, value: Any) -> None:
        self.value, self.text = value, json.dumps(value)


# --- Columns ----------------------------------------------------------------------------------------------------------


class Table:
    """A model's columns and the conversion of a row's values to the driver's."""

    def __init__(self, model: type[models.Model], vendor: str) -> None:
        fields: list[Any] = [field for field in model._meta.concrete_fields if not field.generated]
        self.name = model._meta.db_table
        self.names: list[str] = [field.column for field in fields]
        self.insert = Statement("" if vendor == "mongodb" else _insert_text(self.name, fields))
        # PostgreSQL's: the columns that a recordset of rows has.
        self.typed = "" if vendor == "mongodb" else _typed(fields)
        self._read = itemgetter(*(field.attname for field in fields))
        self._columns = [_column(field, vendor) for field in fields]
        self._steps: dict[tuple[type, ...], list[tuple[int, Convert]]] = {}
        computed = [field.name for field in fields if _is_computed(field)]
        if computed:
            raise TypeError(f"{model.__name__} needs bulk_create: saving it computes {', '.join(computed)}.")

    def values(self, row: Mapping[str, Any]) -> list[Any]:
        values = list(self._read(row))
        kinds = tuple(map(type, values))
        steps = self._steps.get(kinds)
        if steps is None:
            steps = self._steps[kinds] = self._plan(kinds)
        for place, convert in steps:
            values[place] = convert(values[place])
        return values

    def _plan(self, kinds: Sequence[type]) -> list[tuple[int, Convert]]:
        """The conversions that a row with values of these types needs, by place. Most rows of a table share one plan."""
        return [
            (place, fast.get(kind, convert))
            for place, (kind, (plain, convert, fast)) in enumerate(zip(kinds, self._columns, strict=True))
            if kind not in plain
        ]


@cache
def _table(model: type[models.Model], vendor: str) -> Table:
    return Table(model, vendor)


def _is_computed(field: Field) -> bool:
    """Whether `save` would compute this column (a stored file, an automatic date)."""
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


def _column(field: Field, vendor: str) -> tuple[frozenset[type], Convert, Mapping[type, Convert]]:
    """How a column's values are converted: (types that need no conversion, the conversion, faster ones by type)."""
    target: Any = field
    while isinstance(target, models.ForeignKey):
        target = target.target_field
    kind = target.get_internal_type()
    plain = PLAIN.get(kind, frozenset()) | NONE

    def as_django_does(value: Any) -> Any:
        return field.get_db_prep_save(value, connection)

    convert: Convert = as_django_does
    if (vendor, kind) == ("sqlite", "DateTimeField"):
        convert = _utc_text(as_django_does)
    if kind == "CharField":
        convert = _choice(convert)
    if kind == "JSONField":
        wrap = orjson.Fragment if vendor == "postgresql" else str
        convert = _json_value(convert) if vendor == "mongodb" else _json_text(target.encoder, wrap)
    if vendor == "postgresql" and kind in {"UUIDField", "DateField", "DateTimeField"}:
        plain |= {UUID, date, datetime}
    fast = FAST.get((vendor, kind), {})
    if vendor == "mongodb":
        if "IntegerField" in kind and "Small" not in kind:
            from bson import Int64

            plain, fast = NONE, {int: Int64}  # a class of its own, lest the driver store a small number shorter
        if not field.null:
            plain, convert = plain - NONE, _not_null(field, convert)
    return plain, convert, fast


def _choice(otherwise: Convert) -> Convert:
    return lambda value: value.value if isinstance(value, models.TextChoices) else otherwise(value)


def _json_text(encoder: Any, wrap: Convert) -> Convert:
    return lambda value: wrap(value.text if type(value) is Encoded else json.dumps(value, cls=encoder))


def _json_value(otherwise: Convert) -> Convert:
    return lambda value: otherwise(value.value if type(value) is Encoded else value)


def _not_null(field: Field, convert: Convert) -> Convert:
    """The conversion with a check for None added: MongoDB has no NOT NULL, so the check is made before the insert."""

    def checked(value: Any) -> Any:
        if value is None:
            raise IntegrityError(f"You can't set {field.name} (a non-nullable field) to None.")
        return convert(value)

    return checked


def _utc_text(otherwise: Convert) -> Convert:
    def text(value: Any) -> Any:
        if type(value) is datetime and value.tzinfo is UTC:
            return str(value.replace(tzinfo=None))
        return otherwise(value)

    return text


HEX: Convert = attrgetter("hex")
# By database and kind of column: the conversions of values of exactly these types.
FAST: dict[tuple[str, str], Mapping[type, Convert]] = {
    ("sqlite", "UUIDField"): {UUID: HEX},
    ("sqlite", "DateField"): {date: date.isoformat},
    ("mongodb", "UUIDField"): {UUID: HEX},
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
    return f"{beginning} SELECT {names} FROM json_to_recordset(%s::json) AS new ({_typed(fields)})"


def _typed(fields: Sequence[Field]) -> str:
    return ", ".join(f"{_quoted(field.column)} {field.db_type(connection)}" for field in fields)


Rows: TypeAlias = "list[tuple[Table, list[list[Any]]]]"


def _write_sqlite(new: Rows, last: bool) -> None:
    for table, rows in new:
        table.insert.many(rows)


def _write_postgresql(new: Rows, last: bool) -> None:
    Statement.together([(table.insert, [recordset(table.names, rows)]) for table, rows in new], last=last)


def _write_mongodb(new: Rows, last: bool) -> None:
    from aichat.core.database.mongodb import commands

    for table, rows in new:
        documents = [dict(zip(table.names, row, strict=True)) for row in rows]
        commands.insert(table.name, documents)


WRITERS: dict[str, Callable[[Rows, bool], None]] = {
    "sqlite": _write_sqlite,
    "postgresql": _write_postgresql,
    "mongodb": _write_mongodb,
}
