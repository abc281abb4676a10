"""Light periodic work inside the server: each task runs in one process at a time, whatever the number of hosts.

    register("expire_holds", expire_holds, every=lambda: settings.EXPIRE_HOLDS_INTERVAL)

A process takes a task that is due by a conditional UPDATE of its row. The tasks are safe to run twice; a process that
dies with one is replaced after `LEASE`.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from aichat.core.background import lifecycle
from aichat.core.background.periodic.models import PeriodicTask
from aichat.core.database import executor, transactions
from aichat.core.telemetry import tracing

logger = logging.getLogger(__name__)
LEASE = timedelta(minutes=10)
POLL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Task:
    """`every`: seconds between two runs, asked each time."""

    name: str
    work: Callable[[], object]
    every: Callable[[], float]


_tasks: dict[str, Task] = {}


def register(name: str, work: Callable[[], object], *, every: Callable[[], float]) -> None:
    """Called once at start (`AppConfig.ready`)."""
    _tasks[name] = Task(name, work, every)


def run_due() -> list[str]:
    """Run the tasks that are due and nobody else runs; answers their names."""
    rows = dict(PeriodicTask.objects.filter(pk__in=list(_tasks)).values_list("name", "due_at"))
    now = timezone.now()
    return [task.name for task in _tasks.values() if rows.get(task.name, now) <= now and _run(task)]


def _run(task: Task) -> bool:
    holder = uuid4()
    now = timezone.now()
    lease = {"due_at": now + LEASE, "holder": holder}
    row = PeriodicTask.objects.filter(pk=task.name)
    if not row.filter(due_at__lte=now).update(**lease) and not _first_run(task, lease):
        return False
    tracing.begin()
    try:
        result = task.work()
        logger.info("%s done", task.name, extra={"task": task.name, "result": result})
    except Exception:
        logger.exception("%s failed", task.name, extra={"task": task.name})
    row.filter(holder=holder).update(due_at=now + timedelta(seconds=task.every()), finished_at=timezone.now())
    return True


def _first_run(task: Task, lease: dict[str, object]) -> bool:
    if PeriodicTask.objects.filter(pk=task.name).exists():
        return False  # somebody was quicker
    try:
        transactions.run_atomic(PeriodicTask.objects.create, name=task.name, **lease)
    except IntegrityError:
        return False
    return True


# --- With the server --------------------------------------------------------------------------------------------------

_running: asyncio.Task[None] | None = None
_stop: asyncio.Event | None = None


@lifecycle.on_startup
async def _start() -> None:
    global _running, _stop
    if settings.PERIODIC_TASKS:
        _stop = asyncio.Event()
        _running = asyncio.create_task(_run_again_and_again(_stop))


async def _run_again_and_again(stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await executor.run(run_due)
        except Exception:
            logger.exception("periodic tasks can't be run")
        try:
            await asyncio.wait_for(stop.wait(), POLL_SECONDS * random.uniform(0.8, 1.2))
        except TimeoutError:
            continue


@lifecycle.on_shutdown
async def _finish() -> None:
    """A task that runs is finished, no other is begun."""
    if _stop and _running:
        _stop.set()
        await _running
