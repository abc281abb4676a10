"""What is read again each second is read by one request for all that wait for it."""

import asyncio
import threading

import pytest

from aichat import db


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


async def started(shared: db.Shared[int], number: int) -> list[asyncio.Task[int]]:
    waiting = [asyncio.ensure_future(shared()) for _ in range(number)]
    await asyncio.sleep(0)
    return waiting


@pytest.mark.django_db(transaction=True)
async def test_one_run_serves_all_who_wait_and_none_who_come_later(reading: Reading) -> None:
    shared = db.Shared(reading)
    waiting = await started(shared, 20)
    reading.may_end.set()
    assert await asyncio.gather(*waiting) == [1] * 20
    assert await shared() == 2


@pytest.mark.django_db(transaction=True)
async def test_who_leaves_stops_it_for_nobody(reading: Reading) -> None:
    first, second = await started(db.Shared(reading), 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    reading.may_end.set()
    assert (await second, reading.runs) == (1, 1)


@pytest.mark.django_db(transaction=True)
async def test_an_error_is_everybodys_and_is_not_kept(reading: Reading) -> None:
    shared = db.Shared(reading)
    reading.error = RuntimeError("no connection")
    waiting = await started(shared, 3)
    reading.may_end.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(result) for result in results] == ["no connection"] * 3
    reading.error = None
    assert await shared() == 2
