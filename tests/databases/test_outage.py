"""The database is gone for five seconds in the middle of a hundred chats, and comes back."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from tests.databases.test_processes import CHAT, LARGE, SHORT, chats
from tests.service import Service, running_service

CLIENTS = 100  # every other one streams
OUTAGE = 5.0  # seconds
BEFORE, AFTER = 1.0, 1.5  # seconds of chats around it
PAUSE = 0.4  # seconds between a client's chats
STARTED_WITH = 100_000  # credits; a chat costs one
STREAM = {"message": "word " * 40, "stream": True}  # half a second: many are under way whenever the database goes


@dataclass
class Answer:
    """`error` is the error object of a refusal or of a stream's last event; empty when the answer came whole."""

    status: int
    error: dict[str, Any]
    retry_after: str
    took: float  # seconds


@contextmanager
def gone(service: Service) -> Iterator[None]:
    """Killed, and started again on the same data and port. SQLite has no server: another process locks its file."""
    if service.database is not None:
        service.database.stop()
        yield
        service.database.start()
        return
    path = service.environment["DATABASE_URL"].removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


async def ask(client: httpx.AsyncClient, body: dict[str, Any]) -> Answer:
    began = time.monotonic()
    response = await client.post("/api/v1/chat", json=body)
    if response.status_code != 200:
        error = response.json()["error"]
    elif "stream" in body:
        name, _, data = response.text.strip().rpartition("event: ")[2].partition("\ndata: ")
        assert name in {"completed", "error"}, response.text[-300:]  # a stream never just ends
        error = orjson.loads(data)["error"] if name == "error" else {}
    else:
        error = {}
    return Answer(response.status_code, error, response.headers.get("retry-after", ""), time.monotonic() - began)


async def keep_chatting(client: httpx.AsyncClient, number: int, over: asyncio.Event) -> list[Answer]:
    answers = []
    await asyncio.sleep(PAUSE * number / CLIENTS)
    while not over.is_set():
        answers.append(await ask(client, STREAM if number % 2 else CHAT))
        await asyncio.sleep(PAUSE)
    return answers


async def chat_through_an_outage(service: Service) -> list[Answer]:
    headers = {**service.headers, "Cache-Control": "no-cache"}
    limits = httpx.Limits(max_connections=CLIENTS + 1)
    async with httpx.AsyncClient(base_url=service.address, headers=headers, timeout=30, limits=limits) as client:
        over = asyncio.Event()
        running = [asyncio.ensure_future(keep_chatting(client, number, over)) for number in range(CLIENTS)]
        await asyncio.sleep(BEFORE)
        outage = gone(service)
        await asyncio.to_thread(outage.__enter__)
        began = time.monotonic()
        if service.database is not None:
            probe = await client.get("/readyz")
            assert (probe.status_code, probe.json()["failing"]) == (503, ["database"])
        await asyncio.sleep(OUTAGE - (time.monotonic() - began))
        await asyncio.to_thread(outage.__exit__, None, None, None)
        await asyncio.sleep(AFTER)
        over.set()
        return [answer for found in await asyncio.gather(*running) for answer in found]


async def test_chats_get_a_clear_error_and_go_on_by_themselves() -> None:
    limits = {**SHORT, **LARGE, "DATABASE_TIMEOUT": "2", "STARTER_CREDITS": str(STARTED_WITH)}
    with running_service(workers=2, **limits) as service:
        workers = service.workers()
        answers = await chat_through_an_outage(service)
        refused = [answer for answer in answers if answer.error]
        assert refused  # how many, depends on who waited for the database and who was told at once
        assert {answer.error["code"] for answer in refused} == {"database_unavailable"}, service.log.read_text()
        # What was under way was settled when the database was back: no stream ended with an error.
        assert {(answer.status, answer.retry_after) for answer in refused} == {(503, "1")}
        assert max(answer.took for answer in answers) < OUTAGE + 10
        assert service.workers() == workers  # nothing was restarted
        assert await chats(service, 20) == {200: 20}
        while service.credits()["held"] != "0":  # reservations whose confirmation was lost
            service.manage("expire_holds")
        service.manage("verify_ledger")  # each charge has its usage record, and the other way round
        delivered = len(answers) - len(refused) + 20
        assert service.credits()["balance"] == str(STARTED_WITH - delivered)
