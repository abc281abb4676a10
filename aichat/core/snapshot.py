"""Keeps values of the database in memory, so that no request waits for reading them.

    flags = Snapshot("flags", read_rules, empty=NO_RULES)

    rules = await flags.ready()  # on the event loop: served from memory
    rules = flags.current()      # in synchronous code

The protocol, by the age of the value (seconds since its reading began):

| age of the value | `ready` on the event loop | `current` in a thread |
| --- | --- | --- |
| up to REFRESH | serves the value | serves the value |
| up to LIMIT | serves the value, and starts a reading beside the request | serves the value |
| beyond LIMIT, or older than `forget` | waits for one reading that all waiters share | reads |

While requests ask for a value, a timer of the event loop begins a reading every REFRESH seconds, so only the first request
after a quiet time waits. A change by another process is therefore seen within LIMIT seconds.

With Redis or SQLite a reading begins with a look at the value's mark, which `forget` writes (`core/redis/change_marks.py`).
While the mark is the same, the value counts as read without a look into the database, for TRUSTED seconds at most. So a
change that wrote no mark (rows changed by hand in SQL, or while Redis was away) is seen within TRUSTED seconds.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from django.db import transaction

from aichat.core.background import lifecycle
from aichat.core.database import executor
from aichat.core.redis import change_marks

logger = logging.getLogger(__name__)
T = TypeVar("T")
REFRESH = 0.5  # seconds after which a value in use is read again, beside the requests
LIMIT = 1.0  # seconds after which a value is not served any more
TRUSTED = 5.0  # seconds after which the database is read though the mark says that nothing changed
IN_USE = 10.0  # seconds without a question, after which a value is not refreshed any more
NEVER = float("-inf")
_snapshots: "list[Snapshot[Any]]" = []


class Snapshot(Generic[T]):
    """One value that `read` reads from the database. `empty` is the value before the first reading."""

    def __init__(self, name: str, read: Callable[[], T], *, empty: T) -> None:
        self.name, self.read, self.empty = name, read, empty
        self._mark = f"snapshot-changed:{name}"
        self.changes = self.known = 0  # changes made by this process, and how many of them the value includes
        self.reset()
        _snapshots.append(self)

    def reset(self) -> None:
        """Forget the value and all work for it: for a forked child, and between tests."""
        self.value = self.empty
        # Moments of `time.monotonic`: when the last reading began (`read_at`), when the last one that looked into the
        # database began (`seen_at`), when a caller last wanted that, even with the same mark (`doubted_at`).
        self.read_at = self.seen_at = self.used_at = self.doubted_at = NEVER
        # The marks before the database was read; None when they could not be read.
        self.marks: change_marks.Marks | None = None
        self.changes += 1
        self.is_failing = False
        self._lock = threading.Lock()
        self._readings: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]] = WeakKeyDictionary()
        self._timers: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.TimerHandle] = WeakKeyDictionary()

    async def ready(self) -> T:
        """The value, at most LIMIT seconds old and with every change of this process. Raises the error of a reading."""
        self.used_at = now = monotonic()
        if self.known != self.changes or now - self.read_at > LIMIT:
            await self._next_reading(now - LIMIT)
        elif now - self.read_at > REFRESH:
            self._begin_reading()
        return self.value

    async def newly_read(self) -> T:
        """The value from a reading that begins now or later: for a caller that has heard of a change elsewhere."""
        self.used_at = self.doubted_at = now = monotonic()
        await self._next_reading(now)
        return self.value

    def current(self) -> T:
        """The value for synchronous code, which reads it when it is out of date.

        On an event loop this never reads: code there awaits `ready` first, and gets the value of that moment.
        """
        if (self.known != self.changes or monotonic() - self.read_at > LIMIT) and not lifecycle.is_on_event_loop():
            with self._lock:
                if (
                    self.known != self.changes or monotonic() - self.read_at > LIMIT
                ):  # no other thread has read meanwhile
                    self._read()
        return self.value

    def forget(self) -> None:
        """Have the value read before it is served again, by this process and, through its mark, by the others.

        Whoever changes the rows calls this, in their transaction or after it.
        """
        self._change()
        if transaction.get_connection().in_atomic_block:
            transaction.on_commit(self._change, robust=True)  # somebody may have read the old state meanwhile

    def _change(self) -> None:
        self.changes += 1
        change_marks.write(self._mark)

    # --- Reading ------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Read the value. A change or a reset during the reading still counts as unknown afterwards."""
        lock, began, changes = self._lock, monotonic(), self.changes
        value = self.read()
        if lock is self._lock:
            self.value, self.known = value, changes
            self.read_at = self.seen_at = began

    def _read_alone(self) -> None:
        with self._lock:
            self._read()

    async def _read_if_changed(self) -> None:
        """Read the value, unless its mark says that it is as it was."""
        began, seen = monotonic(), None
        if change_marks.are_shared():
            seen = await change_marks.answer(change_marks.read(self._mark))
        is_known = self.known == self.changes and self.seen_at > max(began - TRUSTED, self.doubted_at)
        if is_known and seen is not None and seen == self.marks:
            self.read_at = max(self.read_at, began)
        else:
            await executor.run(self._read_alone)
            self.marks = seen

    async def _next_reading(self, oldest: float) -> None:
        """Wait until the value is from a reading begun at `oldest` or later, with every change before this call."""
        changes = self.changes
        while self.known < changes or self.read_at < oldest:
            await asyncio.shield(self._begin_reading())  # a waiter that is cancelled stops no other

    def _begin_reading(self) -> "asyncio.Task[None]":
        """The reading under way on this event loop, else a new one."""
        loop = asyncio.get_running_loop()
        reading = self._readings.get(loop)
        if reading is None or reading.done():  # `_end_reading` has not run yet, and the caller needs a later reading
            if timer := self._timers.pop(loop, None):
                timer.cancel()
            reading = self._readings[loop] = loop.create_task(self._read_if_changed(), context=Context())
            reading.add_done_callback(self._end_reading)
        return reading

    def _end_reading(self, reading: "asyncio.Task[None]") -> None:
        loop = reading.get_loop()
        error = None if reading.cancelled() else reading.exception()
        if self._readings.get(loop) is not reading:
            return  # `reset`, or a later reading, came first
        del self._readings[loop]
        if error is not None and not self.is_failing:
            logger.warning("%s can't be read again: %s", self.name, error)
        self.is_failing = error is not None
        if not reading.cancelled():
            self._timers[loop] = loop.call_later(REFRESH, self._refresh, loop)

    def _refresh(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timers.pop(loop, None) is not None and monotonic() - self.used_at < IN_USE:
            self._begin_reading()


def reset_all() -> None:
    """Reset every snapshot of the process."""
    for snapshot in _snapshots:
        snapshot.reset()


if hasattr(os, "register_at_fork"):
    # A lock held in the parent would never be released in the child, and event loops don't survive a fork.
    os.register_at_fork(after_in_child=reset_all)
