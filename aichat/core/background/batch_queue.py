"""Work that nobody waits for: put down in a microsecond, done in batches by a thread of its own.

A lane is bounded: when its thread can't keep up, the oldest items go, and a warning counts them. What fails is tried again
with growing pauses, then dropped and counted too. The thread begins with the first item, so a process that forks workers has
none, and each worker its own.
"""

import asyncio
import atexit
import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from aichat.core.background import lifecycle

logger = logging.getLogger(__name__)
T = TypeVar("T")
LONGEST_PAUSE = 30.0  # seconds between two tries
REPORT_SECONDS = 60.0  # at most one warning of what was dropped in that time
CLOSING_SECONDS = 5.0  # what a lane may take to empty itself when the process ends
_queues: list["BatchQueue[object]"] = []


class BatchQueue(Generic[T]):
    """`work` gets up to `batch` items at a time, every `every` seconds; it raises to have them again, `attempts` times."""

    def __init__(
        self,
        name: str,
        work: Callable[[list[T]], None],
        *,
        capacity: int = 20_000,
        batch: int = 500,
        every: float = 1.0,
        attempts: int = 5,
    ) -> None:
        self.name, self.work = name, work
        self.capacity, self.batch, self.every, self.attempts = capacity, batch, every, attempts
        self.dropped = 0
        self._unreported, self._reported_at = 0, float("-inf")
        self._waiting: deque[T] = deque(maxlen=capacity)
        self._thread: threading.Thread | None = None
        self._starting, self._working = threading.Lock(), threading.Lock()
        self._closing = threading.Event()
        _queues.append(self)  # type: ignore[arg-type]

    def put(self, item: T) -> None:
        """Never waits, never raises."""
        if len(self._waiting) >= self.capacity:
            self._drop(1)  # the deque lets go of its oldest
        self._waiting.append(item)
        if self._thread is None:
            self._start()

    def drain(self) -> None:
        """Do all that waits, here and now."""
        with self._working:
            while self._waiting:
                self._do([self._waiting.popleft() for _ in range(min(self.batch, len(self._waiting)))])
            self._report()

    def close(self, timeout: float = CLOSING_SECONDS) -> None:
        """Do what still waits, each batch tried once, for `timeout` seconds at most."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._closing.set()
            thread.join(timeout)
            self._closing = threading.Event()

    def renew(self) -> None:
        """As new: in a forked child, whose parent does what it had put down itself."""
        self._waiting.clear()
        self._thread = None
        self._starting, self._working = threading.Lock(), threading.Lock()
        self._closing = threading.Event()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, args=(self._closing,), name=f"lane-{self.name}", daemon=True
                )
                self._thread.start()

    def _run(self, closing: threading.Event) -> None:
        while not closing.wait(self.every):
            self.drain()
        self.drain()

    def _do(self, batch: list[T]) -> None:
        pause = self.every
        for attempt in range(1, self.attempts + 1):
            try:
                return self.work(batch)
            except Exception as error:
                logger.warning("%s: %d items failed (%s), try %d", self.name, len(batch), type(error).__name__, attempt)
            if attempt == self.attempts or self._closing.wait(random.uniform(pause / 2, pause)):
                break
            pause = min(2 * pause, LONGEST_PAUSE)
        return self._drop(len(batch))

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._unreported += count

    def _report(self) -> None:
        if self._unreported and time.monotonic() - self._reported_at >= REPORT_SECONDS:
            logger.warning("%s: %d items were dropped, %d in all", self.name, self._unreported, self.dropped)
            self._unreported, self._reported_at = 0, time.monotonic()


def close_all() -> None:
    for lane in list(_queues):  # in the order they were made: an earlier one may still put something into a later one
        lane.close()


@lifecycle.on_shutdown
async def _close() -> None:
    await asyncio.to_thread(close_all)


def _renew_all() -> None:
    for lane in _queues:
        lane.renew()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
