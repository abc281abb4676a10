"""What was delivered is paid, whatever becomes of the database and of the process that was to settle it."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx

from tests.databases.test_outage import gone
from tests.databases.test_processes import LARGE
from tests.service import Service, running_service

LONG = {"message": "word " * 40, "stream": True}  # half a second
SHORT_TIMEOUTS = {"DATABASE_TIMEOUT": "1", "PERIODIC_TASKS": "false"}


def wait_until(is_so: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.2)


async def read_to_the_end_of_its_life(service: Service, outage: AbstractContextManager[None]) -> None:
    """Begin a stream, take the database away in the middle of it, read every word, and kill the worker."""
    async with (
        httpx.AsyncClient(base_url=service.address, headers=service.headers, timeout=60) as client,
        client.stream("POST", "/api/v1/chat", json=LONG) as response,
    ):
        got = b""
        async for data in response.aiter_bytes():
            if not got:
                await asyncio.to_thread(outage.__enter__)
            got += data
            if got.count(b"event: delta") >= 40:
                break
        await asyncio.sleep(1.5)  # it is being settled now, in vain
        for worker in service.workers():
            os.kill(worker, signal.SIGKILL)


def test_a_delivered_stream_is_settled_by_another_process_when_its_own_is_killed_while_the_database_is_away(
    tmp_path: Path,
) -> None:
    options = {**LARGE, **SHORT_TIMEOUTS, "STARTER_CREDITS": "50", "SETTLEMENT_JOURNAL": str(tmp_path)}
    with running_service(workers=1, **options) as service:
        outage = gone(service)
        asyncio.run(read_to_the_end_of_its_life(service, outage))
        outage.__exit__(None, None, None)  # by this thread: a server ends with the thread that started it
        wait_until(lambda: httpx.get(f"{service.address}/readyz", timeout=10).status_code == 200)
        wait_until(lambda: service.credits() == {"balance": "49", "held": "0", "available": "49"})
        service.manage("verify_ledger")
        assert [path for path in tmp_path.iterdir() if path.stat().st_size] == []
