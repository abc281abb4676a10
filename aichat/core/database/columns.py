"""Columns that are added to tables in use: migrations keep their defaults in the database."""

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState, StateApps


class KeepDefaults(Operation):
    """Gives columns of one table a default in the database, so that an INSERT which does not know them works.

    `defaults` has the value for each column's field. On SQLite the table is made anew once, not once for each column.
    """

    reduces_to_sql = True

    def __init__(self, model_name: str, **defaults: Any) -> None:
        self.model_name, self.defaults = model_name, defaults

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        return type(self).__name__, (self.model_name,), self.defaults

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        for name, value in self.defaults.items():
            field = state.models[app_label, self.model_name].fields[name].clone()
            field.db_default = value
            if not field.has_default():
                field.default = value
            state.alter_field(app_label, self.model_name, name, field, preserve_default=True)

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        models: tuple[StateApps, StateApps] = (from_state.apps, to_state.apps)
        before, after = (apps.get_model(app_label, self.model_name) for apps in models)
        for name in self.defaults:
            schema_editor.alter_field(after, before._meta.get_field(name), after._meta.get_field(name))
            if schema_editor.connection.vendor == "sqlite":
                return  # it made the table of `after`, with the defaults of all columns

    database_backwards = database_forwards

    def describe(self) -> str:
        return f"Keep the defaults of {', '.join(self.defaults)} of {self.model_name} in the database"
