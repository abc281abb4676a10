"""A snapshot serves a value from memory, and reads it again beside the requests."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest
from django.db import transaction

from aichat.core import snapshot as snapshots
from aichat.core.database import executor
from aichat.core.snapshot import LIMIT, REFRESH, TRUSTED, Snapshot
from aichat.flags import evaluation
from tests.engines import Valkey

pytestmark = pytest.mark.django_db(transaction=True)


class Reading:
    """A reading that counts its runs and, while `may_end` is clear, lasts until a test sets it."""

    def __init__(self) -> None:
        self.runs = 0
        self.may_end = threading.Event()
        self.may_end.set()
        self.error: Exception | None = None
        self.during: Callable[[], object] | None = None

    def __call__(self) -> int:
        self.runs += 1
        run = self.runs
        if self.during:
            self.during()
        assert self.may_end.wait(5)
        if self.error:
            raise self.error
        return run


@pytest.fixture
def reading() -> Reading:
    return Reading()


@pytest.fixture
def snapshot(reading: Reading) -> Iterator[Snapshot[int]]:
    made = Snapshot("numbers", reading, empty=0)
    yield made
    snapshots._snapshots.remove(made)


def grow_older(snapshot: Snapshot[int], seconds: float) -> None:
    snapshot.read_at -= seconds


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not happen within five seconds")


async def test_one_reading_serves_all_who_wait(snapshot: Snapshot[int], reading: Reading) -> None:
    reading.may_end.clear()
    waiting = [asyncio.ensure_future(snapshot.ready()) for _ in range(20)]
    await asyncio.sleep(0)
    reading.may_end.set()
    assert await asyncio.gather(*waiting) == [1] * 20
    assert await snapshot.ready() == 1


async def test_a_value_past_its_refresh_is_served_at_once_and_read_again_beside_the_request(
    snapshot: Snapshot[int], reading: Reading
) -> None:
    await snapshot.ready()
    reading.may_end.clear()
    grow_older(snapshot, REFRESH + 0.1)
    assert await asyncio.wait_for(snapshot.ready(), 0.2) == 1  # though the reading can't end
    reading.may_end.set()
    await until(lambda: snapshot.value == 2)


async def test_a_value_past_its_limit_is_waited_for(no_marks: None, snapshot: Snapshot[int]) -> None:
    await snapshot.ready()
    grow_older(snapshot, LIMIT + 0.1)
    assert await snapshot.ready() == 2


async def test_a_value_in_use_stays_fresh_without_a_request_that_waits(
    no_marks: None, snapshot: Snapshot[int], reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "REFRESH", 0.01)
    await snapshot.ready()
    await until(lambda: reading.runs >= 3)
    snapshot.used_at -= snapshots.IN_USE  # nobody asks any more
    await until(lambda: not snapshot._readings and not snapshot._timers)


async def test_a_change_in_this_process_is_seen_by_the_next_request(snapshot: Snapshot[int]) -> None:
    assert await snapshot.ready() == 1
    snapshot.forget()
    assert await snapshot.ready() == 2


async def test_a_caller_that_heard_of_a_change_gets_a_reading_that_begins_after_it(
    snapshot: Snapshot[int], reading: Reading
) -> None:
    reading.may_end.clear()
    earlier = asyncio.ensure_future(snapshot.ready())
    await until(lambda: reading.runs == 1)
    later = asyncio.ensure_future(snapshot.newly_read())
    reading.may_end.set()
    assert (await earlier, await later) == (1, 2)


async def test_a_change_during_a_reading_is_read_by_the_next_request(snapshot: Snapshot[int], reading: Reading) -> None:
    reading.during = lambda: snapshot.forget() if reading.runs == 1 else None
    await snapshot.ready()
    assert (await snapshot.ready(), reading.runs) == (2, 2)


def test_a_thread_reads_a_change_that_came_during_its_reading(snapshot: Snapshot[int], reading: Reading) -> None:
    reading.during = lambda: snapshot.forget() if reading.runs == 1 else None
    assert [snapshot.current() for _ in range(3)] == [1, 2, 2]


async def test_a_waiter_who_leaves_stops_the_reading_for_nobody(snapshot: Snapshot[int], reading: Reading) -> None:
    reading.may_end.clear()
    first, second = (asyncio.ensure_future(snapshot.ready()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    reading.may_end.set()
    assert (await second, reading.runs) == (1, 1)


async def test_an_error_is_raised_for_all_who_wait_and_is_not_kept(snapshot: Snapshot[int], reading: Reading) -> None:
    reading.error = RuntimeError("no connection")
    results = await asyncio.gather(*(snapshot.ready() for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["no connection"] * 3
    reading.error = None
    assert await snapshot.ready() == 2


async def test_a_reading_from_before_a_reset_is_thrown_away(snapshot: Snapshot[int], reading: Reading) -> None:
    reading.may_end.clear()
    waiting = asyncio.ensure_future(snapshot.ready())
    await until(lambda: reading.runs == 1)
    snapshots.reset_all()
    reading.may_end.set()
    assert await waiting == 2


async def test_a_question_about_a_flag_on_the_event_loop_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> Any:
        pytest.fail("reading would stop all other requests")

    monkeypatch.setattr(evaluation._rules, "read", read)
    evaluation.forget()
    assert evaluation.is_enabled("streaming")


async def test_a_change_at_the_very_end_of_a_reading_is_waited_for_without_holding_the_event_loop(
    snapshot: Snapshot[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a reading's end and the callback that takes note of it, a request may ask: it awaits another reading."""
    asked: list[asyncio.Task[int]] = []
    begun = 0

    async def ask() -> int:
        snapshot.forget()
        return await snapshot.ready()

    async def run(work: Callable[[], None]) -> None:
        work()
        if not asked:
            asked.append(asyncio.create_task(ask()))  # runs before the callbacks of the task that ends here

    def begin_reading() -> "asyncio.Task[None]":
        nonlocal begun
        begun += 1
        assert begun < 100, "the event loop is held"
        return begin()

    begin = snapshot._begin_reading
    monkeypatch.setattr(executor, "run", run)
    monkeypatch.setattr(snapshot, "_begin_reading", begin_reading)
    await snapshot.ready()
    assert await asked[0] == 2


# --- With Redis -------------------------------------------------------------------------------------------------------


@pytest.fixture
def another_process(snapshot: Snapshot[int]) -> Iterator[Snapshot[int]]:
    """The same value as another process keeps it."""
    made = Snapshot(snapshot.name, lambda: 0, empty=0)
    yield made
    snapshots._snapshots.remove(made)


async def test_an_unmarked_value_is_fresh_without_a_look_into_the_database(
    valkey: Valkey, snapshot: Snapshot[int], reading: Reading
) -> None:
    await snapshot.ready()
    grow_older(snapshot, LIMIT + 0.1)
    assert await snapshot.ready() == 1
    assert monotonic() - snapshot.read_at < LIMIT and reading.runs == 1


async def test_a_change_by_another_process_is_read_when_the_mark_shows_it(
    valkey: Valkey, snapshot: Snapshot[int], another_process: Snapshot[int]
) -> None:
    await snapshot.ready()
    await asyncio.to_thread(another_process.forget)
    grow_older(snapshot, LIMIT + 0.1)
    assert await snapshot.ready() == 2


async def test_a_change_is_marked_again_when_it_is_committed(
    valkey: Valkey, snapshot: Snapshot[int], another_process: Snapshot[int]
) -> None:
    def change() -> None:
        with transaction.atomic():
            another_process.forget()
            asyncio.run_coroutine_threadsafe(read_again(), loop).result(5)  # the rows of before, with the mark of after

    async def read_again() -> None:
        grow_older(snapshot, LIMIT + 0.1)
        await snapshot.ready()

    loop = asyncio.get_running_loop()
    await snapshot.ready()
    await executor.run(change)
    await read_again()
    assert snapshot.value == 3


async def test_what_changed_without_a_mark_is_read_after_a_while(
    valkey: Valkey, snapshot: Snapshot[int], reading: Reading
) -> None:
    await snapshot.ready()
    snapshot.seen_at -= TRUSTED
    grow_older(snapshot, LIMIT + 0.1)
    assert await snapshot.ready() == 2


async def test_a_caller_that_heard_of_a_change_does_not_trust_the_mark(valkey: Valkey, snapshot: Snapshot[int]) -> None:
    await snapshot.ready()
    assert await snapshot.newly_read() == 2


async def test_without_an_answer_of_redis_the_database_is_read(
    no_marks: None, valkey: Valkey, snapshot: Snapshot[int]
) -> None:
    await snapshot.ready()
    valkey.stop()
    grow_older(snapshot, LIMIT + 0.1)
    assert await snapshot.ready() == 2
