"""Background tasks, and hooks for the start and the end of a serving process.

Any module registers hooks; `asgi.py` calls `startup` and `shutdown`.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from aichat.core.errors import ApiError

logger = logging.getLogger(__name__)
T = TypeVar("T")
Hook = Callable[[], Coroutine[Any, Any, None]]

_tasks: set[asyncio.Task[Any]] = set()
_finishing: set[asyncio.Task[Any]] = set()
_on_startup: list[Hook] = []
_on_shutdown: list[Hook] = []
_on_interrupt: list[Callable[[], None]] = []
_reasons: WeakKeyDictionary[asyncio.Task[Any], ApiError] = WeakKeyDictionary()


def is_on_event_loop() -> bool:
    """Whether this code runs on an event loop, where it must not block."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def on_startup(hook: Hook) -> Hook:
    """Decorator: await `hook()` when the server starts."""
    _on_startup.append(hook)
    return hook


def on_shutdown(hook: Hook) -> Hook:
    """Decorator: await `hook()` when the server stops, after the background tasks; the last registered runs first."""
    _on_shutdown.append(hook)
    return hook


def on_interrupt(hook: Callable[[], None]) -> Callable[[], None]:
    """Register a function that ends long work. It is called when the server's time for stopping is nearly over."""
    _on_interrupt.append(hook)
    return hook


def interrupt() -> None:
    """End long work now, so that it can be settled before the process is killed."""
    for hook in _on_interrupt:
        hook()


def cancel(task: asyncio.Task[Any], reason: ApiError) -> None:
    """Cancel a task whose client is still there: the task reads `cancellation_reason` and tells the client."""
    _reasons.setdefault(task, reason)
    task.cancel()


def cancellation_reason() -> ApiError | None:
    """Return why `cancel` ended the current task; None when the task was cancelled because its client left."""
    task = asyncio.current_task()
    return _reasons.get(task) if task else None


def spawn(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run `work` as a background task. Shutdown waits for the task."""
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` and let it go on in the background when the caller is cancelled.

    A task that runs under `finish` can't be cancelled by a caller, so a nested call awaits `work` directly.
    """
    if asyncio.current_task() in _finishing:
        return await work
    task = spawn(work)
    _finishing.add(task)
    task.add_done_callback(_finishing.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_report_defect)
        raise


async def shielded(future: "asyncio.Future[T]") -> T:
    """Await a future that goes on when the caller is cancelled. Under `finish` nobody cancels: no shield is needed there."""
    return await (future if asyncio.current_task() in _finishing else asyncio.shield(future))


def _report_defect(task: asyncio.Task[Any]) -> None:
    """Log the error of a task whose caller has left, unless the error is an `ApiError`, which was meant for the client."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, ApiError):
        logger.error("background work failed", exc_info=error)


async def startup() -> None:
    """Await the hooks of `on_startup`, in the order in which they were registered."""
    for hook in _on_startup:
        await hook()


async def shutdown() -> None:
    """Wait for background work, then close what was opened. The server's graceful timeout bounds it."""
    while _tasks:  # a task that ends may start another one
        logger.info("draining %d background tasks", len(_tasks))
        await asyncio.gather(*_tasks, return_exceptions=True)
    for hook in reversed(_on_shutdown):
        await hook()
