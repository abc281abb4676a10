"""The ledger's hot statements, written for each database, behind `credits.ledger`.

`portable` does the same work with the ORM and is the reference: one suite (`tests/credits`) runs over all of them.
"""

import sqlite3

from aichat.core.database import transactions
from credits.engines import mongodb, portable, postgresql, sqlite
from credits.engines.base import Engine

ENGINES: dict[str, Engine] = {"postgresql": postgresql, "mongodb": mongodb}
if sqlite3.sqlite_version_info >= sqlite.OLDEST:
    ENGINES["sqlite"] = sqlite


def current() -> Engine:
    """The engine for the configured database."""
    return ENGINES.get(transactions.vendor(), portable)
