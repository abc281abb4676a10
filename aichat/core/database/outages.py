"""Logs failures of background work: while the database is away one line a minute, not a traceback for each failure."""

import logging
from time import monotonic

from aichat.core.database import transactions

AGAIN_AFTER = 60.0  # seconds until a process says again that the database is away
_told_at = float("-inf")  # of `time.monotonic`


def log_failure(logger: logging.Logger, failed: str, error: BaseException) -> None:
    """Log that `failed` (a name of work) failed: with the traceback, or in one line while the database is away."""
    if not transactions.is_unavailable(error):
        logger.error("%s failed", failed, exc_info=error)
    elif monotonic() - _told_at > AGAIN_AFTER:
        logger.warning("%s failed, and goes on when the database is back: %s", failed, str(error).partition("\n")[0])
        told()


def told() -> None:
    """Note that the log says that the database is away; workers that are forked later know it too."""
    global _told_at
    _told_at = monotonic()
