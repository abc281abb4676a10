"""While an upgrade goes from host to host, the version before writes rows: every column added since has a default."""

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import connection, models
from django.db.migrations import AddField, CreateModel
from django.db.migrations.loader import MigrationLoader

from tests.test_architecture import PACKAGES


def added_columns() -> Iterator["models.Field[object, object]"]:
    """The columns that some migration added to a table which an earlier one had made, as far as they still exist."""
    for (app, _), migration in MigrationLoader(None).disk_migrations.items():
        if apps.get_app_config(app).name.split(".")[0] not in PACKAGES:
            continue
        tables = {change.name_lower for change in migration.operations if isinstance(change, CreateModel)}
        for change in migration.operations:
            if isinstance(change, AddField) and change.model_name_lower not in tables:
                try:
                    field = apps.get_model(app, change.model_name_lower)._meta.get_field(change.name)
                except (LookupError, FieldDoesNotExist):
                    continue  # dropped since
                if isinstance(field, models.Field) and field.column:
                    yield field


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor == "mongodb", reason="a document lacks what its writer does not know")
def test_a_row_can_be_written_without_the_columns_that_were_added_to_its_table() -> None:
    lacking, known = [], {}
    with connection.cursor() as cursor:
        for field in added_columns():
            table = field.model._meta.db_table
            if table not in known:
                rows = connection.introspection.get_table_description(cursor, table)
                known[table] = {column.name: column.null_ok or column.default is not None for column in rows}
            if not known[table][field.column]:
                lacking.append(f"{table}.{field.column}")
    assert not all(all(columns.values()) for columns in known.values()), "the test could not fail"
    assert lacking == [], "give them db_default beside default (CONTRIBUTING.md, Changing the tables)"
