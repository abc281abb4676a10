"""The ledger's hot statements as each database does them best, behind `credits.ledger`.

`portable` says the same with the ORM, and is the reference: one suite (`tests/credits`) holds all of them to it.
"""

import sqlite3

from django.db import connection

from credits.engines import mongodb, portable, postgresql, sqlite
from credits.engines.base import Engine

ENGINES: dict[str, Engine] = {"postgresql": postgresql, "mongodb": mongodb}
if sqlite3.sqlite_version_info >= sqlite.OLDEST:
    ENGINES["sqlite"] = sqlite


def current() -> Engine:
    """The one for the database in use."""
    return ENGINES.get(connection.vendor, portable)
