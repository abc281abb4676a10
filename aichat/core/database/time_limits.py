"""Work of `manage.py` that may take as long as it takes: DATABASE_TIMEOUT is made for requests."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from aichat.core.database.transactions import is_mongodb

A_DAY = 24 * 60 * 60  # seconds: the driver of MongoDB takes no limit of a call as "the limit of the connection"
UNLIMITED = ("statement_timeout", "idle_in_transaction_session_timeout")


@contextmanager
def lifted() -> Iterator[None]:
    """Inside, statements and transactions of this thread's connection are not ended after DATABASE_TIMEOUT.

    An index of a large table takes minutes, and a migration may compute between two statements. Waiting for a lock stays
    limited: whoever waits to change a table holds up all who want to use it.
    """
    if is_mongodb():
        import pymongo

        with pymongo.timeout(A_DAY):
            yield
    elif connection.vendor == "postgresql":
        _run("SET {} = 0")
        try:
            yield
        finally:
            if connection.connection is not None and connection.is_usable():
                _run("RESET {}")  # to what the connection began with
    else:
        yield  # SQLite limits nothing but the wait for its lock


def _run(statement: str) -> None:
    with connection.cursor() as cursor:
        for name in UNLIMITED:
            cursor.execute(statement.format(name))
