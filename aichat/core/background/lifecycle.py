"""What a serving process starts, keeps running and drains: background tasks and shutdown hooks.

A leaf: parts register what they need closed; `asgi.py` calls `startup` and `shutdown`.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakSet

from aichat.core.errors import ApiError

logger = logging.getLogger(__name__)
T = TypeVar("T")
Hook = Callable[[], Coroutine[Any, Any, None]]

_tasks: set[asyncio.Task[Any]] = set()
_finishing: WeakSet[asyncio.Task[Any]] = WeakSet()
_on_startup: list[Hook] = []
_on_shutdown: list[Hook] = []


def on_startup(hook: Hook) -> Hook:
    _on_startup.append(hook)
    return hook


def on_shutdown(hook: Hook) -> Hook:
    _on_shutdown.append(hook)
    return hook


def spawn(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run `work` in the background; shutdown waits for it, and its own end keeps nobody waiting."""
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` so that the caller's cancellation does not stop it: it goes on in the background.

    Inside of what is being finished already nobody can stop it, and it needs no task of its own.
    """
    if asyncio.current_task() in _finishing:
        return await work
    task = spawn(work)
    _finishing.add(task)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_report_defect)
        raise


def _report_defect(task: asyncio.Task[Any]) -> None:
    """Nobody waits for the task's end any more: an error meant for the client has no reader, a defect has the log."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, ApiError):
        logger.error("background work failed", exc_info=error)


async def startup() -> None:
    for hook in _on_startup:
        await hook()


async def shutdown() -> None:
    """Wait for background work, then close what was opened. The server's graceful timeout bounds it."""
    while _tasks:  # what is finishing may still start something
        logger.info("draining %d background tasks", len(_tasks))
        await asyncio.gather(*_tasks, return_exceptions=True)
    for hook in reversed(_on_shutdown):
        await hook()
