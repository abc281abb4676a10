"""Stops an answer that goes on although its reader has left, whichever process writes it."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID
from weakref import WeakValueDictionary

from accounts.authentication import Caller
from aichat.api.models import StopRequest
from aichat.api.open_streams import OpenStream
from aichat.core.background.repeating import Repeating
from aichat.core.database import clock, executor
from aichat.generation.errors import AnswerStopped

CHECK_SECONDS = 1.0
KEPT_FOR = timedelta(hours=1)  # longer than any answer takes
_going_on: WeakValueDictionary[UUID, OpenStream] = WeakValueDictionary()


def add(name: UUID, stream: OpenStream) -> None:
    """Have `stream` found by its name, until it is over."""
    _going_on[name] = stream


async def stop(caller: Caller, name: UUID) -> None:
    """End the caller's answer of this name: at once in this process, within `CHECK_SECONDS` in another."""
    if not _end(name, caller.user.pk):
        now = clock.shared_now()
        await executor.run(StopRequest.objects.create, answer_id=name, user_id=caller.user.pk, created_at=now)


def _end(name: UUID, user_id: UUID) -> bool:
    """End an answer that this event loop writes for the user; whether there was one."""
    stream = _going_on.get(name)
    if stream is None or stream.loop is not asyncio.get_running_loop() or stream.caller.user.pk != user_id:
        return False
    if stream.is_running:
        stream.end(AnswerStopped())
    return True


async def end_stopped() -> None:
    """End the answers of this process that somebody asked another process to stop."""
    if names := [name for name, stream in _going_on.items() if stream.is_running]:
        for name, user_id in await executor.run(_wanted, names):
            _end(name, user_id)


def _wanted(names: Collection[UUID]) -> list[tuple[UUID, UUID]]:
    return list(StopRequest.objects.filter(answer_id__in=names).values_list("answer_id", "user_id"))


def forget_old() -> int:
    """Delete the wishes that are older than any answer; returns how many."""
    return StopRequest.objects.filter(created_at__lt=clock.shared_now() - KEPT_FOR).delete()[0]


loop = Repeating("the check of stopped answers", end_stopped, every=lambda: CHECK_SECONDS)
