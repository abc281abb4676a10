"""How fast credits are reserved and settled, against the very same statements sent without any of our code.

    python -m tests.benchmarks.ledger [--engine sqlite|postgres] [--seconds 2] [--writers 4] [--entries 1000000]

In each row one list of reservations and then one of their settlements are committed, again and again, by one or several
processes: as we do it, without the hash chain, by the portable statements, and raw: all statements of the first way are
recorded and sent again, to the database as it was before, through the bare driver. CPU is that of the writing processes
(on SQLite, the database's too), in microseconds for one reservation and its settlement. The ratios are what counts, the
pure figures depend on the machine. `--entries` also writes that many entries and times `verify_ledger` over them.
"""

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from tests import engines

WALLETS = 100
TURNS = 2  # of each way, in turns, so that a busy moment does not hit one of them alone
Statements = list[tuple[str, Any, bool]]


class Figures(NamedTuple):
    pairs: int  # of a reservation and its settlement
    seconds: float
    cpu: float  # seconds


@contextmanager
def database(engine: str) -> Iterator[None]:
    """A migrated database of its own."""
    memory = Path("/dev/shm")  # so that the figures are of the work, not of the disk
    directory = Path(tempfile.mkdtemp(prefix="aichat-bench-", dir=memory if memory.is_dir() else None))
    server = engines.Postgres() if engine == "postgres" else None
    os.environ["DATABASE_URL"] = server.url if server else f"sqlite:///{directory}/db.sqlite3"
    os.environ["DJANGO_SETTINGS_MODULE"] = "aichat.settings"
    os.environ["LOG_LEVEL"] = "ERROR"
    import django
    from django.core.management import call_command
    from django.db import connections

    django.setup()
    call_command("migrate", verbosity=0)
    try:
        yield
    finally:
        connections.close_all()
        if server:
            server.close()
        shutil.rmtree(directory, ignore_errors=True)


def make_wallets() -> list[Any]:
    from accounts.models import Organization
    from aichat.core.database.models import uuid7
    from aichat.core.money import CREDIT
    from credits.services import Credit, apply

    ids = [Organization.objects.create(name="bench").pk for _ in range(WALLETS)]
    for wallet_id in ids:
        apply([Credit(wallet_id=wallet_id, amount=10**6 * CREDIT, reference=f"bench:{uuid7()}")])
    return ids


def rewind() -> None:
    """The database as it was in the beginning: holds and charges gone, balances back."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM credits_ledgerentry WHERE kind IN ('CHARGE', 'ADJUSTMENT')")
        cursor.execute("DELETE FROM credits_hold")
        cursor.execute(f"UPDATE credits_wallet SET available = {10**12}, held = 0, sequence = 1")
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE credits_ledgerentry, credits_hold, credits_wallet")


# --- The ways ---------------------------------------------------------------------------------------------------------


def requests(wallets: list[Any], size: int) -> None:
    """One list of reservations, then one of their settlements: two commits for `size` requests."""
    from credits.services import Reserve, Settle, apply, hold_expiry

    expires_at = hold_expiry()
    reserves = [
        Reserve(wallet_id=random.choice(wallets), amount=5000, expires_at=expires_at, request_id="bench")
        for _ in range(size)
    ]
    assert not any(outcome.error for outcome in apply(reserves))
    assert all(outcome.charged for outcome in apply([Settle(hold=r.hold, charge=3000) for r in reserves]))


@contextmanager
def without_chain() -> Iterator[None]:
    from aichat.core.database.statements import Statement
    from credits.engines import portable, postgresql, sqlite

    def no_digests(found: Any, entries: Any) -> Any:
        return found

    with ExitStack() as patches:
        patches.enter_context(mock.patch("credits.models.digest", lambda *facts: "0" * 64))
        for module in (portable, postgresql):
            patches.enter_context(mock.patch.object(module, "with_digests", no_digests))
        for module, name, sub_select in (
            (sqlite, "MOVE", ", (\n    SELECT digest"),
            (postgresql, "MOVE_ONE", ", CASE"),
            (postgresql, "MOVE_MANY", ", CASE"),
        ):
            text = getattr(module, name).text
            statement = Statement(text[: text.index(sub_select)] + ", NULL")
            patches.enter_context(mock.patch.object(module, name, statement))
        yield


@contextmanager
def portably() -> Iterator[None]:
    from credits import engines

    with mock.patch.object(engines, "ENGINES", {}):
        yield


@contextmanager
def recorded() -> Iterator[list[Statements]]:
    """The statements of each commit."""
    from django.db import connection

    from credits import ledger

    commits: list[Statements] = []
    real = ledger._apply

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith("BEGIN"):
            commits[-1].append((sql, params, many))
        return execute(sql, params, many, context)

    def apply(*arguments: Any, **options: Any) -> Any:
        commits.append([])
        return real(*arguments, **options)

    with connection.execute_wrapper(record), mock.patch.object(ledger, "_apply", apply):
        yield commits


def replay(commits: list[Statements]) -> None:
    from django.db import connection

    connection.ensure_connection()
    begin, cursor = "BEGIN", None
    if connection.vendor == "sqlite":
        begin, cursor = "BEGIN IMMEDIATE", connection.connection.cursor()
    else:
        from psycopg import Cursor

        cursor = Cursor(connection.connection)
    for commit in commits:
        cursor.execute(begin)
        for sql, params, many in commit:
            (cursor.executemany if many else cursor.execute)(sql, params)
            if cursor.description:
                cursor.fetchall()
        cursor.execute("COMMIT")


# --- The writers ------------------------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[], Any]] = {"ours": ExitStack, "unchained": without_chain, "portable": portably}


def write(wallets: list[Any], size: int, seconds: float, gate: Any, results: Any) -> None:
    """In a process of its own: every way in turns, each begun by all writers at once."""
    import django

    django.setup()
    from django.db import connection

    def timed(work: Callable[[], int]) -> Figures:
        gate.wait()  # all ended what was before
        gate.wait()  # the database is as it was in the beginning
        began, cpu = time.perf_counter(), time.process_time()
        pairs = work()
        return Figures(pairs, time.perf_counter() - began, time.process_time() - cpu)

    def for_a_while() -> int:
        end, rounds = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            requests(wallets, size)
            rounds += 1
        return rounds * size

    def again() -> int:
        replay(commits)
        return len(commits) // 2 * size

    found: dict[str, list[Figures]] = {}
    for way in WAYS:
        with WAYS[way]():
            requests(wallets, size)  # to warm up
    for way in [*WAYS] * TURNS:
        with WAYS[way]():
            found.setdefault(way, []).append(timed(for_a_while))
        if way == "ours":
            with recorded() as commits:
                timed(for_a_while)
            if connection.vendor == "sqlite":
                commits = [[(sql.replace("%s", "?"), *rest) for sql, *rest in commit] for commit in commits]
            found.setdefault("raw", []).append(timed(again))
    gate.wait()
    gate.wait()
    results.put(found)


def compare(name: str, wallets: list[Any], size: int, writers: int, seconds: float) -> None:
    processes = multiprocessing.get_context("spawn")
    gate, results = processes.Barrier(writers + 1), processes.Queue()
    arguments = (wallets, size, seconds, gate, results)
    started = [processes.Process(target=write, args=arguments) for _ in range(writers)]
    for process in started:
        process.start()
    for _ in range((len(WAYS) + 2) * TURNS + 1):
        gate.wait(timeout=120)
        rewind()
        gate.wait(timeout=120)
    found = [results.get() for _ in started]
    for process in started:
        process.join()
    print(f"{name:>6} {writers:7} {size:5}", end="")  # noqa: T201
    rates = {}
    for way in ("ours", "raw", "portable", "unchained"):
        turns = [[writer[way][turn] for writer in found] for turn in range(TURNS)]
        pairs = sum(figures.pairs for turn in turns for figures in turn)
        cpu = 1e6 * sum(figures.cpu for turn in turns for figures in turn) / pairs
        rates[way] = pairs / sum(max(figures.seconds for figures in turn) for turn in turns)
        print(f" | {rates[way]:6.0f}/s {cpu:6.0f} µs", end="")  # noqa: T201
    chain = 100 * (1 - rates["ours"] / rates["unchained"])
    print(f" | {rates['ours'] / rates['raw']:5.2f} {chain:6.0f} %", flush=True)  # noqa: T201


# --- The proof --------------------------------------------------------------------------------------------------------


def fill(wallets: list[Any], count: int) -> None:
    """`count` entries of right chains, the quick way."""
    from django.utils import timezone

    from aichat.core.database import statements, transactions
    from credits.models import LedgerEntry, Wallet, digest

    rewind()
    now = timezone.now().replace(microsecond=0)
    each = count // len(wallets)
    for wallet_id in wallets:
        balance, previous = 10**12, LedgerEntry.objects.get(wallet_id=wallet_id).digest
        rows = []
        for sequence in range(2, each + 2):
            balance -= 1
            previous = digest(previous, sequence, "ADJUSTMENT", -1, f"fill:{sequence}", now)
            rows.append(
                LedgerEntry(
                    wallet_id=wallet_id, sequence=sequence, kind="ADJUSTMENT", amount=-1, balance_after=balance,
                    reference=f"fill:{sequence}", created_at=now, digest=previous,
                )
            )  # fmt: skip
        transactions.run_atomic(statements.insert, rows)
        Wallet.objects.filter(pk=wallet_id).update(available=balance, sequence=each + 1)


def time_verify(wallets: list[Any], count: int) -> None:
    from credits.verify import problems

    fill(wallets, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    found = list(problems())
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(  # noqa: T201
        f"verify_ledger over {count} entries of {len(wallets)} wallets: {took:.1f} s ({cpu:.1f} s CPU), {len(found)} "
        f"problems, peak memory {after / 1024:.0f} MiB ({(after - before) / 1024:+.0f} MiB while verifying)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--engine", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--entries", type=int, default=0)
    options = parser.parse_args()
    with database(options.engine):
        wallets = make_wallets()
        print(  # noqa: T201
            f"{options.engine}, Python {sys.version.split()[0]}, {os.cpu_count()} cores; pairs a second and CPU for each\n"
            "wallet writers lists |        ours         |         raw         |      portable       |    without chain   "
            " | ours/raw chain costs"
        )
        for writers in sorted({1, options.writers}):
            for size in options.sizes:
                compare("one", wallets[:1], size, writers, options.seconds)
                compare("spread", wallets, size, writers, options.seconds)
        if options.entries:
            time_verify(wallets, options.entries)


if __name__ == "__main__":
    main()
