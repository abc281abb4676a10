"""Periodic tasks: due, run by one process at a time, and never in the way of a shutdown."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from aichat.core.background import lifecycle
from aichat.core.background.periodic import runner
from aichat.core.background.periodic.models import PeriodicTask
from aichat.core.database import executor
from aichat.core.money import CREDIT
from credits.models import Hold
from credits.services import Reserve, apply
from tests.conftest import Actor


@pytest.fixture
def ran(monkeypatch: Any) -> Iterator[list[str]]:
    """The runs of the only registered task, `tick`, due every minute."""
    monkeypatch.setattr(runner, "_tasks", {})
    runs: list[str] = []
    runner.register("tick", lambda: runs.append("tick"), every=lambda: 60)
    yield runs


def run_due() -> list[str]:
    """Run what is due in this thread, as a server's loop does in others; return the names of what ran."""
    return [task.name for task in runner.due() if runner.run(task)]


def test_a_task_runs_at_first_and_then_when_it_is_due(db: None, ran: list[str]) -> None:
    assert run_due() == ["tick"]
    assert run_due() == []
    PeriodicTask.objects.update(due_at=timezone.now())
    assert run_due() == ["tick"]
    assert ran == ["tick", "tick"]
    row = PeriodicTask.objects.get()
    assert timedelta(seconds=50) < row.due_at - timezone.now() <= timedelta(seconds=60)


@pytest.mark.parametrize(("found", "level"), [(0, "DEBUG"), (2, "INFO")])
def test_a_run_that_found_nothing_to_do_is_no_news(
    db: None, found: int, level: str, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr(runner, "_tasks", {})
    runner.register("sweep", lambda: found, every=lambda: 60)
    with caplog.at_level("DEBUG", logger=runner.__name__):
        run_due()
    assert [record.levelname for record in caplog.records if record.getMessage() == "sweep done"] == [level]


def test_a_task_another_process_runs_is_left_to_it_until_it_is_dead(db: None, ran: list[str]) -> None:
    PeriodicTask.objects.create(name="tick", due_at=timezone.now() + runner.LEASE, holder=uuid4())
    assert run_due() == []
    PeriodicTask.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert run_due() == ["tick"]


def test_a_task_that_fails_is_tried_again_and_stops_no_other(db: None, ran: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(runner, "_tasks", {})
    runner.register("broken", lambda: 1 / 0, every=lambda: 0)
    runner.register("tick", lambda: ran.append("tick"), every=lambda: 60)
    assert run_due() == ["broken", "tick"]
    assert run_due() == ["broken"]


@pytest.mark.django_db(transaction=True)
def test_of_many_processes_one_runs_a_task(ran: list[str]) -> None:
    barrier = threading.Barrier(6)

    def process() -> list[str]:
        barrier.wait()
        try:
            return run_due()
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        results = [task.result() for task in [pool.submit(process) for _ in range(6)]]
    assert [name for names in results for name in names] == ["tick"]
    assert ran == ["tick"]


@pytest.mark.django_db(transaction=True)
def test_the_server_heals_what_a_crash_left_and_stops_at_once(alice: Actor, settings: Any) -> None:
    alice.set_credits(10)
    settings.PERIODIC_TASKS = True
    past = timezone.now() - timedelta(seconds=1)
    apply([Reserve(wallet_id=alice.organization.pk, amount=CREDIT, expires_at=past)])

    async def serve() -> float:
        await runner.server_loop.start()
        for _ in range(100):
            await asyncio.sleep(0.05)
            if not await executor.run(Hold.objects.filter(state="OPEN").exists):
                break
        began = time.monotonic()
        await runner.server_loop.stop()
        await runner._finish_running()
        return time.monotonic() - began

    assert asyncio.run(serve()) < 1
    assert alice.wallet.held == 0
    assert {"expire_holds", "grant_allowances", "forget_idempotency_keys", "roll_up_usage"} <= set(
        PeriodicTask.objects.values_list("name", flat=True)
    )
    assert runner.server_loop.start in lifecycle._on_startup and runner.server_loop.stop in lifecycle._on_shutdown


@pytest.mark.django_db(transaction=True)
def test_without_periodic_tasks_a_server_runs_none(ran: list[str], settings: Any) -> None:
    settings.PERIODIC_TASKS = False

    async def serve() -> None:
        await runner.server_loop.start()
        await asyncio.sleep(0.1)
        await runner.server_loop.stop()

    asyncio.run(serve())
    assert not ran and not PeriodicTask.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_long_task_delays_no_other_and_is_awaited_at_shutdown(ran: list[str], settings: Any) -> None:
    settings.PERIODIC_TASKS = True
    may_end = threading.Event()

    def long() -> None:
        assert may_end.wait(5)
        ran.append("long")

    runner._tasks = {"long": runner.Task("long", long, lambda: 60), **runner._tasks}

    async def serve() -> None:
        await runner.server_loop.start()
        for _ in range(250):
            await asyncio.sleep(0.02)
            if ran:
                break
        assert ran == ["tick"]
        may_end.set()
        await runner.server_loop.stop()
        await runner._finish_running()

    asyncio.run(serve())
    assert ran == ["tick", "long"]
