"""Queues for work that nobody waits for: an item is put in within a microsecond, and a thread works through batches.

A queue is bounded: when its thread can't keep up, the oldest items are dropped and counted in a warning. A batch that
fails is tried again with growing pauses, then dropped and counted too. The thread starts with the first item, so a
master process that forks workers has no such thread, and each worker gets its own.
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
CLOSING_SECONDS = 5.0  # seconds a queue may take to empty itself when the process ends
_queues: list["BatchQueue[object]"] = []
_on_drop: list[Callable[[str, int], None]] = []


class BatchQueue(Generic[T]):
    """Calls `work` every `every` seconds with up to `batch` items. A batch whose `work` raises is tried `attempts` times."""

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
        """Add an item. This never waits and never raises; a full queue drops its oldest item."""
        if len(self._waiting) >= self.capacity:
            self._drop(1)  # the bounded deque forgets its oldest item
        self._waiting.append(item)
        if self._thread is None:
            self._start()

    def drain(self) -> None:
        """Work through all waiting items on the calling thread."""
        with self._working:
            while self._waiting:
                self._do([self._waiting.popleft() for _ in range(min(self.batch, len(self._waiting)))])
            self._report()

    def close(self, timeout: float = CLOSING_SECONDS) -> None:
        """Work through the waiting items for at most `timeout` seconds, each batch tried once, and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._closing.set()
            thread.join(timeout)
            self._closing = threading.Event()

    def renew(self) -> None:
        """Empty the queue in a forked child: the parent works through the items that it holds."""
        self._waiting.clear()
        self._thread = None
        self._starting, self._working = threading.Lock(), threading.Lock()
        self._closing = threading.Event()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, args=(self._closing,), name=f"batch-queue-{self.name}", daemon=True
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
        for told in _on_drop:
            told(self.name, count)

    def _report(self) -> None:
        if self._unreported and time.monotonic() - self._reported_at >= REPORT_SECONDS:
            logger.warning("%s: %d items were dropped, %d in all", self.name, self._unreported, self.dropped)
            self._unreported, self._reported_at = 0, time.monotonic()


def on_drop(told: Callable[[str, int], None]) -> None:
    """Register a function that each queue calls with its name and the number of dropped items. It must return at once."""
    _on_drop.append(told)


def close_all() -> None:
    """Close every queue, the oldest first: an older queue may still put items into a newer one."""
    for queue in list(_queues):
        queue.close()


@lifecycle.on_shutdown
async def _close() -> None:
    await asyncio.to_thread(close_all)


def _renew_all() -> None:
    for queue in _queues:
        queue.renew()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
