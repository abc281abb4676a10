"""Gives MongoDB the defaults of columns (`db_default`), which it does not have: a missing column counts as its default.

While an upgrade goes from host to host, servers of the earlier version write documents without the columns that this version
added. Reading, comparing, counting and adding take such a column for its default. The next upgrade writes the defaults into
the documents (`fill`).
"""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

from django.db import connections, models
from django.db.models.expressions import Col, Value
from django.db.models.fields import NOT_PROVIDED
from django_mongodb_backend.expressions.builtins import col as plain_column


def may_lack(field: Any) -> bool:
    """Whether a document's writer may not have known the field."""
    return getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED and not field.null


@cache
def _default(field: Any, using: str) -> Any:
    value = field.db_default
    return field.get_db_prep_save(value.value if isinstance(value, Value) else value, connections[using])


def default(field: Any, using: str) -> Any:
    """What MongoDB would store in the field, a new object each time."""
    return deepcopy(_default(field, using))


def is_compared(column: Col) -> bool:
    """Whether the column's default stands in queries. Not for JSON, whose keys are paths, nor in conditions of indexes."""
    return column.alias is not None and may_lack(column.target) and not isinstance(column.target, models.JSONField)


def column_or_default(self: Col, compiler: Any, connection: Any, as_expr: bool = False) -> Any:
    """MQL of a column. As an expression: the default where the document lacks it, and null where there is no document."""
    found: str = plain_column(self, compiler, connection, as_expr=as_expr)
    if not as_expr or found.startswith("$$") or not is_compared(self):  # `$$`: a value of the outer query
        return found
    value: Any = {"$literal": default(self.target, connection.alias)}
    document, _, _ = found.rpartition(".")
    if document:  # a joined one
        value = {"$cond": [{"$gt": [f"{document}._id", None]}, value, None]}
    return {"$ifNull": [found, value]}


class IsSimple:
    """`Col.is_simple_column`: whether conditions may name the path alone, as in `{"refunded": 0}`. An instance's own wins."""

    def __get__(self, column: Col | None, owner: type[Col]) -> bool:
        return column is None or not is_compared(column)


def register() -> None:
    """Have all columns of queries count as their default where a document lacks them."""
    Col.as_mql = column_or_default  # type: ignore[attr-defined]
    Col.is_simple_column = IsSimple()  # type: ignore[attr-defined]


class DefaultsOfColumns:
    """A part of the compiler of SELECT: rows as they are read have the defaults of what their documents lack."""

    def get_project_fields(
        self: Any, columns: Any = None, ordering: Any = None, force_expression: bool = False
    ) -> dict[str, Any]:
        fields: dict[str, Any] = super().get_project_fields(columns, ordering, force_expression)  # type: ignore[misc]
        for name, column in columns or ():
            if isinstance(column, Col) and is_compared(column):
                document = fields if column.alias == self.collection_name else fields[column.alias]
                if document[name] == 1:  # the bare path
                    document[name] = column.as_mql(self, self.connection, as_expr=True)  # type: ignore[attr-defined]
        return fields

    def _make_result(self: Any, entity: dict[str, Any], columns: Any) -> list[Any]:
        row: list[Any] = super()._make_result(entity, columns)  # type: ignore[misc]
        if None in row:
            for place, name, column in self._columns_that_may_lack(columns):
                document = entity if column.alias == self.collection_name else entity.get(column.alias)
                if document and name not in document:  # none: the join found nothing
                    row[place] = default(column.target, self.using)
        return row

    def _columns_that_may_lack(self: Any, columns: Any) -> list[tuple[int, str, Col]]:
        known: tuple[Any, list[tuple[int, str, Col]]] | None = getattr(self, "_lacking", None)
        if known is None or known[0] is not columns:
            known = self._lacking = columns, list(_lacking(columns))
        return known[1]


def _lacking(columns: Any) -> Iterator[tuple[int, str, Col]]:
    for place, (name, column) in enumerate(columns):
        if isinstance(column, Col) and may_lack(column.target):
            yield place, name, column


def fill(*, sender: Any, using: str, apps: Any, plan: Any, **_: Any) -> None:
    """Before an app's migrations: write down the defaults that its documents lack, as the tables are before them.

    Those documents were written during the upgrade before this one, whose servers have been everywhere since.
    """
    if not plan or connections[using].vendor != "mongodb":
        return
    for model in apps.get_models():
        if model._meta.app_label == sender.label:
            fill_table(model, using)


def fill_table(model: type[models.Model], using: str) -> None:
    values = {field.column: default(field, using) for field in model._meta.concrete_fields if may_lack(field)}
    if values:
        connection: Any = connections[using]
        connection.get_collection(model._meta.db_table).update_many(
            {"$or": [{column: {"$exists": False}} for column in values]},
            [{"$set": {column: {"$ifNull": [f"${column}", {"$literal": value}]} for column, value in values.items()}}],
        )
