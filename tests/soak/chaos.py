"""`make chaos`: every experiment of docs/RELIABILITY.md on each database, and the table of what came of it."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass

ALL = ("sqlite", "postgres", "mongodb")
SERVERS = ("postgres", "mongodb")


@dataclass(frozen=True)
class Experiment:
    """A promise, and the tests that try to break it on `engines`."""

    promise: str
    tests: tuple[str, ...]
    engines: tuple[str, ...] = ALL


EXPERIMENTS = [
    Experiment(
        "every write is done once when its connection is lost in COMMIT",
        ("tests/databases/test_lost_commits.py",),
        SERVERS,
    ),
    Experiment(
        "a delivered stream is paid although its process was killed", ("tests/generation/charging/test_journal.py",)
    ),
    Experiment("a delivered stream is paid after an outage of 20 seconds", ("tests/soak/outages.py",)),
    Experiment("an outage gives clear errors, and nobody is charged twice", ("tests/databases/test_outage.py",)),
    Experiment("racing and killed processes spend exactly what there is", ("tests/databases/test_processes.py",)),
    Experiment("streams are settled and told when the server stops", ("tests/api/test_stopping.py",)),
    Experiment("a receiver that never answers delays nobody else's webhooks", ("tests/images/test_webhooks.py",)),
    Experiment("pictures are made once while workers are killed", ("tests/soak/images.py",)),
    Experiment(
        "a process killed in its transaction frees its wallet", ("tests/databases/test_mongodb.py",), ("mongodb",)
    ),
    Experiment(
        "chats go on when the primary of three members steps down or dies",
        ("tests/databases/test_replica_set.py",),
        ("mongodb",),
    ),
]


def run(experiment: Experiment, engine: str) -> str:
    """Run one experiment on one engine. Returns a cell of the table: how many tests held or broke, and the seconds.

    What a broken experiment printed goes to the standard error.
    """
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "--no-header", "--tb=short", *experiment.tests]
    environment = {**os.environ, "TEST_DATABASE_URL": engine, "SOAK_JOBS": os.environ.get("SOAK_JOBS", "60")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr, flush=True)  # noqa: T201  # it may not break a second time
    last = done.stdout.strip().splitlines()[-1].partition(" in ")[0].strip("= ")
    return f"{last}, {time.monotonic() - began:.0f} s"


def main() -> None:
    lines = ["| promise | " + " | ".join(ALL) + " |", "| --- | --- | --- | --- |"]
    broken = False
    for experiment in EXPERIMENTS:
        cells = [run(experiment, engine) if engine in experiment.engines else "–" for engine in ALL]
        broken = broken or any("failed" in cell or "error" in cell for cell in cells)
        lines.append(f"| {experiment.promise} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)  # noqa: T201
    print("\n".join(["", *lines]))  # noqa: T201
    sys.exit(broken)


if __name__ == "__main__":
    main()
