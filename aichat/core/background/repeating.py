"""Repeats work in a serving process while it runs.

A `Repeating` starts and stops with the server, in every process. Work that only one process of all hosts shall do
belongs into `background/periodic`, whose runner is a `Repeating`.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from aichat.core.background import lifecycle
from aichat.core.database import outages

logger = logging.getLogger(__name__)


class Repeating:
    """Awaits `work()` again and again with pauses of about `every()` seconds, in every process where `is_wanted()`.

    A failure is logged and ends nothing. At shutdown the work under way is awaited, and no other is begun.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[object]],
        *,
        every: Callable[[], float],
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name, self.work, self.every, self.is_wanted = name, work, every, is_wanted
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        lifecycle.on_startup(self.start)
        lifecycle.on_shutdown(self.stop)

    async def start(self) -> None:
        if self.is_wanted():
            self._stopping = asyncio.Event()
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._stopping.set()
        if self._task:
            await self._task
            self._task = None

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.work()
            except Exception as error:
                outages.log_failure(logger, self.name, error)
            try:
                # Not all processes at the same moment.
                await asyncio.wait_for(self._stopping.wait(), self.every() * random.uniform(0.8, 1.2))
            except TimeoutError:
                continue
