"""A load generator on raw sockets, in a process of its own, bounded in count and time; loopback only.

    python -m tests.benchmarks.load '{"port": 8000, "keys": ["sk-…"], "model": "bench-0-0", …}'

It holds `connections` open and asks on each of them again as soon as its answer has come (or, with `once`, never again),
until `requests` are answered or `seconds` are over; prints one JSON object.
"""

import asyncio
import itertools
import re
import resource
import sys
import time
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import uvloop

from tests.benchmarks.upstream import MARK

STATUS_AT, STATUS_END = 9, 12  # in "HTTP/1.1 200 OK"
LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
END = b"0\r\n\r\n"
LEFT_OVER = 32  # bytes of the last read that are looked at together with the next


@dataclass(frozen=True)
class Plan:
    port: int
    model: str
    keys: list[str]
    connections: int
    requests: int
    seconds: float
    stream: bool = False
    once: bool = False
    opening: float = 0.0  # seconds over which the connections are opened, one after the other
    same: bool = False  # the same question every time: what a prompt cache answers
    first: int = 0  # the number of the first question

    def request(self, number: int) -> bytes:
        question = f"Question {0 if self.same else self.first + number:09d}: what is the capital of France, and why?"
        asked = {"model": self.model, "messages": [{"role": "user", "content": question}], "max_tokens": 100}
        if self.stream:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        body = orjson.dumps(asked)
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
            % (self.keys[number % len(self.keys)].encode(), len(body), body)
        )


@dataclass
class Seen:
    """Seconds for each whole answer and for each first token; what was not as it should be, by its kind."""

    answered: list[float] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    open: int = 0
    most_open: int = 0

    def fault(self, kind: str) -> None:
        self.faults[kind] = self.faults.get(kind, 0) + 1


class Client(asyncio.Protocol):
    """One connection. A stream counts as open from its first token to its end."""

    transport: asyncio.Transport

    def __init__(self, run: "Run") -> None:
        self.run, self.plan, self.seen = run, run.plan, run.seen
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.ask()

    def ask(self) -> None:
        number = self.run.next_number()
        if number is None:
            self.transport.close()
            return
        self.busy, self.head, self.tail, self.left = True, b"", b"", -1
        self.status, self.started = "", False
        self.began = time.perf_counter()
        self.transport.write(self.plan.request(number))

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            return
        if not self.status:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            self.status = self.head[STATUS_AT:STATUS_END].decode()
            length = LENGTH.search(self.head, 0, end)
            self.left = int(length[1]) if length else -1
            data = self.head[end + 4 :]
        if not self.started and MARK in self.tail + data:
            self.started = True
            self.seen.first_tokens.append(time.perf_counter() - self.began)
            self.seen.open += 1
            self.seen.most_open = max(self.seen.most_open, self.seen.open)
        if self.left >= 0:
            self.left -= len(data)
            if self.left <= 0:
                self.ended(whole=self.started)
            return
        recent = self.tail + data
        if recent.endswith(END):
            self.ended(whole=b"[DONE]" in recent)
        else:
            self.tail = recent[-LEFT_OVER:]

    def ended(self, *, whole: bool) -> None:
        self.busy = False
        self.seen.open -= self.started
        if self.status != "200":
            self.seen.fault(f"HTTP {self.status}")
        elif not whole:
            self.seen.fault("incomplete")
        else:
            self.seen.answered.append(time.perf_counter() - self.began)
        if self.plan.once:
            self.run.one_gone()
            self.transport.close()
        else:
            self.run.one_ended()
            self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self.seen.open -= self.started
            self.seen.fault("disconnected")
            self.run.one_gone()


class Run:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.seen = plan, Seen()
        self.numbers = itertools.count()
        self.outstanding = 0
        self.until = time.perf_counter() + plan.seconds
        self.over = asyncio.Event()

    def next_number(self) -> int | None:
        number = next(self.numbers)
        if number >= self.plan.requests or time.perf_counter() > self.until:
            if not self.outstanding:
                self.over.set()
            return None
        self.outstanding += 1
        return number

    def one_ended(self) -> None:
        """Followed by the connection's next question."""
        self.outstanding -= 1

    def one_gone(self) -> None:
        self.one_ended()
        if not self.outstanding:
            self.over.set()

    async def connect(self, number: int) -> None:
        await asyncio.sleep(self.plan.opening * number / self.plan.connections)
        try:
            await asyncio.get_running_loop().create_connection(lambda: Client(self), "127.0.0.1", self.plan.port)
        except OSError as error:
            self.seen.fault(f"not connected: {error.errno}")

    async def result(self) -> dict[str, Any]:
        began = time.perf_counter()
        await asyncio.gather(*(self.connect(number) for number in range(self.plan.connections)))
        patience = self.plan.seconds + (0 if self.plan.once else 30)
        try:
            async with asyncio.timeout(patience):
                if self.outstanding:
                    self.over.clear()  # of those opened so far all may have been answered
                    await self.over.wait()
        except TimeoutError:
            self.seen.faults["unanswered"] = self.outstanding
        took = time.perf_counter() - began
        return {
            "answered": len(self.seen.answered),
            "seconds": took,
            "faults": self.seen.faults,
            "most_open": self.seen.most_open,
            "latency": percentiles(self.seen.answered),
            "first_token": percentiles(self.seen.first_tokens),
            "started": len(self.seen.first_tokens),
        }


def percentiles(values: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(values)
    at = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: 1000 * ordered[int(share * (len(ordered) - 1))] if ordered else 0.0 for name, share in at.items()}


async def main(plan: Plan) -> dict[str, Any]:
    return await Run(plan).result()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(main(Plan(**orjson.loads(sys.argv[1]))))))
