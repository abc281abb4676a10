"""`make cluster`: several hosts under load while they are restarted, frozen, cut off and given wrong clocks; one table.

    python -m tests.soak.cluster --engine postgres --rate 100 --streams 200 --pictures 0.5 [--scale 0.3] [--only "frozen"]

It exits 1 when a promise of docs/RELIABILITY.md was broken. Everything listens on loopback addresses of this machine.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import orjson

django.setup(set_prefix=False)  # before the fake provider, which speaks of our models, can be imported

from tests.benchmarks.systems import upstream
from tests.images.conftest import Answer, FakeUpstream
from tests.soak.cluster.bed import Bed, missing
from tests.soak.cluster.clients import CHAT_MODEL, PICTURE_MODEL, STREAM_MODEL, Load, longest_pause
from tests.soak.cluster.experiments import EXPERIMENTS, Run

PEOPLE = 20
CALM = 8.0  # seconds of load before and after
PRICE = 40  # microcredits of a whole answer: 20 tokens each way
DRAWING = (0.5, 4.0)  # seconds


class SlowUpstream(FakeUpstream):
    """Draws for a while, so that workers are stopped in the middle of it."""

    def picture(self, path: str, body: dict[str, Any]) -> Answer:
        time.sleep(random.uniform(*DRAWING))
        return super().picture(path, body)

    def drawn(self) -> Counter[str]:
        """Prompt to how often it was asked for."""
        return Counter(request["body"]["contents"][0]["parts"][0]["text"] for request in self.requests)


@dataclass
class Phase:
    """One experiment: when it was, how many faults it made, and how many streams were open at the most."""

    name: str
    began: float
    ended: float = 0.0
    faults: int = 0
    most_open: int = 0


async def experiments(run: Run, names: list[str]) -> list[Phase]:
    phases: list[Phase] = []
    for name in ["calm", *names, "calm again"]:
        phases.append(phase := Phase(name, time.monotonic()))
        run.load.phase = name
        watching = asyncio.create_task(watch(run.load, phase))
        if name in EXPERIMENTS:
            try:
                phase.faults = await EXPERIMENTS[name](run)
            except Exception as error:  # the others are tried all the same
                run.broken.append(f"{name}: {error!r}")
        else:
            await run.rest(CALM)
        watching.cancel()
        phase.ended = time.monotonic()
        say(f"{phase.ended - phases[0].began:5.0f} s  {name}")
    return phases


async def watch(load: Load, phase: Phase) -> None:
    while True:
        phase.most_open = max(phase.most_open, load.open)
        await asyncio.sleep(0.2)


async def pictures_are_over(load: Load) -> None:
    """Until every job is over, for 90 seconds at most."""
    deadline = time.monotonic() + 90
    waiting = [operation for operation in load.operations if operation.job]
    while waiting and time.monotonic() < deadline:
        key = load.keys[int(waiting[-1].id[:8], 16) % len(load.keys)]
        code, job = await load.get(f"/api/v1/images/{waiting[-1].job}", key)
        if code == 200 and job["status"] in {"succeeded", "failed", "cancelled"}:
            operation = waiting.pop()
            operation.end = "answered" if job["status"] == "succeeded" else "refused"
        else:
            await asyncio.sleep(0.5)


async def drive(bed: Bed, keys: list[str], words: argparse.Namespace) -> tuple[list[Phase], Load, list[str]]:
    broken: list[str] = []
    chosen = [name for name in EXPERIMENTS if words.only in name]
    async with Load(bed.address, keys[1:], words.rate, words.streams, words.pictures) as load:
        phases = await experiments(Run(bed, load, keys[0], words.scale, broken), chosen)
        await load.finish()
        await pictures_are_over(load)
    return phases, load, broken


def compare(load: Load, sums: dict[str, Any], drawn: Counter[str], broken: list[str]) -> dict[str, dict[str, int]]:
    """Each operation with the ledger; for each phase what was lost, what was paid twice, and what was drawn twice."""
    found: dict[str, dict[str, int]] = {}
    for operation in load.operations:
        cell = found.setdefault(operation.phase, Counter())
        charges = sums["charges"].get(operation.id, [])
        cell[operation.kind] += 1
        cell["again"] += operation.tries > 1
        cell[f"{operation.kind} {operation.end}"] += 1
        cell["paid twice"] += len(charges) > 1
        # An answer that nobody paid, or a payment for which nobody got an answer.
        is_lost = operation.kind != "stream" and operation.end != "answered"
        cell["lost"] += is_lost or (operation.end == "answered" and not charges)
        cell["wrong price"] += operation.kind != "picture" and operation.end == "answered" and charges != [PRICE]
        cell["drawn twice"] += operation.kind == "picture" and drawn[operation.id] > 1
        is_stored = sums["pictures"].get(operation.job) == 1
        cell["lost"] += operation.kind == "picture" and operation.end == "answered" and not is_stored
    for name, cell in found.items():
        for fault in ("lost", "paid twice", "wrong price"):
            if cell[fault]:
                broken.append(f"{name}: {cell[fault]} operations {fault}")
    asked = {operation.id for operation in load.operations}
    strange = [request_id for request_id in sums["charges"] if request_id not in asked]
    if len(strange) > 1:  # the one question of `times_are_right`
        broken.append(f"{len(strange)} charges that no client asked for")
    return found


def table(phases: list[Phase], load: Load, found: dict[str, dict[str, int]]) -> str:
    lines = [
        "| experiment | s | chats, a second | streams (most open) | pictures | faults | told to ask again "
        "| streams told, cut | lost | paid twice | drawn twice | longest pause, s | slowest chat, s |",
        "| --- " * 13 + "|",
    ]
    for phase in phases:
        cell, seconds = found.get(phase.name, Counter()), phase.ended - phase.began
        chats = [one for one in load.operations if one.kind == "chat" and one.end == "answered"]
        pause = longest_pause([one.ended for one in chats], phase.began, phase.ended)
        slowest = max((one.ended - one.began for one in chats if one.phase == phase.name), default=0.0)
        cells = [
            phase.name, f"{seconds:.0f}", f"{cell['chat']}, {cell['chat'] / seconds:.0f}",
            f"{cell['stream']} ({phase.most_open})", cell["picture"], phase.faults,
            sum(load.refusals.get(phase.name, Counter()).values()),
            f"{cell['stream told']}, {cell['stream cut']}", cell["lost"], cell["paid twice"], cell["drawn twice"],
            f"{pause:.1f}", f"{slowest:.1f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def sums_are_right(bed: Bed, sums: dict[str, Any], broken: list[str]) -> str:
    """One line of what the ledger says, after `verify_ledger`."""
    verdict = bed.run("manage.py", "verify_ledger").strip().splitlines()[-1]
    charged = sum(sum(amounts) for amounts in sums["charges"].values())
    entries = sum(len(amounts) for amounts in sums["charges"].values())
    if sums["entries"] != sums["wallets"]:
        broken.append(f"entries are {sums['entries']} microcredits, wallets {sums['wallets']}")
    if sums["holds"].get("OPEN"):
        broken.append(f"{sums['holds']['OPEN']} holds are open")
    if sums["final_records"] != entries:
        broken.append(f"{sums['final_records']} charged usage records, {entries} charges")
    return f"{entries} charges of {charged} microcredits, holds {sums['holds']}; verify_ledger: {verdict}"


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(prog="make cluster")
    parser.add_argument("--engine", choices=["postgres", "mongodb"], default="postgres")
    parser.add_argument("--rate", type=float, default=100, help="chats a second")
    parser.add_argument("--streams", type=int, default=200, help="open streams")
    parser.add_argument("--pictures", type=float, default=0.5, help="pictures a second")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the lengths of the experiments")
    parser.add_argument("--only", default="", help="a part of the names of the experiments to run")
    words = parser.parse_args()
    if packages := missing():
        sys.exit(f"Install first: apt-get install {' '.join(packages)}")
    pictures = SlowUpstream()
    pictures.server.handle_error = lambda *args: None  # type: ignore[method-assign]  # its clients are killed
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aichat-cluster-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        with upstream(directory) as chats:
            bed = Bed(directory, words.engine, f"http://127.0.0.1:{chats.port}", pictures.url)
            try:
                bed.run("manage.py", "quickstart")
                keys = orjson.loads(bed.run("-m", "tests.benchmarks.seed", str(PEOPLE), CHAT_MODEL, STREAM_MODEL))
                bed.start()
                say(f"{time.monotonic() - began:5.0f} s  three hosts serve with {PICTURE_MODEL} and {CHAT_MODEL}")
                phases, load, broken = asyncio.run(drive(bed, keys, words))
                wait_for_holds(bed)
                sums = orjson.loads(bed.run("-m", "tests.soak.cluster.sums"))
                found = compare(load, sums, pictures.drawn(), broken)
                say(f"\n{table(phases, load, found)}\n\n{sums_are_right(bed, sums, broken)}")
                for phase, refusals in load.refusals.items():
                    say(f"  told to ask again, {phase}: {dict(refusals)}")
                for promise in broken:
                    say(f"BROKEN: {promise}")
                if broken:
                    keep_logs(directory)
            finally:
                bed.close()
    say(f"{words.engine}, {words.rate:g} chats/s, {words.streams} streams, {time.monotonic() - began:.0f} s in all")
    sys.exit(bool(broken))


def wait_for_holds(bed: Bed) -> None:
    """Until what died with its process was released, at most HOLD_TTL and a little."""
    deadline = time.monotonic() + 110
    while time.monotonic() < deadline:
        if not orjson.loads(bed.run("-m", "tests.soak.cluster.sums"))["holds"].get("OPEN"):
            return
        time.sleep(3)


def keep_logs(directory: Path) -> None:
    kept = Path("var") / "cluster"
    kept.mkdir(parents=True, exist_ok=True)
    for log in directory.glob("*.log"):
        (kept / log.name).write_bytes(log.read_bytes()[-2_000_000:])
    say(f"The logs of the hosts are in {kept}.")


if __name__ == "__main__":
    main()
