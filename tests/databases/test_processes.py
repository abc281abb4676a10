"""The ledger under many processes, over HTTP: exact, whatever races and whoever is killed."""

import asyncio
import os
import signal
from collections import Counter

import httpx

from tests.service import Service, running_service

CHAT = {"message": "Hello"}
# A hold must outlive its request; here both are short, so that a killed worker's holds expire within the test.
SHORT = {
    "CHAT_ATTEMPT_TIMEOUT": "2",
    "CHAT_FIRST_TOKEN_TIMEOUT": "2",
    "CHAT_IDLE_TIMEOUT": "2",
    "CHAT_TOTAL_TIMEOUT": "2",
    "IMAGE_ATTEMPT_TIMEOUT": "2",
    "IMAGE_TOTAL_TIMEOUT": "2",
    "HOLD_TTL": "2.5",
}
LARGE = {"RATE_LIMIT_USER": "100000/min", "RATE_LIMIT_SUBSCRIBER": "100000/min", "RATE_LIMIT_ADMIN": "100000/min"}


async def chats(service: Service, count: int) -> Counter[int]:
    """`count` chats at the same time; how many had which status."""
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(
        base_url=service.address, headers={**service.headers, "Cache-Control": "no-cache"}, timeout=60, limits=limits
    ) as client:
        answers = await asyncio.gather(*(client.post("/api/v1/chat", json=CHAT) for _ in range(count)))
    return Counter(answer.status_code for answer in answers)


async def begin_stream(client: httpx.AsyncClient) -> None:
    """Read a long stream until the server breaks it off."""
    body = {"message": "word " * 400, "stream": True}
    try:
        async with client.stream("POST", "/api/v1/chat", json=body) as response:
            async for _ in response.aiter_bytes():
                pass
    except httpx.TransportError:
        pass


async def kill_in_the_middle_of_streams(service: Service, streams: int) -> None:
    async with httpx.AsyncClient(
        base_url=service.address, headers={**service.headers, "Cache-Control": "no-cache"}, timeout=30
    ) as client:
        running = [asyncio.ensure_future(begin_stream(client)) for _ in range(streams)]
        for _ in range(100):
            if service.credits()["held"] == str(streams):
                break
            await asyncio.sleep(0.02)
        for worker in service.workers():
            os.kill(worker, signal.SIGKILL)
        await asyncio.gather(*running)


async def test_racing_processes_spend_exactly_what_there_is() -> None:
    with running_service(workers=3, STARTER_CREDITS="20", **LARGE) as service:
        assert await chats(service, 60) == {200: 20, 402: 40}
        assert service.credits() == {"balance": "0", "held": "0", "available": "0"}
        service.manage("verify_ledger")


async def test_killed_workers_leave_holds_that_expire() -> None:
    with running_service(workers=2, STARTER_CREDITS="50", **SHORT, **LARGE) as service:
        await kill_in_the_middle_of_streams(service, 8)
        service.wait_until_ready()  # gunicorn has made new workers
        await asyncio.sleep(2.6)
        service.manage("expire_holds")
        assert service.credits() == {"balance": "50", "held": "0", "available": "50"}
        assert await chats(service, 3) == {200: 3}
        service.manage("verify_ledger")
