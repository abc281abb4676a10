"""MongoDB as it is deployed: three members, of which the one that takes writes steps down or dies under chats."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.databases.test_processes import CHAT, LARGE, SHORT
from tests.engines import ReplicaSet, ReplicaSetMember
from tests.service import Service, running_service

pytestmark = pytest.mark.xdist_group("replica set")  # one service and its three servers for the whole file
CLIENTS = 20
STARTED_WITH = 100_000  # credits; a chat costs one
BEFORE, AFTER = 1.0, 4.0  # seconds of chats before the primary goes, and after
PAUSE = 0.1  # seconds between a client's chats


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    options = {**SHORT, **LARGE, "DATABASE_TIMEOUT": "3", "STARTER_CREDITS": str(STARTED_WITH)}
    with running_service(workers=2, database=ReplicaSet(), **options) as running:
        yield running


@pytest.fixture
def replica_set(service: Service) -> ReplicaSet:
    database: Any = service.database  # a `ReplicaSet` does what a service asks of a `Server`
    found: ReplicaSet = database
    return found


async def keep_chatting(client: httpx.AsyncClient, over: asyncio.Event, seen: list[tuple[float, int]]) -> None:
    while not over.is_set():
        answer = await client.post("/api/v1/chat", json=CHAT)
        seen.append((time.monotonic(), answer.status_code))
        await asyncio.sleep(PAUSE)


async def chat_while(service: Service, lose: Callable[[], None]) -> tuple[Counter[int], float]:
    """Chat with `CLIENTS` clients while the primary is lost. Returns the statuses, and the seconds without any 200."""
    headers = {**service.headers, "Cache-Control": "no-cache"}
    seen: list[tuple[float, int]] = []
    async with httpx.AsyncClient(base_url=service.address, headers=headers, timeout=30) as client:
        over = asyncio.Event()
        running = [asyncio.ensure_future(keep_chatting(client, over, seen)) for _ in range(CLIENTS)]
        await asyncio.sleep(BEFORE)
        await asyncio.to_thread(lose)
        lost = time.monotonic()
        await asyncio.sleep(AFTER)
        over.set()
        await asyncio.gather(*running)
    answered = [at for at, status in seen if status == 200 and at > lost]
    assert answered, Counter(status for _, status in seen)
    return Counter(status for _, status in seen), answered[0] - lost


def balance(service: Service) -> int:
    """Credits, when nothing is held any more: reservations whose confirmation was lost have expired."""
    deadline = time.monotonic() + 20
    while service.credits()["held"] != "0" and time.monotonic() < deadline:
        service.manage("expire_holds")
    return int(service.credits()["balance"])


def step_down(primary: ReplicaSetMember) -> None:
    primary.step_down()


def kill(primary: ReplicaSetMember) -> None:
    primary.stop()


@pytest.mark.parametrize("lose", [step_down, kill])
async def test_chats_go_on_with_the_next_primary_and_each_is_paid_once(
    service: Service, replica_set: ReplicaSet, lose: Callable[[ReplicaSetMember], None]
) -> None:
    """`pytest -s` prints the figures of docs/RELIABILITY.md."""
    primary, before = replica_set.primary(), balance(service)
    try:
        statuses, silent = await chat_while(service, lambda: lose(primary))
        print(f"{lose.__name__}: {dict(statuses)}, first answer after {silent:.1f} s")  # noqa: T201
        assert set(statuses) <= {200, 503}, service.log.read_text()[-3000:]
        assert silent < 10
        assert before - balance(service) == statuses[200]
        service.manage("verify_ledger")
        assert replica_set.primary() is not primary
    finally:
        primary.restore()


def test_every_member_ends_the_transactions_of_dead_processes(service: Service, replica_set: ReplicaSet) -> None:
    service.manage("check", "--database", "default")
    name = "transactionLifetimeLimitSeconds"
    for member in replica_set.members:
        with member.client() as client:
            assert client.admin.command({"getParameter": 1, name: 1})[name] == 4


def test_workers_killed_together_with_the_primary_are_replaced_and_the_ledger_is_right(
    service: Service, replica_set: ReplicaSet
) -> None:
    before = balance(service)
    headers = {**service.headers, "Cache-Control": "no-cache"}
    with httpx.Client(base_url=service.address, headers=headers, timeout=30) as client:
        assert client.post("/api/v1/chat", json=CHAT).status_code == 200
    for worker in service.workers():
        os.kill(worker, signal.SIGKILL)
    primary = replica_set.primary()
    primary.step_down()
    service.wait_until_ready()
    assert before - balance(service) == 1
    service.manage("verify_ledger")
