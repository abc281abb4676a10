"""Indexes MongoDB's planner can use, and the check constraints it can hold."""

from collections.abc import Sequence
from typing import Any, cast

from django.db import NotSupportedError
from django.db.models import CheckConstraint, Index, Model, Q
from django_mongodb_backend import schema
from pymongo import ASCENDING
from pymongo.operations import IndexModel

LOWEST_STRING = ""


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):  # type: ignore[misc]
    """Makes unique indexes that MongoDB's planner uses, and validators from check constraints.

    MongoDB's backend makes every unique index partial (on `$type`), and the planner ignores a partial index. Where no value
    can be null, a plain unique index has the same meaning; elsewhere the index gets a condition that the planner understands.
    """

    def add_index(
        self,
        model: type[Model],
        index: Any,
        *,
        field: Any = None,
        unique: bool = False,
        column_prefix: str = "",
        parent_model: type[Model] | None = None,
    ) -> None:
        fields: list[Any] = [field] if field else [model._meta.get_field(name) for name, _ in index.fields_orders]
        if not unique and index.condition == Q(**{fields[0].name: None}):
            self._index_nulls(model, index, fields[0].column)
            return
        if not unique or index.condition:
            super().add_index(
                model, index, field=field, unique=unique, column_prefix=column_prefix, parent_model=parent_model
            )
            return
        wanted = index.get_pymongo_index_model(
            model, schema_editor=self, field=field, unique=True, column_prefix=column_prefix
        )
        condition = wanted.document.pop("partialFilterExpression")
        nullable = {
            column_prefix + each.column: usable_type_condition(condition[column_prefix + each.column])
            for each in fields
            if each.null
        }
        if nullable:
            wanted.document["partialFilterExpression"] = nullable
        self.get_collection((parent_model or model)._meta.db_table).create_indexes([wanted])

    def _index_nulls(self, model: type[Model], index: Any, column: str) -> None:
        """Index the documents in which a column is null or missing: a condition that MongoDB's backend does not take."""
        keys = IndexModel([(column, ASCENDING)], name=index.name, partialFilterExpression={column: None})
        self.get_collection(model._meta.db_table).create_indexes([keys])

    def effective_default(self, field: Any) -> Any:
        """A new column's value in existing rows, as a literal: a pipeline takes `{}` and `$…` for expressions."""
        default = super().effective_default(field)
        return default if default is None else {"$literal": default}

    # --- Check constraints as a validator of the collection -----------------------------------------------------------

    def create_model(self, model: type[Model]) -> None:
        super().create_model(model)
        self._validate(model, model._meta.constraints)

    def add_constraint(self, model: type[Model], constraint: Any, **kwargs: Any) -> None:
        super().add_constraint(model, constraint, **kwargs)
        if isinstance(constraint, CheckConstraint):
            kept = [each for each in model._meta.constraints if each.name != constraint.name]
            self._validate(model, [*kept, constraint])

    def remove_constraint(self, model: type[Model], constraint: Any) -> None:
        super().remove_constraint(model, constraint)
        if isinstance(constraint, CheckConstraint):
            self._validate(model, [each for each in model._meta.constraints if each.name != constraint.name])

    def _validate(self, model: type[Model], constraints: Sequence[Any]) -> None:
        """Have MongoDB refuse documents that break a constraint (https://www.mongodb.com/docs/manual/core/schema-validation/)."""
        if not model._meta.managed or model._meta.proxy or model._meta.swapped:
            return
        conditions = [self._condition(model, each) for each in constraints if isinstance(each, CheckConstraint)]
        conditions = [condition for condition in conditions if condition]
        if conditions or any(isinstance(each, CheckConstraint) for each in model._meta.constraints):
            validator = {"$and": conditions} if conditions else {}
            self.connection.database.command("collMod", model._meta.db_table, validator=validator)

    def _condition(self, model: type[Model], constraint: CheckConstraint) -> dict[str, Any]:
        """The constraint as a query; empty when it is beyond comparisons of a column with a value."""
        index: Any = Index(fields=["pk"], name="check", condition=cast(Q, constraint.condition))
        try:
            condition: dict[str, Any] = index._get_condition_mql(model, self)
        except (NotSupportedError, AttributeError):
            return {}
        return condition


def usable_type_condition(condition: dict[str, Any]) -> dict[str, Any]:
    """`$type: string` as a comparison, which the planner knows an equal value to meet."""
    return {"$gte": LOWEST_STRING} if condition == {"$type": "string"} else condition
