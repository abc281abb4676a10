"""Log lines as JSON, and a handler that does not write them on the event loop: a pipe that nobody reads would hold up all.

Lines that are logged on an event loop are formatted at once and written by a thread, `GATHERING_SECONDS` of them together.
Warnings and worse, and all lines of other threads and of commands, are written at once, after those that wait. The process
writes what waits when it ends; only a kill (SIGKILL) loses lines, those of the last `GATHERING_SECONDS`.
"""

import json
import logging
import os
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from pythonjsonlogger.orjson import OrjsonFormatter

from aichat.core.background import lifecycle

GATHERING_SECONDS = 0.05
MOST_WAITING = 10_000  # lines; further ones are written at once, so that none is lost and memory is bounded


class JsonFormatter(OrjsonFormatter):
    """Writes each record with orjson, in an eighth of the time of the standard library's `json`.

    `json` writes the records that orjson refuses: half of a surrogate pair, an integer beyond 64 bits.
    """

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        try:
            return super().jsonify_log_record(log_data)
        except TypeError:
            return json.dumps(log_data, default=str)


class LogWriter(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines to a stream, standard error by default."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: deque[str] = deque()
        self.renew()
        _writers.add(self)

    def renew(self) -> None:
        """Forget the waiting lines and begin anew, in a forked child: its parent writes them."""
        self.waiting.clear()
        self.writing, self.wanted = threading.Lock(), threading.Event()
        self.thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.waiting.append(self.format(record) + self.terminator)
        except Exception:
            self.handleError(record)
            return
        if record.levelno >= logging.WARNING or len(self.waiting) > MOST_WAITING or not lifecycle.is_on_event_loop():
            self.flush()
        elif not self.wanted.is_set():
            self.wanted.set()
            if self.thread is None:
                self.thread = threading.Thread(target=self.run, name="log-writer", daemon=True)
                self.thread.start()

    def run(self) -> None:
        while self.wanted.wait():
            time.sleep(GATHERING_SECONDS)
            self.wanted.clear()
            self.flush()

    def flush(self) -> None:
        """Write the waiting lines. `logging` calls it when the process ends."""
        with self.writing:
            lines = []
            while self.waiting:
                lines.append(self.waiting.popleft())
            with suppress(OSError, ValueError):  # nobody reads any more, or the stream is closed
                if lines:
                    self.stream.write("".join(lines))
                self.stream.flush()


_writers: WeakSet[LogWriter] = WeakSet()


def _renew_all() -> None:
    for writer in _writers:
        writer.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
