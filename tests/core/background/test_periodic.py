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


def test_a_task_runs_at_first_and_then_when_it_is_due(db: None, ran: list[str]) -> None:
    assert runner.run_due() == ["tick"]
    assert runner.run_due() == []
    PeriodicTask.objects.update(due_at=timezone.now())
    assert runner.run_due() == ["tick"]
    assert ran == ["tick", "tick"]
    row = PeriodicTask.objects.get()
    assert timedelta(seconds=50) < row.due_at - timezone.now() <= timedelta(seconds=60)


def test_a_task_another_process_runs_is_left_to_it_until_it_is_dead(db: None, ran: list[str]) -> None:
    PeriodicTask.objects.create(name="tick", due_at=timezone.now() + runner.LEASE, holder=uuid4())
    assert runner.run_due() == []
    PeriodicTask.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert runner.run_due() == ["tick"]


def test_a_task_that_fails_is_tried_again_and_stops_no_other(db: None, ran: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(runner, "_tasks", {})
    runner.register("broken", lambda: 1 / 0, every=lambda: 0)
    runner.register("tick", lambda: ran.append("tick"), every=lambda: 60)
    assert runner.run_due() == ["broken", "tick"]
    assert runner.run_due() == ["broken"]


@pytest.mark.django_db(transaction=True)
def test_of_many_processes_one_runs_a_task(ran: list[str]) -> None:
    barrier = threading.Barrier(6)

    def process() -> list[str]:
        barrier.wait()
        try:
            return runner.run_due()
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
        await runner._start()
        for _ in range(100):
            await asyncio.sleep(0.05)
            if not await executor.run(Hold.objects.filter(state="OPEN").exists):
                break
        began = time.monotonic()
        await runner._finish()
        return time.monotonic() - began

    assert asyncio.run(serve()) < 1
    assert alice.wallet.held == 0
    assert {"expire_holds", "grant_allowances", "forget_idempotency_keys"} <= set(
        PeriodicTask.objects.values_list("name", flat=True)
    )
    assert runner._start in lifecycle._on_startup and runner._finish in lifecycle._on_shutdown
