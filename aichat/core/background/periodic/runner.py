"""Light periodic work inside the server: each task runs in one process at a time, whatever the number of hosts.

    register("expire_holds", expire_holds, every=lambda: settings.EXPIRE_HOLDS_INTERVAL)

A process takes a due task by a conditional UPDATE of the task's row. The tasks are safe to run twice; another process
takes over the task of a process that died, after LEASE. With PERIODIC_TASKS=false a server runs none of them.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError

from aichat.core.background import lifecycle
from aichat.core.background.periodic.models import PeriodicTask
from aichat.core.background.repeating import Repeating
from aichat.core.database import clock, executor, transactions
from aichat.core.telemetry import tracing

logger = logging.getLogger(__name__)
LEASE = timedelta(minutes=10)
POLL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of periodic work. `every()` is the number of seconds from the beginning of a run to the next one."""

    name: str
    work: Callable[[], object]
    every: Callable[[], float]


_tasks: dict[str, Task] = {}
_running: dict[str, "asyncio.Task[bool]"] = {}  # the tasks that this process runs at the moment


def register(name: str, work: Callable[[], object], *, every: Callable[[], float]) -> None:
    """Add a task, once at the start of the process (`AppConfig.ready`)."""
    _tasks[name] = Task(name, work, every)


def due() -> list[Task]:
    """The tasks that are due now, as far as the rows say; `run` decides which process gets one."""
    now = clock.shared_now()
    rows = dict(PeriodicTask.objects.filter(pk__in=list(_tasks)).values_list("name", "due_at"))
    return [task for task in _tasks.values() if rows.get(task.name, now) <= now]


def run(task: Task) -> bool:
    """Run the task if this process gets its lease; return whether it did."""
    holder, now = uuid4(), clock.shared_now()
    lease = {"due_at": now + LEASE, "holder": holder}
    row = PeriodicTask.objects.filter(pk=task.name)
    if not row.filter(due_at__lte=now).update(**lease) and not _first_run(task, lease):
        return False
    tracing.begin()
    try:
        result = task.work()
        # A run that found nothing to do is no news: an idle server's log stays empty.
        level = logging.INFO if result else logging.DEBUG
        logger.log(level, "%s done", task.name, extra={"task": task.name, "result": result})
    except Exception:
        logger.exception("%s failed", task.name, extra={"task": task.name})
    row.filter(holder=holder).update(due_at=now + timedelta(seconds=task.every()), finished_at=clock.shared_now())
    return True


def _first_run(task: Task, lease: dict[str, object]) -> bool:
    if PeriodicTask.objects.filter(pk=task.name).exists():
        return False  # another process holds the lease
    try:
        transactions.run_atomic(PeriodicTask.objects.create, name=task.name, **lease)
    except IntegrityError:
        return False
    return True


async def start_due() -> None:
    """Start the tasks that are due, each on a thread of its own: a long one delays no other. Shutdown awaits them."""
    for task in await executor.run(due):
        if task.name not in _running:
            running = _running[task.name] = lifecycle.spawn(executor.run(run, task))
            running.add_done_callback(partial(_ended, task.name))


def _ended(name: str, _: "asyncio.Task[bool]") -> None:
    _running.pop(name, None)


@lifecycle.on_shutdown
async def _finish_running() -> None:
    """Await the tasks that the last turn of the loop started (hooks run in reverse order: the loop has stopped)."""
    await asyncio.gather(*_running.values(), return_exceptions=True)


server_loop = Repeating(
    "the periodic runner", start_due, every=lambda: POLL_SECONDS, is_wanted=lambda: bool(settings.PERIODIC_TASKS)
)
