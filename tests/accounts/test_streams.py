import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest

from accounts import streams
from aichat.errors import RateLimited


async def forever() -> AsyncGenerator[int, None]:
    while True:
        yield 1


async def test_of_many_streams_at_once_exactly_the_limit_begins(settings: Any) -> None:
    settings.STREAMS_PER_USER = 5
    alice = uuid4()
    opened = [streams.counted(alice, forever()) for _ in range(20)]
    begun = await asyncio.gather(*(anext(stream) for stream in opened), return_exceptions=True)
    assert begun.count(1) == 5
    assert sum(isinstance(result, RateLimited) for result in begun) == 15
    for stream in opened:
        await stream.aclose()


async def test_a_stream_that_ends_gives_its_place_back(settings: Any) -> None:
    settings.STREAMS_PER_USER = 1
    alice = uuid4()
    for _ in range(3):
        stream = streams.counted(alice, forever())
        assert await anext(stream) == 1
        await stream.aclose()


async def test_a_place_nobody_gave_back_is_free_after_its_time() -> None:
    places, alice = streams.Places(), uuid4()
    assert places.take(alice, uuid4(), 1, lifetime=0)
    assert places.take(alice, uuid4(), 1, lifetime=60)
    assert not places.take(alice, uuid4(), 1, lifetime=60)


async def test_each_person_has_places_of_their_own(settings: Any) -> None:
    settings.STREAMS_PER_USER = 1
    first, second = streams.counted(uuid4(), forever()), streams.counted(uuid4(), forever())
    assert [await anext(first), await anext(second)] == [1, 1]
    with pytest.raises(StopAsyncIteration):
        await first.aclose()
        await anext(first)
    await second.aclose()
