"""What is read again each second is read by one request for all that wait for it."""

import asyncio
import threading
from typing import Any

import pytest
from django.utils import timezone

from aichat.catalog import snapshot
from aichat.core.database import executor
from aichat.flags import evaluation
from aichat.flags.rules import Rules
from aichat.promptcache import invalidation


class Reading:
    """Work that lasts until it is let go, and counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.may_end = threading.Event()
        self.error: Exception | None = None

    def __call__(self) -> int:
        self.runs += 1
        assert self.may_end.wait(5)
        if self.error:
            raise self.error
        return self.runs


@pytest.fixture
def reading() -> Reading:
    return Reading()


async def started(shared: executor.Shared[int], number: int) -> list[asyncio.Task[int]]:
    waiting = [asyncio.ensure_future(shared()) for _ in range(number)]
    await asyncio.sleep(0)
    return waiting


@pytest.mark.django_db(transaction=True)
async def test_one_run_serves_all_who_wait_and_none_who_come_later(reading: Reading) -> None:
    shared = executor.Shared(reading)
    waiting = await started(shared, 20)
    reading.may_end.set()
    assert await asyncio.gather(*waiting) == [1] * 20
    assert await shared() == 2


@pytest.mark.django_db(transaction=True)
async def test_who_leaves_stops_it_for_nobody(reading: Reading) -> None:
    first, second = await started(executor.Shared(reading), 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    reading.may_end.set()
    assert (await second, reading.runs) == (1, 1)


@pytest.mark.django_db(transaction=True)
async def test_an_error_is_everybodys_and_is_not_kept(reading: Reading) -> None:
    shared = executor.Shared(reading)
    reading.error = RuntimeError("no connection")
    waiting = await started(shared, 3)
    reading.may_end.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(result) for result in results] == ["no connection"] * 3
    reading.error = None
    assert await shared() == 2


# --- What is kept in memory and may change while it is read -----------------------------------------------------------


@pytest.mark.parametrize("name", ["catalog", "flags"])
def test_a_change_during_a_read_is_read_at_the_next_question(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = {"catalog": snapshot, "flags": evaluation}[name]
    before, after = object(), object()
    reads = iter([before, after, object()])

    def read() -> object:
        found = next(reads)
        if found is before:
            module.forget()  # somebody changed it after this read had begun
        return found

    monkeypatch.setattr(module, "_read", read)
    monkeypatch.setattr(module, "_loaded", None)  # put back afterwards
    module.forget()
    assert module.current() is before
    assert module.current() is module.current() is after
    module.forget()


@pytest.mark.django_db
def test_an_invalidation_during_a_read_is_read_at_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    now = timezone.now

    def interrupted() -> Any:
        reads.append(len(reads))
        if len(reads) == 1:
            invalidation.forget()
        return now()

    monkeypatch.setattr(timezone, "now", interrupted)
    invalidation.forget()
    for _ in range(3):
        invalidation._current("")
    assert len(reads) == 2


async def test_a_flag_that_changes_just_now_is_not_read_on_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "_read", lambda: pytest.fail("it would stop all other requests"))
    monkeypatch.setattr(evaluation, "_loaded", Rules(flags={}, experiments={}))
    evaluation.forget()
    assert evaluation.is_enabled("streaming")
