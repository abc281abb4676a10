"""DATABASE_TIMEOUT bounds what each engine is asked, and what it ends counts as an outage (a 503), not as a defect."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import connection, connections, transaction
from django.db.models import F

from accounts.models import Organization
from aichat.core.config import stores
from aichat.core.database import time_limits, transactions

TIMEOUT = 0.3  # seconds
SLOW = 5.0  # seconds: what is asked would take this long


@pytest.fixture
def impatient(transactional_db: None) -> Iterator[str]:
    """An alias of the tests' database with a DATABASE_TIMEOUT of 0.3 s."""
    entry = stores.database("DATABASE_URL", "", base_dir=Path("/"), timeout=TIMEOUT, threads=2)
    connections.settings["impatient"] = {
        **connections.settings["default"],
        **entry,
        "NAME": connection.settings_dict["NAME"],
    }
    Organization.objects.create(name="Red")
    connections["impatient"].connect()  # itself: Django's tests refuse to for an alias they don't know
    yield "impatient"
    connections["impatient"].close()
    if connection.vendor != "sqlite":
        connections["impatient"].close_pool()  # type: ignore[attr-defined]
    del connections["impatient"], connections.settings["impatient"]


def assert_ended_in_time(work: Callable[[], Any]) -> None:
    started = time.monotonic()
    with pytest.raises(Exception) as caught:  # each engine has its own
        work()
    assert time.monotonic() - started < 4 * TIMEOUT
    assert transactions.is_unavailable(caught.value)


def take(seconds: float, alias: str) -> None:
    """Have the database do one statement for so long."""
    if connection.vendor == "postgresql":
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [seconds])
        return
    sleep = {"$function": {"body": f"function() {{ sleep({seconds * 1000}) }}", "args": [], "lang": "js"}}
    mongodb: Any = connections[alias]
    list(mongodb.get_collection(Organization._meta.db_table).aggregate([{"$addFields": {"x": sleep}}]))


def test_a_slow_statement_is_ended(impatient: str) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite works inside our process: it is waited for only where it waits for its lock")
    assert_ended_in_time(lambda: take(SLOW, impatient))


def test_a_slow_statement_of_a_command_is_not_ended(impatient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite limits no statement")
    monkeypatch.setattr(time_limits, "connection", connections[impatient])
    with time_limits.lifted():
        take(2 * TIMEOUT, impatient)
    assert_ended_in_time(lambda: take(SLOW, impatient))


def test_a_migration_may_think_inside_its_transaction(impatient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's own setting")
    monkeypatch.setattr(time_limits, "connection", connections[impatient])

    def think(*_: object, **__: object) -> None:
        with transaction.atomic(impatient):
            take(0.01, impatient)
            time.sleep(2 * TIMEOUT)
            take(0.01, impatient)

    monkeypatch.setattr(DjangoMigrate, "handle", think)
    call_command("migrate", "accounts")


def test_waiting_for_somebody_elses_lock_is_ended(impatient: str) -> None:
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        def work() -> None:
            Organization.objects.update(revision=F("revision") + 1)
            locked.set()
            done.wait(SLOW)

        transactions.run_atomic(work)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(SLOW)
    try:
        assert_ended_in_time(lambda: Organization.objects.using(impatient).update(revision=9))
    finally:
        done.set()
        holder.join()


def test_a_process_that_stops_inside_a_transaction_keeps_its_rows_locked_for_half_the_timeout(impatient: str) -> None:
    """A frozen or cut-off host says nothing any more; MongoDB has a test of its own (`test_mongodb.py`)."""
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's own setting")
    stopped: Any = connections[impatient].get_new_connection(connections[impatient].get_connection_params())
    try:
        stopped.execute("BEGIN")
        stopped.execute("UPDATE accounts_organization SET revision = revision + 1")
        assert Organization.objects.using(impatient).update(revision=9) == 1
    finally:
        stopped.close()
