"""Transactions that retry, on whichever database is configured, and what its errors mean."""

import logging
import random
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

SHORTEST_PAUSE, LONGEST_PAUSE = 0.005, 0.2  # seconds, before a transaction is tried again
# https://www.postgresql.org/docs/current/errcodes-appendix.html: serialization failure, deadlock detected, prepared
# statement forgotten by its session
TRANSIENT_SQLSTATES = {"40001", "40P01", "26000"}


def atomic() -> Any:
    """A transaction on whichever engine is configured. Django's own does nothing on MongoDB."""
    if is_mongodb():
        from django_mongodb_backend import transaction as mongodb_transaction  # 0.3 s that others need not wait

        return mongodb_transaction.atomic()
    return transaction.atomic()


def is_mongodb() -> bool:
    return connection.vendor == "mongodb"


def in_transaction() -> bool:
    """Whether a transaction is open. Django's own flag knows nothing of MongoDB's."""
    return connection.in_atomic_block or getattr(connection, "in_atomic_block_mongo", False)


def run_atomic(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in one transaction, again when the engine asks for it (deadlock, write conflict).

    `work` may therefore run several times: it must not keep state between runs. Inside an outer transaction it joins
    that one, and the outermost `run_atomic` retries, for at most DATABASE_TIMEOUT.
    """
    if in_transaction():
        return work(*args, **kwargs)
    deadline = time.monotonic() + settings.DATABASE_TIMEOUT
    pause = SHORTEST_PAUSE
    while True:
        try:
            with atomic():
                return work(*args, **kwargs)
        except Exception as error:
            if not is_transient(error) or time.monotonic() > deadline:
                raise
            logger.debug("transaction conflict, trying again")
        time.sleep(random.uniform(0, pause))
        pause = min(2 * pause, LONGEST_PAUSE)


class Conflict(DatabaseError):
    """Work found itself raced by another transaction: the outermost `run_atomic` is to run again."""


def is_transient(error: BaseException) -> bool:
    """Whether the transaction failed only because of somebody else's."""
    if isinstance(error, Conflict):
        return True
    if is_mongodb():
        from aichat.core.database.mongodb import errors

        return errors.is_transient(error)
    return getattr(error.__cause__, "sqlstate", None) in TRANSIENT_SQLSTATES


def is_unavailable(error: BaseException) -> bool:
    """Whether the database could not do it in time: gone, restarting, out of connections, too slow.

    What is transient counts too: `run_atomic` has tried it again until DATABASE_TIMEOUT was over.
    SQLite reports a wrong statement or a missing table as an OperationalError too: those are defects of ours.
    """
    if is_transient(error):
        return True
    if is_mongodb():
        from aichat.core.database.mongodb import errors

        return errors.is_unavailable(error)
    if getattr(error.__cause__, "sqlite_errorname", "") == "SQLITE_ERROR":
        return False
    return isinstance(error, OperationalError | InterfaceError)


def ping() -> None:
    """Ask the database for an answer; raises `django.db.Error` when there is none."""
    if is_mongodb():
        connection.ping()  # type: ignore[attr-defined]
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
