"""What the product logs, as its JSON lines."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from aichat.core.telemetry.log_writer import JsonFormatter
from aichat.core.telemetry.tracing import TraceFilter
from aichat.settings import LOGGING

Line = dict[str, Any]


class Logs:
    def __init__(self) -> None:
        self.stream = StringIO()
        form = {name: value for name, value in LOGGING["formatters"]["json"].items() if name != "()"}
        self.handler = logging.StreamHandler(self.stream)
        self.handler.addFilter(TraceFilter())
        self.handler.addFilter(lambda record: not record.name.startswith(("http", "uvicorn.access")))  # the test's own
        self.handler.setFormatter(JsonFormatter(**form))

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[Line]:
        return [json.loads(line) for line in self.text.splitlines()]

    def access(self, request_id: str) -> Line:
        """The one access line of a request; it is written after the last byte was sent, so it is waited for."""
        found = wait_for(lambda: [line for line in self.of(request_id) if line["logger"] == "aichat.access"])
        assert len(found) == 1, found
        line: Line = found[0]
        return line

    def of(self, request_id: str) -> list[Line]:
        return [line for line in self.lines if line["request_id"] == request_id]


@contextmanager
def collected(level: int = logging.INFO) -> Iterator[Logs]:
    logs, root = Logs(), logging.getLogger()
    before = root.level
    root.addHandler(logs.handler)
    root.setLevel(level)
    try:
        yield logs
    finally:
        root.removeHandler(logs.handler)
        root.setLevel(before)


def wait_for(condition: Any, seconds: float = 5) -> Any:
    """The first truthy value of `condition()`; fails after `seconds`."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)
    return value
