"""A generation cancelled at any moment leaves no open hold, no half record and no work behind."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from accounts.authentication import authenticate
from aichat.core.background import lifecycle
from aichat.core.database import executor
from aichat.core.money import CREDIT
from aichat.generation import pipeline
from aichat.generation.charging import hold_renewal
from aichat.generation.request import Completed, GenerationEvent, GenerationRequest, Started
from aichat.providers.base import Accepted, ChatRequest, Delta, Endpoint, Finished, PartSink
from aichat.usage.models import UsageRecord
from credits.models import Hold
from credits.services import expire_holds
from credits.verify import problems
from tests.conftest import Actor

MOST_STEPS = 300


class Scripted:
    """A provider that gives the event loop a turn around everything it does."""

    async def chat(self, request: ChatRequest, endpoint: Endpoint, hear: PartSink) -> Finished:
        await asyncio.sleep(0)
        await hear(Accepted())
        for word in ("one ", "two ", "three"):
            await asyncio.sleep(0)
            await hear(Delta(word))
        await asyncio.sleep(0)
        request.report.merge({"input": 3, "output": 3})
        return Finished("stop")


@pytest.fixture(autouse=True)
def stepwise(monkeypatch: pytest.MonkeyPatch, commits_by_threads: None) -> None:
    """Every wait takes a countable number of turns of the event loop: database work too, on the test's connection."""

    async def run(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)  # Django would give a running loop another connection than the test's
        try:
            result = work(*args, **kwargs)
        finally:
            asyncio._set_running_loop(loop)
        await asyncio.sleep(0)
        return result

    async def run_kept(name: str, threads: int, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await run(work, *args, **kwargs)

    monkeypatch.setattr(executor, "run", run)
    monkeypatch.setattr(executor, "run_kept", run_kept)
    monkeypatch.setattr(pipeline, "chat_adapter", lambda kind: Scripted())


def new_request(alice: Actor, *, stream: bool) -> GenerationRequest:
    caller = authenticate(f"Bearer {alice.key}")
    return GenerationRequest(
        caller=caller, model="demo", messages=[{"role": "user", "content": "Hi"}], stream=stream, request_id="r"
    )


async def listen(request: GenerationRequest) -> None:
    async def hear(event: GenerationEvent) -> None:
        await asyncio.sleep(0)

    await pipeline.generate(request, hear)


async def cancelled_after(work: Any, steps: int, *, times: int) -> bool:
    """Whether the work had ended by itself before `steps` turns of the loop were over."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    ended: bool = task.done()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with suppress(asyncio.CancelledError):
        await task
    for _ in range(MOST_STEPS):
        await asyncio.sleep(0)
    assert not lifecycle._tasks
    return ended


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("stream", [False, True])
def test_a_cancellation_at_every_step_settles_exactly_once(
    catalog: None, alice: Actor, stream: bool, times: int
) -> None:
    seen: set[str] = set()
    for steps in range(MOST_STEPS):
        before = UsageRecord.objects.count()
        request = new_request(alice, stream=stream)
        work = listen(request) if stream else pipeline.complete(request)
        ended = asyncio.run(cancelled_after(work, steps, times=times))
        assert not Hold.objects.filter(state=Hold.State.OPEN).exists(), f"after {steps} steps"
        records = list(UsageRecord.objects.order_by("id"))[before:]
        assert len(records) <= 1
        seen |= {record.status for record in records} or {"nothing"}
        if ended:
            break
    else:
        raise AssertionError("it never came to its end")
    assert steps > 10
    assert seen == {"nothing", "cancelled", "ok"}
    assert list(problems()) == []
    charged = sum(UsageRecord.objects.values_list("charged", flat=True))
    assert alice.wallet.available == 100 * CREDIT - charged


@pytest.mark.parametrize("count", range(1, 6))
def test_leaving_at_any_event_settles_what_was_delivered(catalog: None, alice: Actor, count: int) -> None:
    request, heard = new_request(alice, stream=True), list[GenerationEvent]()

    async def hear(event: GenerationEvent) -> None:
        heard.append(event)
        if len(heard) == count:
            await asyncio.Event().wait()  # a reader who takes no more, and then leaves

    async def leave() -> None:
        task = asyncio.ensure_future(pipeline.generate(request, hear))
        for _ in range(MOST_STEPS):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(leave())
    assert not Hold.objects.filter(state=Hold.State.OPEN).exists()
    (record,) = UsageRecord.objects.all()
    assert record.status == ("cancelled" if len(heard) == count else "ok")


def test_a_reader_who_takes_their_time_is_no_slow_provider(catalog: None, alice: Actor, settings: Any) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_IDLE_TIMEOUT = 0.2
    request = new_request(alice, stream=True)

    async def hear(event: GenerationEvent) -> None:
        if isinstance(event, Started):
            await asyncio.sleep(0.4)

    assert isinstance(asyncio.run(pipeline.generate(request, hear)), Completed)
    assert UsageRecord.objects.get().status == "ok"


def test_the_hold_of_a_stream_lives_as_long_as_its_slow_reader_needs(
    catalog: None, alice: Actor, settings: Any
) -> None:
    settings.HOLD_TTL = 0.6
    request, left_to_expire = new_request(alice, stream=True), list[tuple[int, int]]()

    async def hear(event: GenerationEvent) -> None:
        if isinstance(event, Started):
            await asyncio.sleep(3 * settings.HOLD_TTL)
            left_to_expire.append((await executor.run(expire_holds), await executor.run(open_holds)))

    async def listen_slowly() -> Any:
        await hold_renewal.loop.start()
        try:
            return await pipeline.generate(request, hear)
        finally:
            await hold_renewal.loop.stop()

    assert isinstance(asyncio.run(listen_slowly()), Completed)
    assert left_to_expire == [(0, 1)]
    assert Hold.objects.get().state == Hold.State.SETTLED
    assert UsageRecord.objects.get().charged > 0
    assert not hold_renewal._in_use
    assert list(problems()) == []


def open_holds() -> int:
    return Hold.objects.filter(state=Hold.State.OPEN).count()


def test_a_defect_in_an_adapter_gives_the_credits_back(
    catalog: None, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Defective:
        async def chat(self, request: ChatRequest, endpoint: Endpoint, hear: PartSink) -> Finished:
            await hear(Accepted())
            raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "chat_adapter", lambda kind: Defective())
    with pytest.raises(ZeroDivisionError):
        asyncio.run(pipeline.complete(new_request(alice, stream=False)))
    assert (alice.wallet.available, alice.wallet.held) == (100 * CREDIT, 0)
