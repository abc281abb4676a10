"""Chats over HTTP: our server against LiteLLM's proxy and against the floors, all in one run and in turns.

    python -m tests.benchmarks.http [--quick] [--only NAME …] [--loads NAME …] [--litellm DIRECTORY] [--page FILE]

`--quick` takes a few minutes and prints; the whole run takes about fifteen and writes `docs/BENCHMARKS.md`. Only
ratios within one run mean anything: the load generator, the fake provider and what is measured share the machine.
"""

import argparse
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from tests.benchmarks import report, systems
from tests.benchmarks.systems import System
from tests.engines import MongoDB, Postgres
from tests.service import ROOT

LITELLM = ROOT / "var" / "benchmarks" / "litellm"
PAGE = ROOT / "docs" / "BENCHMARKS.md"
SAMPLE_EVERY = 3.0  # seconds: how often memory is looked at while streams are open


@dataclass(frozen=True)
class Cell:
    """One load. `once`: each connection asks a single time, and all are opened within `opening` seconds.

    `on` are words, of which a system's name must have one; none: every system that can.
    """

    name: str
    model: str = "bench-0-0"
    connections: int = 64
    stream: bool = False
    same: bool = False
    once: bool = False
    opening: float = 0.0
    seconds: float = 4.0
    rounds: int = 2
    on: tuple[str, ...] = ()
    is_matrix: bool = False

    def suits(self, system: System) -> bool:
        if self.stream and system.name == "raw ASGI hello":
            return False
        return not self.on or any(word in system.name for word in self.on)


JSON = Cell("JSON answer")
BURST = Cell("stream of 20 chunks in one piece", stream=True)
PACED = Cell("stream of 20 chunks, 5 ms apart", "bench-0-5", stream=True)
HIT = Cell("prompt-cache hit", same=True, on=("ours",))
MATRIX = [
    Cell(
        f"{connections:,} connections, {delay} ms upstream", f"bench-{delay}-0", connections, seconds=3.0,
        on=("PostgreSQL", "SQLite", "LiteLLM", "upstream"), is_matrix=True,
    )
    for delay in (0, 50)
    for connections in (64, 256, 1000)
]  # fmt: skip
HELD = Cell(
    "1,000, opened within 10 s", "bench-50-750", 1000, stream=True, once=True, opening=10.0, seconds=60.0, rounds=1
)
AT_ONCE = replace(HELD, name="1,000, opened at once", opening=0.0, on=("PostgreSQL", "SQLite", "LiteLLM", "upstream"))
MANY = replace(
    HELD, name="5,000, opened within 30 s", model="bench-50-2000", connections=5000, opening=30.0, seconds=120.0,
    on=("PostgreSQL",),
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One system under one load once: what the clients saw, and CPU milliseconds a request by part.

    `memory` is MiB of the largest worker afterwards; `whole` of the server as a whole, before and at most meanwhile.
    """

    seen: dict[str, Any]
    cpu: dict[str, float]
    memory: float
    whole: tuple[float, float]

    @property
    def per_second(self) -> float:
        return float(self.seen["answered"] / self.seen["seconds"])

    @property
    def total_cpu(self) -> float:
        return sum(self.cpu.values())


Results = dict[str, dict[str, list[Measured]]]  # by cell, by system


class Questions:
    """Numbers that were not asked yet, so that no answer is known by accident."""

    asked = 0

    def take(self) -> int:
        first, self.asked = self.asked, self.asked + 1_000_000
        return first


def measure(cell: Cell, system: System, provider: System, questions: Questions) -> Measured:
    before, asked_before, most = system.cpu(), systems.asked(provider), [system.whole_memory()]
    seen = load(cell, system, questions.take(), lambda: most.append(system.whole_memory()) if cell.once else None)
    after = system.cpu()
    count = max(1, seen["answered"])
    if cell.same and systems.asked(provider) - asked_before > count / 10:
        seen["faults"]["not from the cache"] = systems.asked(provider) - asked_before
    return Measured(
        seen=seen,
        cpu={part: 1000 * (after[part] - before[part]) / count for part in after},
        memory=system.memory(),
        whole=(most[0], max(most)),
    )


def load(
    cell: Cell, system: System, first: int, meanwhile: Callable[[], object] = lambda: None, requests: int = 1_000_000
) -> dict[str, Any]:
    """What the load generator has seen after so many requests at most; `meanwhile` is called every few seconds."""
    plan = {
        "port": system.port,
        "keys": system.keys,
        "model": cell.model,
        "connections": cell.connections,
        "requests": cell.connections if cell.once else requests,
        "seconds": cell.seconds,
        "stream": cell.stream,
        "once": cell.once,
        "opening": cell.opening,
        "same": cell.same,
        "first": first,
    }
    command = [sys.executable, "-m", "tests.benchmarks.load", orjson.dumps(plan).decode()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as running:
        until = time.monotonic() + cell.seconds + 60
        while True:
            try:
                output, _ = running.communicate(timeout=SAMPLE_EVERY)
                break
            except subprocess.TimeoutExpired:
                meanwhile()
                if time.monotonic() > until:
                    running.kill()
                    raise
    if running.returncode:
        raise SystemExit("The load generator failed.")
    seen: dict[str, Any] = orjson.loads(output)
    return seen


def warm_up(running: list[System], questions: Questions) -> None:
    for system in running:
        for cell in (JSON, BURST):
            if cell.suits(system):
                load(replace(cell, seconds=2.0), system, questions.take())


def run(cells: list[Cell], running: list[System], provider: System, questions: Questions) -> Results:
    """Every cell a few times on every system, in turns: what disturbs the machine disturbs all alike."""
    results: Results = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        for number in range(cell.rounds):
            for system in running if number % 2 == 0 else reversed(running):
                if not cell.suits(system):
                    continue
                measured = measure(cell, system, provider, questions)
                results[cell.name][system.name].append(measured)
                print(report.line(cell.name, system.name, measured), flush=True)  # noqa: T201
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a few minutes: CPU a request alone")
    parser.add_argument("--only", nargs="*", default=[], help="systems whose names contain one of these")
    parser.add_argument("--loads", nargs="*", default=[], help="loads whose names contain one of these")
    parser.add_argument("--litellm", type=Path, default=LITELLM, help="its virtual environment; made when missing")
    parser.add_argument("--page", type=Path, help=f"where to write the page (a whole run: {PAGE.relative_to(ROOT)})")
    options = parser.parse_args()
    began = time.monotonic()
    with TemporaryDirectory(prefix="aichat-bench-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        directory = Path(name)
        provider = stack.enter_context(systems.upstream(directory))
        starts: dict[str, Callable[[], AbstractContextManager[System]]] = {
            "ours, PostgreSQL": lambda: systems.ours(directory, provider, Postgres(is_durable=True)),
            "ours, MongoDB": lambda: systems.ours(directory, provider, MongoDB()),
            "ours, SQLite": lambda: systems.ours(directory, provider, None),
            "LiteLLM": lambda: systems.litellm(
                directory, provider, systems.litellm_environment(options.litellm.absolute())
            ),
            "hello": lambda: systems.hello(directory),
        }
        running = [
            stack.enter_context(start())
            for key, start in starts.items()
            if not options.only or any(word.lower() in key.lower() for word in options.only)
        ]
        running.append(provider)
        questions = Questions()
        warm_up(running, questions)
        cells = [JSON, BURST, PACED, HIT]
        cells = (
            [replace(cell, seconds=3.0) for cell in cells] if options.quick else [*cells, *MATRIX, HELD, AT_ONCE, MANY]
        )
        if options.loads:
            cells = [cell for cell in cells if any(word in cell.name for word in options.loads)]
        results = run(cells, running, provider, questions)
    minutes = (time.monotonic() - began) / 60
    command = "make bench-http" + (" ARGS=--quick" if options.quick else "")
    page = report.page(results, cells, minutes, command, report.versions(options.litellm))
    print(page)  # noqa: T201
    target = options.page or (None if options.quick or options.only or options.loads else PAGE)
    if target:
        latency = report.part_of(target.read_text(), "latency") if target.exists() else []
        target.write_text(report.with_part(page, "latency", [*latency, ""]) if latency else page)


if __name__ == "__main__":
    main()
