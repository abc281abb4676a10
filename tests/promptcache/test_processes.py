"""Two worker processes and a real Valkey: one upstream call for all, also when the process that asks is killed."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.engines import Valkey
from tests.service import Service, running_service
from tests.upstream import Reply, Upstream

pytestmark = pytest.mark.xdist_group("prompt cache of processes")  # one service for the whole file
MODEL = "gpt-4.1-mini"


@pytest.fixture(autouse=True)
def _nothing_asked_yet(upstream_server: Upstream) -> None:
    upstream_server.reset()


@pytest.fixture(scope="module")
def service(valkey_server: Valkey, upstream_server: Upstream) -> Iterator[Service]:
    upstream = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": f"{upstream_server.address}/v1"}
    with running_service(workers=2, REDIS_URL=valkey_server.url, PROMPT_CACHE_TTL="86400", **upstream) as running:
        yield running


async def ask_at_once(service: Service, times: int) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=times)
    async with httpx.AsyncClient(timeout=60, limits=limits, headers=service.headers) as client:
        body = {"message": "Asked by all", "model": MODEL}
        return await asyncio.gather(*(client.post(f"{service.address}/api/v1/chat", json=body) for _ in range(times)))


def test_two_hundred_identical_requests_ask_a_provider_once(service: Service, upstream_server: Upstream) -> None:
    upstream_server.always("openai", Reply("late"))
    answers = asyncio.run(ask_at_once(service, 200))
    assert Counter(answer.headers["x-cache"] for answer in answers) == {"miss": 1, "hit": 199}
    assert len(upstream_server.requests) == 1
    charged = {answer.headers["x-credits-charged"] for answer in answers if answer.headers["x-cache"] == "hit"}
    assert charged == {"0"}
    assert "right" in service.manage("verify_ledger")


def test_a_killed_leader_is_followed_within_two_seconds(service: Service, upstream_server: Upstream) -> None:
    upstream_server.always("openai", Reply("hang"))

    def ask(_: int) -> str:
        try:
            body = {"message": "Asked while the leader dies", "model": MODEL}
            url = f"{service.address}/api/v1/chat"
            return httpx.post(url, json=body, headers=service.headers, timeout=30).headers["x-cache"]
        except httpx.TransportError:
            return "killed"

    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(ask, number) for number in range(20)]
        time.sleep(1.0)
        assert len(upstream_server.requests) == 1
        leader = connected(service.workers(), upstream_server.address)
        upstream_server.always("openai", Reply("answer"))
        started = time.monotonic()
        os.kill(leader, signal.SIGKILL)
        while len(upstream_server.requests) == 1:
            assert time.monotonic() - started < 2.0
            time.sleep(0.01)
        words = Counter(one.result() for one in waiting)
    assert words["miss"] == 1
    assert words["hit"] + words["killed"] == 19
    assert len(upstream_server.requests) == 2


def connected(workers: list[int], address: str) -> int:
    """The worker that has a connection to `address` open, as the kernel's table says."""
    port = f"{int(address.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{line[9]}]" for line in lines if line[2].endswith(f":{port}") and line[3] == "01"}
    for worker in workers:
        if inodes & {os.readlink(file) for file in Path(f"/proc/{worker}/fd").iterdir() if file.is_symlink()}:
            return worker
    raise AssertionError("nobody is connected")
