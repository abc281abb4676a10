"""Statements sent without the ORM, for the few places where it would cost more than the database's own work.

`insert` writes what `bulk_create` writes, at a tenth of its time: how each column is converted is decided once for each
model, and the whole list is one parameter (PostgreSQL), one prepared statement (SQLite) or one call (MongoDB).
"""

from aichat.core.database.statements.bulk_insert import Encoded, NewRow, insert, insert_rows, insert_values
from aichat.core.database.statements.prepared import Statement, recordset

__all__ = ["Encoded", "NewRow", "Statement", "insert", "insert_rows", "insert_values", "recordset"]
