"""Tests that nobody waits for a request that has ended, nor for a client that does not take its answer."""

import asyncio
import time
from typing import Any

import pytest
import redis

from aichat.asgi import Application
from aichat.core.redis import pipeline
from aichat.promptcache import single_flight, store
from tests.conftest import Actor
from tests.engines import Valkey
from tests.trace import Request


async def test_a_request_that_is_cancelled_while_it_looks_leaves_no_lock(valkey: Valkey) -> None:
    def read(digest: str, raw: bytes) -> Any:
        raise AssertionError

    await store.look("another", "token")  # Redis knows the script
    look = asyncio.create_task(single_flight.find("one", read, lambda latest: None, time.monotonic() + 5))
    await asyncio.sleep(0)  # it asks
    assert "one" in single_flight._under_way
    look.cancel()
    await asyncio.wait({look})
    await pipeline.ask("PING")  # Redis has done what it was asked
    client = redis.Redis.from_url(valkey.url)
    deadline = time.monotonic() + store.LEASE / 2
    while client.exists(store._lock("one")):
        assert time.monotonic() < deadline, "the lock of a request that has left"
        await asyncio.sleep(0.01)


@pytest.mark.django_db(transaction=True)
def test_a_client_that_takes_no_answer_keeps_nobody_waiting(
    catalog: None, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_flight, "BEAT", 0.05)
    monkeypatch.setattr(single_flight, "READER_PATIENCE", 0.1)
    body = {"model": "demo", "messages": [{"role": "user", "content": "Who reads?"}]}
    chat = Request("POST", "/v1/chat/completions", alice.headers, body)

    async def main() -> int:
        application, is_read = Application(), asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            async def send_late(message: Any) -> None:
                begun.set()
                await is_read.wait()
                await send(message)

            await application(scope, receive, send_late)

        begun = asyncio.Event()
        first = asyncio.create_task(chat.send(slow))  # type: ignore[arg-type]
        await begun.wait()
        try:
            async with asyncio.timeout(3):
                return await chat.send(application)
        finally:
            is_read.set()
            await first

    assert asyncio.run(main()) == 200
