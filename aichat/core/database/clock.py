"""How far this host's clock is from the database's: leases, periods and spending limits compare times of several hosts."""

from datetime import UTC, datetime

from django.db import connection

from aichat.core.database import transactions

TOLERANCE = 3.0  # seconds that a clock may be off without a word


def now() -> datetime:
    return datetime.now(UTC)


def seconds_ahead() -> float:
    """Seconds by which this host's clock is ahead of the database's, negative when behind; one round trip.

    The time of the round trip is not counted: 0.0 when the database's time lies between question and answer, and with
    SQLite, which has no clock of its own. Raises `django.db.Error` when the database does not answer.
    """
    asked = now()
    theirs = _database_time()
    answered = now()
    if theirs is None or asked <= theirs <= answered:
        return 0.0
    return (asked - theirs if theirs < asked else answered - theirs).total_seconds()


def _database_time() -> datetime | None:
    """The database's clock; None with SQLite, whose file is read all the same."""
    if transactions.is_mongodb():
        time: datetime = connection.server_time()  # type: ignore[attr-defined]
        return time
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()" if connection.vendor == "postgresql" else "SELECT NULL")
        (found,) = cursor.fetchone()
    return found  # type: ignore[no-any-return]
