"""Counts what one request makes Python do: calls of our own functions, files they lie in, changes of thread, tasks, timers.

`make trace` prints the counts for seven kinds of request. Every call that Python's profiler reports is counted, in every
thread, and so is each resumption of a coroutine; a comprehension is not: it is no call from Python 3.12 on. Counts are a
measure of what a reader must follow and of how often a sleeping thread must be woken; unlike times they are the same on
every machine.
"""

import asyncio
import itertools
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest.mock import patch

import orjson

from aichat.asgi import Application
from aichat.core.background import lifecycle

ROOT = Path(__file__).resolve().parent.parent
OURS = tuple(f"{ROOT}/{package}/" for package in ("accounts", "admin_dashboard", "aichat", "credits"))
COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>"}
NEW = "a number"  # in a body: another one each time, so that the prompt cache knows no answer


@dataclass
class Counts:
    """What one request did. `hops` are the times that work was handed to another thread."""

    functions: Counter[tuple[str, str]] = field(default_factory=Counter)
    changes: int = 0
    hops: int = 0
    tasks: int = 0
    timers: int = 0
    last_file: str = ""

    @property
    def calls(self) -> int:
        return self.functions.total()

    @property
    def files(self) -> Counter[str]:
        """Calls by file."""
        found: Counter[str] = Counter()
        for (file, _), count in self.functions.items():
            found[file] += count
        return found

    def add(self, code: CodeType) -> None:
        file = code.co_filename.removeprefix(f"{ROOT}/")
        self.functions[file, code.co_qualname] += 1
        self.changes += file != self.last_file
        self.last_file = file

    def __str__(self) -> str:
        return (
            f"{self.calls:5} calls {len(self.files):3} files {self.changes:4} changes of file "
            f"{self.hops:3} thread hops {self.tasks:3} tasks {self.timers:3} timers"
        )

    def details(self) -> str:
        """Every function with its calls, by file."""
        lines = (f"    {count:4} {file} {name}" for (file, name), count in sorted(self.functions.items()))
        return "\n".join(lines)


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that counts the tasks and timers made in it while `counts` is set."""

    counts: Counts | None = None

    def create_task(self, *args: Any, **options: Any) -> Any:
        if self.counts:
            self.counts.tasks += 1
        return super().create_task(*args, **options)

    def call_later(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        if self.counts:
            self.counts.timers += 1
        return super().call_later(*args, **options)


@dataclass
class Request:
    """An HTTP request as an ASGI server hands it over."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any = None
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def send(self, application: Application) -> int:
        """Wait for the whole response and for the work it leaves in the background; returns the status."""
        sent: list[Any] = []
        body = orjson.dumps(self.body).replace(NEW.encode(), b"%d" % next(self.numbers)) if self.body else b""
        incoming = [{"type": "http.request", "body": body, "more_body": False}]
        left = asyncio.Event()

        async def receive() -> Any:
            if incoming:
                return incoming.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = {"host": "localhost", "content-type": "application/json", **self.headers}
        scope = {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        await application(scope, receive, send)
        while lifecycle._tasks:
            await asyncio.gather(*lifecycle._tasks, return_exceptions=True)
        return int(sent[0]["status"])


class Tracer:
    """Counts while `counts` is set, in this thread and in those that begin inside of `tracing`."""

    counts: Counts | None = None

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or self.counts is None:
            return
        code = frame.f_code
        if code.co_filename.startswith(OURS) and code.co_name not in COMPREHENSIONS:
            self.counts.add(code)

    def count(self, request: Request, status: int) -> Counts:
        """The counts of `request`, after it was sent three times: caches are filled then and connections open."""
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            return runner.run(self._count(request, status))

    async def _count(self, request: Request, status: int) -> Counts:
        application, loop = Application(), asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        for _ in range(3):
            assert await request.send(application) == status
        self.counts = loop.counts = counts = Counts()
        try:
            assert await request.send(application) == status
        finally:
            self.counts = loop.counts = None
        return counts


def calls_in(work: Callable[[], object]) -> int:
    """All calls that `work` makes on this thread, of functions in C too: what a step costs that each token takes."""
    count = -1  # the one that ends the counting

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@contextmanager
def tracing() -> Iterator[Tracer]:
    tracer, submit = Tracer(), ThreadPoolExecutor.submit

    def counted(pool: ThreadPoolExecutor, work: Callable[..., Any], *args: Any, **options: Any) -> Future[Any]:
        if tracer.counts:
            tracer.counts.hops += 1
        return submit(pool, work, *args, **options)

    threading.setprofile(tracer.profile)
    sys.setprofile(tracer.profile)
    try:
        with patch.object(ThreadPoolExecutor, "submit", counted):
            yield tracer
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
