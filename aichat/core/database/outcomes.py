"""Finds out what became of a transaction whose COMMIT got no answer: committed, rolled back, or unknown.

A connection that is lost during COMMIT says nothing about the transaction. Each engine can be asked afterwards:

PostgreSQL   by the transaction's ID, on another connection: `pg_xact_status` (PostgreSQL 10 and later)
MongoDB      by repeating the commit on the same session, which its server answers as the first time (`mongodb/base.py`)
SQLite       commits inside our process: a commit that fails was rolled back, unless the disk failed under it
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, OperationalError, connection, connections

SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds between two questions to a database that is away
# SQLSTATEs of a COMMIT whose outcome they do not tell: none at all (the connection is gone), connection exceptions, and a
# server that shuts down. https://www.postgresql.org/docs/current/errcodes-appendix.html
UNTOLD = ("08", "57P")
UNKNOWN_LABEL = "UnknownTransactionCommitResult"  # of MongoDB's drivers


class OutcomeUnknown(OperationalError):
    """COMMIT was sent, and its answer was lost: the transaction may have been committed, and may not.

    Whoever catches this looks by a reference of their own whether the work was done, before they undo or repeat anything.
    """


class Ending(NamedTuple):
    """The facts about a transaction just before its COMMIT that are needed to ask what became of it."""

    transaction_id: str | None  # PostgreSQL's, None when nothing was written
    hooks: tuple[Callable[[], object], ...]  # what `transaction.on_commit` was given


def before_commit() -> Ending:
    """Note the ID and hooks of the open transaction, in case the answer to its COMMIT is lost.

    On PostgreSQL this takes one round trip, unless the transaction was sent together with its COMMIT and is over already.
    """
    database = connections[DEFAULT_DB_ALIAS]
    hooks = tuple([hook[1] for hook in database.run_on_commit])
    if database.vendor != "postgresql" or database.connection is None:
        return Ending(None, hooks)
    from psycopg.pq import TransactionStatus

    driver: Any = database.connection
    if driver.info.transaction_status != TransactionStatus.INTRANS:
        return Ending(None, hooks)
    with database.wrap_database_errors:
        row = driver.execute("SELECT pg_current_xact_id_if_assigned()::text").fetchone()
    return Ending(row[0], hooks)


def is_untold(error: BaseException) -> bool:
    """Whether an error of COMMIT leaves open what became of the transaction."""
    cause = error.__cause__
    if connection.vendor == "mongodb":
        return any(has_label(each) for each in (error, cause) if each is not None)
    if connection.vendor == "sqlite":
        return getattr(cause, "sqlite_errorname", "").startswith("SQLITE_IOERR")
    state = getattr(cause, "sqlstate", None)
    return isinstance(error, OperationalError | InterfaceError) and (state is None or state.startswith(UNTOLD))


def has_label(error: BaseException) -> bool:
    label = getattr(error, "has_error_label", None)
    return bool(label and label(UNKNOWN_LABEL))


def was_sent_with_commit(error: BaseException) -> bool:
    """Whether the connection was lost in a round trip that had the COMMIT in it (`statements/pipeline.py`)."""
    found: BaseException | None = error
    while found is not None:  # Django's rollback may have failed too, and then raises an error of its own
        if getattr(found, "commit_was_sent", False):
            return True
        found = found.__cause__ or found.__context__
    return False


def was_committed(ending: Ending) -> bool:
    """Ask the database what became of the transaction, for at most DATABASE_TIMEOUT seconds; run its hooks if it stands.

    Raises `OutcomeUnknown` when the database can't say, or does not come back in time.
    """
    if connection.vendor != "postgresql":
        raise OutcomeUnknown("The answer to COMMIT was lost.")
    if ending.transaction_id is not None and not _stands(ending.transaction_id):
        return False
    for hook in ending.hooks:
        hook()
    return True


def _stands(transaction_id: str) -> bool:
    deadline, pause = time.monotonic() + settings.DATABASE_TIMEOUT, SHORTEST_PAUSE
    while True:
        status = _status(transaction_id)
        if status in {"committed", "aborted"}:
            return status == "committed"
        if time.monotonic() > deadline:
            raise OutcomeUnknown("The answer to COMMIT was lost, and the database can't be asked.")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _status(transaction_id: str) -> str | None:
    """`committed`, `aborted` or `in progress`; None while there is no connection, or when the ID is too old."""
    try:
        connection.close()  # the one that was lost
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_xact_status(%s::xid8)", [transaction_id])
            (status,) = cursor.fetchone()
    except DatabaseError:
        return None
    return str(status)
