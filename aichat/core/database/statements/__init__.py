"""Sends statements without the ORM, for the few places where the ORM costs more than the database's own work.

`insert` writes the rows that `bulk_create` would write, in a tenth of the time: the conversion of each column is chosen
once for each model, and a list of rows is one parameter (PostgreSQL), one prepared statement (SQLite) or one call (MongoDB).
"""

from aichat.core.database.statements.bulk_insert import (
    Encoded,
    NewRow,
    insert,
    insert_rows,
    insert_values,
    insertions,
    table_of,
)
from aichat.core.database.statements.prepared import Statement, recordset

__all__ = [
    "Encoded",
    "NewRow",
    "Statement",
    "insert",
    "insert_rows",
    "insert_values",
    "insertions",
    "recordset",
    "table_of",
]
