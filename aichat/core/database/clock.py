"""The database's clock, which all hosts share. Leases, expiries and the times of charges follow it, not the host's clock.

A process compares the two clocks at its start and once a minute. In between it counts on by a clock that nobody can set. With
SQLite, and before the first comparison, the host's own clock is used.
"""

import logging
import time
from datetime import UTC, datetime, timedelta
from functools import partial

from django.db import Error as DatabaseFailure
from django.db import connection
from django.utils import timezone

from aichat.core.database import transactions

logger = logging.getLogger(__name__)
TOLERANCE = 3.0  # seconds that a clock may be off without a word
COMPARED_EVERY = 60.0  # seconds
LONGEST_QUESTION = 0.5  # seconds; an answer that took longer says little about the present
# Seconds of a clock that nobody sets, and that goes on while the process is frozen or the machine asleep.
_steady = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
_compared: tuple[datetime, float] | None = None  # the database's time, and `_steady` at that moment


def now() -> datetime:
    """The time by this host's clock."""
    return datetime.now(UTC)


def shared_now() -> datetime:
    """The time by the database's clock, as of the last comparison. It asks no server."""
    if _compared is None:
        return timezone.now()
    at, since = _compared
    return at + timedelta(seconds=_steady() - since)


def keep_compared() -> None:
    """Compare the clocks, unless they were compared within the last minute. While the database is away nothing changes."""
    if connection.vendor != "sqlite" and (_compared is None or _steady() - _compared[1] > COMPARED_EVERY):
        try:
            seconds_ahead()
        except DatabaseFailure as error:
            logger.warning("the clocks can't be compared: %s", type(error).__name__)


def seconds_ahead() -> float:
    """Compare the clocks by one round trip. Return by how many seconds this host's is ahead (negative: behind).

    The time of the round trip does not count: 0.0 when the database's time lies between question and answer, and with
    SQLite, which has no clock of its own. Raises `django.db.Error` when the database does not answer.
    """
    global _compared
    asked, begun = now(), _steady()
    theirs = _database_time()
    answered, ended = now(), _steady()
    if theirs is not None and (_compared is None or ended - begun < LONGEST_QUESTION):
        _compared = theirs, (begun + ended) / 2
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
