"""A load generator with an open loop: requests arrive at random moments, whether or not earlier ones were answered.

    python -m tests.benchmarks.open_loop '{"port": 8000, "keys": ["sk-…"], "model": "bench-50-0", "rate": 20, …}'

Arrivals are a Poisson process of `rate` requests a second. A latency counts from the moment at which the request was to
arrive, so that a server which falls behind can't hide it by slowing the generator down ("coordinated omission"). The
generator has a process of its own and prints one JSON object.
"""

import asyncio
import random
import resource
import sys
import time
from dataclasses import dataclass
from typing import Any, cast

import orjson
import uvloop

from tests.benchmarks.load import Client, Plan, Seen, percentiles

MOST_CONNECTIONS = 4000
PATIENCE = 20.0  # seconds for the answers that are still to come when the last request was sent
LEAD = 0.3  # seconds before the first arrival


@dataclass(frozen=True)
class Arrivals:
    """`warm_up` seconds come before the `seconds` that are measured. The same `seed` makes the same arrivals."""

    rate: float
    seconds: float
    warm_up: float
    seed: int

    def moments(self) -> list[float]:
        """Seconds from the start, in order."""
        dice, at, found = random.Random(self.seed), 0.0, []
        while (at := at + dice.expovariate(self.rate)) < self.warm_up + self.seconds:
            found.append(at)
        return found


class Connection(Client):
    """One connection: it takes a request when it is free, and goes back to the free ones after the answer."""

    run: "OpenLoop"  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, number: int, arrival: float, seen: Seen) -> None:
        self.busy, self.head, self.tail, self.left = True, b"", b"", -1
        self.status, self.started, self.seen, self.began = "", False, seen, arrival
        self.transport.write(self.plan.request(number))

    def ask(self) -> None:
        self.run.free.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self.run.free:
            self.run.free.remove(self)
        super().connection_lost(error)


class OpenLoop:
    def __init__(self, plan: Plan, arrivals: Arrivals) -> None:
        self.plan, self.arrivals = plan, arrivals
        self.seen, self.unmeasured = Seen(), Seen()
        self.free: list[Connection] = []
        self.connections = self.outstanding = 0
        self.all_sent = False
        self.over = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    def one_ended(self) -> None:
        self.outstanding -= 1
        if self.all_sent and not self.outstanding:
            self.over.set()

    def one_gone(self) -> None:
        self.connections -= 1
        self.one_ended()

    def arrive(self, number: int, at: float, seen: Seen) -> None:
        self.outstanding += 1
        if self.free:
            self.free.pop().send(number, at, seen)
        elif self.connections < MOST_CONNECTIONS:
            self.connections += 1
            task = asyncio.get_running_loop().create_task(self.connect(number, at, seen))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            seen.fault("no connection left")
            self.one_ended()

    async def connect(self, number: int, at: float, seen: Seen) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_connection(lambda: Connection(cast(Any, self)), "127.0.0.1", self.plan.port)
        except OSError as error:
            seen.fault(f"not connected: {error.errno}")
            self.one_gone()
            return
        made.send(number, at, seen)

    async def result(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        start, loop_start = time.perf_counter() + LEAD, loop.time() + LEAD
        moments = self.arrivals.moments()
        for number, moment in enumerate(moments):
            seen = self.seen if moment >= self.arrivals.warm_up else self.unmeasured
            loop.call_at(loop_start + moment, self.arrive, number, start + moment, seen)
        await asyncio.sleep(LEAD + moments[-1] + 0.05)
        self.all_sent = True
        if self.outstanding:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.over.wait()
            except TimeoutError:
                self.seen.faults["unanswered"] = self.outstanding
        return {
            "answered": len(self.seen.answered),
            "seconds": self.arrivals.seconds,
            "faults": self.seen.faults,
            "latency": percentiles(self.seen.answered),
            "first_token": percentiles(self.seen.first_tokens),
        }


async def main(words: dict[str, Any]) -> dict[str, Any]:
    arrivals = Arrivals(*(words.pop(name) for name in ("rate", "measured", "warm_up", "seed")))
    return await OpenLoop(Plan(**words), arrivals).result()


if __name__ == "__main__":
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(main(orjson.loads(sys.argv[1])))))
