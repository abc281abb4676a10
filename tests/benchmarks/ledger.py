"""How fast credits are reserved and settled, against the very same statements sent without any of our code.

    python -m tests.benchmarks.ledger [--engine sqlite|postgres] [--seconds 3] [--entries 1000000]

First our code runs, and every statement it sends is recorded with its parameters; then the same statements are replayed
on a copy of the database through the bare driver. The ratio of both is what our code costs; the pure figures depend on
the machine. On SQLite, which works inside our process, time is CPU time, so that a busy machine does not disturb; on
PostgreSQL it is the clock on the wall. `--entries` also writes that many entries and times `verify_ledger` over them.
"""

import argparse
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from tests import engines

WALLETS = 100
Statements = list[tuple[str, Any]]


def set_up(engine: str) -> Any:
    """A migrated database of its own; answers what ends it."""
    memory = Path("/dev/shm")  # so that the figures are of the work, not of the disk
    directory = Path(tempfile.mkdtemp(prefix="aichat-bench-", dir=memory if memory.is_dir() else None))
    server = engines.Postgres() if engine == "postgres" else None
    os.environ["DATABASE_URL"] = server.url if server else f"sqlite:///{directory}/db.sqlite3"
    os.environ["DJANGO_SETTINGS_MODULE"] = "aichat.settings"
    os.environ["LOG_LEVEL"] = "ERROR"
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)

    def end() -> None:
        from django.db import connections

        connections.close_all()
        if server:
            server.close()
        shutil.rmtree(directory, ignore_errors=True)

    return end


def make_wallets() -> list[Any]:
    from accounts.models import Organization
    from aichat import db
    from aichat.money import CREDIT
    from credits.services import Credit, apply

    ids = [Organization.objects.create(name="bench").pk for _ in range(WALLETS)]
    for wallet_id in ids:
        apply([Credit(wallet_id=wallet_id, amount=10**6 * CREDIT, reference=f"bench:{db.uuid7()}")])
    return ids


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


def clock() -> float:
    from django.db import connection

    return time.process_time() if connection.vendor == "sqlite" else time.perf_counter()


def per_second(work: Callable[[], None], size: int, seconds: float) -> tuple[float, int]:
    """Requests a second, and how often `work` ran."""
    rounds, began = 0, clock()
    while clock() - began < seconds:
        work()
        rounds += 1
    return rounds * size / (clock() - began), rounds


@contextmanager
def recorded() -> Iterator[list[Statements]]:
    """The statements of each commit."""
    from django.db import connection

    commits: list[Statements] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith("BEGIN"):
            commits[-1].append((sql, params))
        return execute(sql, params, many, context)

    from credits import ledger

    real = ledger._apply

    def apply(*arguments: Any, **options: Any) -> Any:
        commits.append([])
        return real(*arguments, **options)

    with connection.execute_wrapper(record), mock.patch.object(ledger, "_apply", apply):
        yield commits


def replay(commits: list[Statements], size: int) -> float:
    """Requests a second of the recorded commits through the bare driver; two commits are `size` requests."""
    from django.db import connection

    connection.ensure_connection()
    cursor = connection.connection.cursor()
    begin = "BEGIN IMMEDIATE" if connection.vendor == "sqlite" else "BEGIN"
    if connection.vendor == "sqlite":
        commits = [[(sql.replace("%s", "?"), params) for sql, params in commit] for commit in commits]
    began = clock()
    for commit in commits:
        cursor.execute(begin)
        for sql, params in commit:
            cursor.execute(sql, params)
            if cursor.description:
                cursor.fetchall()
        cursor.execute("COMMIT")
    return len(commits) / 2 * size / (clock() - began)


def rewind() -> None:
    """The database as it was before the recording: holds and entries gone, balances back."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM credits_ledgerentry WHERE kind = 'CHARGE'")
        cursor.execute("DELETE FROM credits_hold")
        cursor.execute(f"UPDATE credits_wallet SET available = {10**12}, held = 0, sequence = 1")


def compare(name: str, wallets: list[Any], size: int, seconds: float) -> None:
    rewind()
    requests(wallets, size)
    rewind()
    ours, rounds = per_second(lambda: requests(wallets, size), size, seconds)
    rewind()
    with recorded() as commits:
        for _ in range(rounds):
            requests(wallets, size)
    rewind()
    raw = replay(commits, size)
    rewind()
    from credits import ledger

    with (
        mock.patch.object(ledger, "_last_digests", lambda sequences: {}),
        mock.patch("credits.models.digest", lambda *facts: "0" * 64),
    ):
        unchained, _ = per_second(lambda: requests(wallets, size), size, seconds)
    statements = sum(len(commit) for commit in commits) / rounds
    print(  # noqa: T201
        f"{name:>7} wallets, lists of {size:2}: ours {ours:7.0f}/s, raw {raw:7.0f}/s, ratio {ours / raw:.2f}; "
        f"{statements:.0f} statements in 2 commits; without hash chain {unchained:7.0f}/s "
        f"(the chain costs {100 * (1 - ours / unchained):.0f} %)",
        flush=True,
    )


def fill(wallets: list[Any], count: int) -> None:
    """`count` entries of right chains, the quick way."""
    from django.utils import timezone

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
        LedgerEntry.objects.bulk_create(rows, batch_size=500)
        Wallet.objects.filter(pk=wallet_id).update(available=balance, sequence=each + 1)


def time_verify(wallets: list[Any], count: int) -> None:
    from credits.verify import problems

    fill(wallets, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    found = list(problems())
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(  # noqa: T201
        f"verify_ledger over {count} entries of {len(wallets)} wallets: {took:.1f} s, {len(found)} problems, "
        f"peak memory {after / 1024:.0f} MiB ({(after - before) / 1024:+.0f} MiB while verifying)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--engine", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--entries", type=int, default=0)
    options = parser.parse_args()
    end = set_up(options.engine)
    try:
        print(f"{options.engine}, Python {sys.version.split()[0]}, one writer")  # noqa: T201
        wallets = make_wallets()
        for size in (1, 32):
            compare("one", wallets[:1], size, options.seconds)
            compare("spread", wallets, size, options.seconds)
        if options.entries:
            time_verify(wallets, options.entries)
    finally:
        end()


if __name__ == "__main__":
    main()
