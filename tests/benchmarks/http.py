"""Chats over HTTP: our server against LiteLLM's proxy and against the floors, all in one run and in turns.

    python -m tests.benchmarks.http [--quick] [--only NAME …] [--litellm DIRECTORY] [--page FILE]

`--quick` takes about two minutes and prints; the whole run takes about fifteen and writes `docs/BENCHMARKS.md`. Only
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
from tests.service import ROOT

LITELLM = ROOT / "var" / "benchmarks" / "litellm"
PAGE = ROOT / "docs" / "BENCHMARKS.md"


@dataclass(frozen=True)
class Cell:
    """One load. `once`: each connection asks a single time."""

    name: str
    model: str = "bench-0-0"
    connections: int = 64
    stream: bool = False
    same: bool = False
    once: bool = False
    seconds: float = 5.0
    only_ours: bool = False
    is_matrix: bool = False

    def suits(self, system: System) -> bool:
        if self.only_ours:
            return system.name.startswith("ours")
        return not (self.stream and system.name == "raw ASGI hello")


JSON = Cell("JSON answer")
BURST = Cell("stream of 20 chunks in one piece", stream=True)
PACED = Cell("stream of 20 chunks, 5 ms apart", "bench-0-5", stream=True)
HIT = Cell("prompt-cache hit", same=True, only_ours=True)
HELD = Cell("1,000 streams at once", "bench-50-250", 1000, stream=True, once=True, seconds=40)
MATRIX = [
    Cell(f"{connections:,} connections, {delay} ms upstream", f"bench-{delay}-0", connections, is_matrix=True)
    for delay in (0, 50)
    for connections in (64, 256, 1000)
]


@dataclass(frozen=True)
class Measured:
    """One system under one load once: what the clients saw, and CPU milliseconds a request by part."""

    seen: dict[str, Any]
    cpu: dict[str, float]
    memory: float

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
    before, asked_before = system.cpu(), systems.asked(provider)
    seen = load(cell, system, questions.take())
    after = system.cpu()
    count = max(1, seen["answered"])
    if cell.same and systems.asked(provider) - asked_before > count / 10:
        seen["faults"]["not from the cache"] = systems.asked(provider) - asked_before
    return Measured(
        seen=seen,
        cpu={part: 1000 * (after[part] - before[part]) / count for part in after},
        memory=system.memory(),
    )


def load(cell: Cell, system: System, first: int) -> dict[str, Any]:
    plan = {
        "port": system.port,
        "keys": system.keys,
        "model": cell.model,
        "connections": cell.connections,
        "requests": cell.connections if cell.once else 1_000_000,
        "seconds": cell.seconds,
        "stream": cell.stream,
        "once": cell.once,
        "same": cell.same,
        "first": first,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load", orjson.dumps(plan).decode()],
        cwd=ROOT, capture_output=True, timeout=cell.seconds + 60, check=True,
    )  # fmt: skip
    seen: dict[str, Any] = orjson.loads(done.stdout)
    return seen


def warm_up(running: list[System], questions: Questions) -> None:
    for system in running:
        for cell in (JSON, BURST):
            if cell.suits(system):
                load(replace(cell, seconds=2.0), system, questions.take())


def run(cells: list[Cell], rounds: int, running: list[System], provider: System, questions: Questions) -> Results:
    """Every cell `rounds` times on every system, in turns: what disturbs the machine disturbs all alike."""
    results: Results = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        for number in range(rounds):
            for system in running if number % 2 == 0 else reversed(running):
                if not cell.suits(system):
                    continue
                measured = measure(cell, system, provider, questions)
                results[cell.name][system.name].append(measured)
                print(report.line(cell.name, system.name, measured), flush=True)  # noqa: T201
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="two minutes: CPU a request alone")
    parser.add_argument("--only", nargs="*", default=[], help="systems whose names contain one of these")
    parser.add_argument("--litellm", type=Path, default=LITELLM, help="its virtual environment; made when missing")
    parser.add_argument("--page", type=Path, help=f"where to write the page (a whole run: {PAGE.relative_to(ROOT)})")
    options = parser.parse_args()
    began = time.monotonic()
    with TemporaryDirectory(prefix="aichat-bench-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        directory = Path(name)
        provider = stack.enter_context(systems.upstream(directory))
        starts: dict[str, Callable[[], AbstractContextManager[System]]] = {
            "ours, PostgreSQL": lambda: systems.ours(directory, provider, grown=True),
            "ours, SQLite": lambda: systems.ours(directory, provider, grown=False),
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
        if options.quick:
            cells, rounds = [replace(cell, seconds=3.0) for cell in (JSON, BURST, PACED, HIT)], 2
        else:
            cells, rounds = [JSON, BURST, PACED, HIT, *MATRIX, HELD], 2
        results = run(cells, rounds, running, provider, questions)
    minutes = (time.monotonic() - began) / 60
    command = " ".join(["make bench-http", f"ARGS='{' '.join(sys.argv[1:])}'"] if sys.argv[1:] else ["make bench-http"])
    page = report.page(results, cells, minutes, command, report.versions(options.litellm))
    print(page)  # noqa: T201
    target = options.page or (None if options.quick or options.only else PAGE)
    if target:
        target.write_text(page)


if __name__ == "__main__":
    main()
