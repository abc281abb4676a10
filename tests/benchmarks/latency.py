"""Latency that our server adds to a provider's, at rates from idle to busy: beside the floor and LiteLLM, all in one run.

    python -m tests.benchmarks.latency [--quick] [--only NAME …] [--rates N …] [--litellm DIRECTORY] [--page FILE]

The load is open: requests arrive at random (Poisson), and a latency counts from the moment of arrival. What a system adds is
its percentile less that of the provider asked directly at the same rate in the same run. `--quick` takes two minutes and
prints; the whole run takes about twenty-five and writes its part of `docs/BENCHMARKS.md`.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import orjson

from tests.benchmarks import report, systems
from tests.benchmarks.systems import System
from tests.engines import MongoDB, Postgres
from tests.service import ROOT

LITELLM = ROOT / "var" / "benchmarks" / "litellm"
PAGE = ROOT / "docs" / "BENCHMARKS.md"
DIRECT, FLOOR, POSTGRESQL = "upstream, asked directly", "floor", "ours, PostgreSQL + Valkey"
RATES = [5, 20, 100, 200, 500]
QUICK_RATES = [20, 200]
WARM_UP = 1.0  # seconds of each load that are not measured
FEWEST = 150  # answers that a percentile is taken of
LITELLM_HOLDS = {False: 100, True: 20}  # requests a second, JSON and streams: beyond, its queue grows without end
STAGE_RATES = (5, 200)
METHOD = """\
Milliseconds that a system adds to the provider's own, which answers after 50 ms (a stream: 20 chunks, 5 ms apart). Requests
arrive at random at the given rate (open loop, Poisson), and a latency counts from the arrival. The floor is a bare ASGI
program under the same server: it reserves with one statement, calls the provider, and settles in one durable transaction of
four statements, without keys, limits, cache, checks or logs (`tests/benchmarks/floor.py`)."""


@dataclass(frozen=True)
class Load:
    """`seconds` at least: a low rate is measured for longer, so that there are `FEWEST` answers."""

    rate: int
    stream: bool
    seconds: float
    rounds: int

    @property
    def name(self) -> str:
        return f"{'paced streams' if self.stream else 'JSON'}, {self.rate} a second"

    @property
    def model(self) -> str:
        return "bench-50-5" if self.stream else "bench-50-0"

    @property
    def duration(self) -> float:
        return max(self.seconds, FEWEST / self.rate / self.rounds)

    def suits(self, system: System) -> bool:
        return not system.name.startswith("LiteLLM") or self.rate <= LITELLM_HOLDS[self.stream]


Seen = dict[str, Any]
Results = dict[Load, dict[str, list[Seen]]]  # by load, by system: one for each round


def measure(load: Load, system: System, first: int, seed: int) -> Seen:
    """One system under one load: percentiles in milliseconds, and what was not answered."""
    plan = {
        "port": system.port, "keys": system.keys, "model": load.model, "connections": 0, "requests": 0, "seconds": 0,
        "stream": load.stream, "first": first, "rate": load.rate, "measured": load.duration, "warm_up": WARM_UP,
        "seed": seed,
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.benchmarks.open_loop", orjson.dumps(plan).decode()]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=load.duration + 60, check=True)
    seen: Seen = orjson.loads(done.stdout)
    return seen


def run(loads: list[Load], running: list[System]) -> Results:
    """Every load on every system in turns, there and back: what disturbs the machine disturbs all alike."""
    results: Results = defaultdict(lambda: defaultdict(list))
    first = 0
    for load in loads:
        for number in range(load.rounds):
            for system in running if number % 2 == 0 else reversed(running):
                if load.suits(system):
                    first += 1_000_000
                    results[load][system.name].append(seen := measure(load, system, first, seed=number))
                    print(line(load, system.name, seen), flush=True)  # noqa: T201
    return results


def line(load: Load, system: str, seen: Seen) -> str:
    times = " ".join(f"{at} {seen['latency'][at]:7.1f}" for at in ("p50", "p95", "p99"))
    faults = f"  faults {seen['faults']}" if seen["faults"] else ""
    return f"{load.name:30} {system:26} {times}  first token p50 {seen['first_token']['p50']:7.1f} ms{faults}"


# --- Stages -----------------------------------------------------------------------------------------------------------


def stages(system: System, rates: Iterable[int]) -> dict[int, dict[str, list[float]]]:
    """Milliseconds that each stage of a JSON chat took, by rate, from a server with a stop-watch in it."""
    found = {}
    for number, rate in enumerate(rates):
        load = Load(rate, stream=False, seconds=6.0, rounds=1)
        taken(system)  # forget what was before
        measure(load, system, 10**9 + number * 1_000_000, seed=7)
        found[rate] = taken(system)
    return found


def taken(system: System) -> dict[str, list[float]]:
    """Ask until every worker has answered, each on a connection of its own."""
    by_worker: dict[int, dict[str, list[float]]] = {}
    until = time.monotonic() + 10
    while len(by_worker) < systems.WORKERS and time.monotonic() < until:
        answer = orjson.loads(httpx.get(f"http://127.0.0.1:{system.port}/stages", timeout=10).content)
        if answer["took"] or answer["worker"] not in by_worker:
            by_worker.setdefault(answer["worker"], {}).update(answer["took"])
    found: dict[str, list[float]] = defaultdict(list)
    for took in by_worker.values():
        for stage, times in took.items():
            found[stage] += times
    return found


# --- The page ---------------------------------------------------------------------------------------------------------


def added(by_system: dict[str, list[Seen]], system: str, what: str, at: str) -> float:
    """Milliseconds beyond those of the provider asked directly, the means over the rounds compared."""
    times = {name: mean(seen[what][at] for seen in by_system[name]) for name in (system, DIRECT)}
    difference: float = times[system] - times[DIRECT]
    return difference


def page(results: Results, stage_times: dict[int, dict[str, list[float]]], minutes: float, command: str) -> list[str]:
    load_average = os.getloadavg()[2]
    return [
        "## Added latency",
        "",
        f"Written by `{command}` on {datetime.now(UTC):%d %B %Y}, in {minutes:.0f} minutes (load average of the last 15: "
        f"{load_average:.1f}). {report.machine()}",
        "",
        METHOD,
        "",
        *latency_table(results),
        *ratios(results),
        *stage_table(stage_times),
    ]  # fmt: skip


def latency_table(results: Results) -> list[str]:
    rows = []
    for load, by_system in results.items():
        for system, runs in by_system.items():
            if system != DIRECT:
                times = [f"{added(by_system, system, 'latency', at):.1f}" for at in ("p50", "p95", "p99")]
                first = [f"{added(by_system, system, 'first_token', at):.1f}" for at in ("p50", "p95")]
                rows.append([load.name, system, *times, " / ".join(first) if load.stream else "", faults(runs)])
    head = ["load", "system", "p50", "p95", "p99", "first token p50 / p95", "not answered"]
    return report.table(head, rows)


def faults(runs: list[Seen]) -> str:
    found: dict[str, int] = defaultdict(int)
    for seen in runs:
        for kind, count in seen["faults"].items():
            found[kind] += count
    return ", ".join(f"{kind}: {count}" for kind, count in found.items()) or "–"


def ratios(results: Results) -> list[str]:
    """Ours against the floor and against LiteLLM."""
    found = []
    for load, by_system in results.items():
        if POSTGRESQL not in by_system:
            continue
        what = "first_token" if load.stream else "latency"
        for other in (name for name in by_system if name == FLOOR or name.startswith("LiteLLM")):
            shares = [
                f"{at} {added(by_system, POSTGRESQL, what, at) / max(0.1, added(by_system, other, what, at)):.2f}"
                for at in ("p50", "p99")
            ]
            found.append(f"- {load.name}: {POSTGRESQL} adds {', '.join(shares)} times what {other} adds.")
    return [*found, ""] if found else []


def stage_table(stage_times: dict[int, dict[str, list[float]]]) -> list[str]:
    if not stage_times:
        return []
    names = sorted({name for times in stage_times.values() for name in times})
    rows = [
        [name[2:], *(spread(times.get(name, [])) for times in stage_times.values())]
        for name in names
    ]  # fmt: skip
    head = ["stage of a JSON chat, ms p50 / p95", *(f"{rate} a second" for rate in stage_times)]
    return [f"Where the time is ({POSTGRESQL}, measured inside):", "", *report.table(head, rows)]


def spread(times: list[float]) -> str:
    ordered = sorted(times)
    if not ordered:
        return ""
    return " / ".join(f"{ordered[int(share * (len(ordered) - 1))]:.1f}" for share in (0.5, 0.95))


# --- The run ----------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="two minutes: the provider, the floor and PostgreSQL")
    parser.add_argument("--only", nargs="*", default=[], help="systems whose names contain one of these")
    parser.add_argument("--rates", nargs="*", type=int, default=[], help="requests a second")
    parser.add_argument("--no-stages", action="store_true", help="without the server that has a stop-watch")
    parser.add_argument("--litellm", type=Path, default=LITELLM, help="its virtual environment; made when missing")
    parser.add_argument("--page", type=Path, help=f"where to write (a whole run: {PAGE.relative_to(ROOT)})")
    options = parser.parse_args()
    began = time.monotonic()
    only = options.only or (["floor", "PostgreSQL"] if options.quick else [])
    rates = options.rates or (QUICK_RATES if options.quick else RATES)
    loads = [
        Load(rate, stream, seconds=6.0 if options.quick else 10.0, rounds=1 if options.quick else 2)
        for stream in (False, True)
        for rate in rates
        if not (stream and options.quick and rate > 20 and not options.rates)
    ]
    with TemporaryDirectory(prefix="aichat-bench-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        directory = Path(name)
        provider = stack.enter_context(systems.upstream(directory))
        running = [provider, *started(stack, directory, provider, only, options.litellm)]
        for system in running:
            measure(replace(loads[0], rate=50, seconds=2.0, rounds=100), system, 2 * 10**9, seed=1)  # warm up
        results = run(loads, running)
    stage_times: dict[int, dict[str, list[float]]] = {}
    if not options.no_stages and (not only or "PostgreSQL" in only):
        with TemporaryDirectory(prefix="aichat-bench-", ignore_cleanup_errors=True) as name:
            directory = Path(name)
            with (
                systems.upstream(directory) as provider,
                systems.ours(
                    directory, provider, Postgres(is_durable=True), application="tests.benchmarks.stages:application"
                ) as system,
            ):
                measure(loads[0], system, 3 * 10**9, seed=1)
                stage_times = stages(system, STAGE_RATES)
    minutes = (time.monotonic() - began) / 60
    arguments = " ".join(sys.argv[1:])
    part = page(results, stage_times, minutes, "make bench-latency" + (f' ARGS="{arguments}"' if arguments else ""))
    print("\n".join(part))  # noqa: T201
    target = options.page or (None if options.quick or options.only or options.rates else PAGE)
    if target:
        target.write_text(report.with_part(target.read_text() if target.exists() else "", "latency", part))


def started(stack: ExitStack, directory: Path, provider: System, only: list[str], litellm: Path) -> list[System]:
    """The systems to measure, running."""
    starts: dict[str, Callable[[], AbstractContextManager[System]]] = {
        "floor": lambda: systems.floor(directory, provider, Postgres(is_durable=True)),
        "ours, PostgreSQL": lambda: systems.ours(directory, provider, Postgres(is_durable=True)),
        "ours, SQLite": lambda: systems.ours(directory, provider, None),
        "ours, MongoDB": lambda: systems.ours(directory, provider, MongoDB()),
        "LiteLLM": lambda: systems.litellm(directory, provider, systems.litellm_environment(litellm.absolute())),
    }
    return [
        stack.enter_context(start())
        for name, start in starts.items()
        if not only or any(word.lower() in name.lower() for word in only)
    ]


if __name__ == "__main__":
    main()
