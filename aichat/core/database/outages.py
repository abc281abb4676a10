"""What background work logs while the database is away: one line a minute, instead of a traceback from each piece of it."""

import logging
from time import monotonic

from aichat.core.database import transactions

AGAIN_AFTER = 60.0  # seconds until a process says again that the database is away
_told_at = float("-inf")  # of `time.monotonic`


def log_failure(logger: logging.Logger, failed: str, error: BaseException) -> None:
    """Log that something failed, with its traceback; of a database that is away one line, as the work is tried again."""
    if not transactions.is_unavailable(error):
        logger.error("%s failed", failed, exc_info=error)
    elif monotonic() - _told_at > AGAIN_AFTER:
        logger.warning("%s failed, and goes on when the database is back: %s", failed, str(error).partition("\n")[0])
        told()


def told() -> None:
    """Note that the log says that the database is away; workers that are forked later know it too."""
    global _told_at
    _told_at = monotonic()
