"""Keeps the daily sums up to date while a server runs, so that no cron is needed.

Every process tries now and then: of those who try at once one takes a step, and the others find nothing to do.
"""

import asyncio
import logging
import random

from aichat.core.background import lifecycle
from aichat.core.database import executor
from aichat.usage.rollup import roll_up

logger = logging.getLogger(__name__)
EVERY = 300.0  # seconds
_running: asyncio.Task[None] | None = None


async def keep_up() -> None:
    while True:
        await asyncio.sleep(EVERY * random.uniform(0.8, 1.2))
        try:
            await executor.run(roll_up)
        except Exception:
            logger.exception("usage could not be rolled up; the next try is in %d s", EVERY)


@lifecycle.on_startup
async def _start() -> None:
    global _running
    _running = asyncio.create_task(keep_up())


@lifecycle.on_shutdown
async def _stop() -> None:
    if _running:
        _running.cancel()
