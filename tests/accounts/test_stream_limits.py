import asyncio
from typing import Any
from uuid import uuid4

import pytest

from accounts import stream_limits
from aichat.core.errors import RateLimited


async def test_of_many_streams_at_once_exactly_the_limit_begins(settings: Any) -> None:
    settings.STREAMS_PER_USER = 5
    alice, over = uuid4(), asyncio.Event()
    begun: list[int] = []

    async def stream(number: int) -> None:
        async with stream_limits.counted(alice):
            begun.append(number)
            await over.wait()

    all_streams = asyncio.gather(*(stream(number) for number in range(20)), return_exceptions=True)
    await asyncio.sleep(0.05)
    assert len(begun) == 5
    over.set()
    assert sum(isinstance(result, RateLimited) for result in await all_streams) == 15


async def test_a_stream_that_ends_gives_its_place_back(settings: Any) -> None:
    settings.STREAMS_PER_USER = 1
    alice = uuid4()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with stream_limits.counted(alice):
                raise ZeroDivisionError


async def test_a_place_nobody_gave_back_is_free_after_its_time() -> None:
    places, alice = stream_limits.Places(), uuid4()
    assert places.take(alice, uuid4(), 1, lifetime=0)
    assert places.take(alice, uuid4(), 1, lifetime=60)
    assert not places.take(alice, uuid4(), 1, lifetime=60)


async def test_each_person_has_places_of_their_own(settings: Any) -> None:
    settings.STREAMS_PER_USER = 1
    alice, bob = uuid4(), uuid4()
    async with stream_limits.counted(alice), stream_limits.counted(bob):
        with pytest.raises(RateLimited):
            async with stream_limits.counted(alice):
                raise AssertionError("alice has one stream open")
