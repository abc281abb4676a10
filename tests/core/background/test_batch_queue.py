"""Lanes: bounded, batched, tried again, and never in anybody's way."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from aichat.core.background import batch_queue
from aichat.core.background.batch_queue import BatchQueue

Make = Callable[..., BatchQueue[int]]


@pytest.fixture
def lane() -> Iterator[Make]:
    made: list[BatchQueue[int]] = []

    def make(work: Callable[[list[int]], None], **options: float) -> BatchQueue[int]:
        made.append(BatchQueue("test", work, **{"every": 0.01, **options}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()
        batch_queue._queues.remove(one)  # type: ignore[arg-type]


def test_items_are_done_in_batches_and_in_order(lane: Make) -> None:
    done: list[list[int]] = []
    one = lane(done.append, batch=3)
    for number in range(7):
        one.put(number)
    one.close()
    assert [number for batch in done for number in batch] == list(range(7))
    assert max(len(batch) for batch in done) <= 3


def test_when_it_is_full_the_oldest_go_and_are_counted(lane: Make, caplog: pytest.LogCaptureFixture) -> None:
    busy, done = threading.Event(), []

    def work(batch: list[int]) -> None:
        busy.wait(5)
        done.extend(batch)

    one = lane(work, capacity=3, batch=1)
    one.put(0)
    while one._waiting:
        time.sleep(0.001)  # it is being done now
    for number in range(1, 8):
        one.put(number)
    busy.set()
    one.close()
    assert done == [0, 5, 6, 7]
    assert one.dropped == 4
    assert "4 items were dropped" in caplog.text


def test_what_fails_is_tried_again_and_then_dropped(lane: Make) -> None:
    tries: list[list[int]] = []

    def work(batch: list[int]) -> None:
        tries.append(batch)
        if len(tries) < 3 or batch == [2]:
            raise RuntimeError

    one = lane(work, attempts=3, every=0.001)
    one.put(1)
    while len(tries) < 3:
        time.sleep(0.001)
    assert (tries, one.dropped) == ([[1]] * 3, 0)
    one.put(2)
    while one.dropped < 1:
        time.sleep(0.001)
    assert tries[3:] == [[2]] * 3


def test_putting_takes_no_time_however_long_the_work_takes(lane: Make) -> None:
    one = lane(lambda batch: time.sleep(0.2))
    began = time.perf_counter()
    for number in range(1000):
        one.put(number)
    assert time.perf_counter() - began < 0.1


def test_a_forked_child_begins_anew(lane: Make) -> None:
    done: list[int] = []
    one = lane(done.extend, every=10)
    one.put(1)
    pid = os.fork()
    if pid == 0:
        one.put(2)
        one.close()
        os._exit(0 if done == [2] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    one.close()
    assert done == [1]


def test_closing_does_not_wait_for_ever(lane: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    stuck = threading.Event()
    one = lane(lambda batch: stuck.wait(10) and None)
    one.put(1)
    time.sleep(0.03)
    began = time.monotonic()
    one.close(timeout=0.1)
    assert time.monotonic() - began < 1
    stuck.set()
