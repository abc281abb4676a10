"""The product as operators run it, while its Redis is not there, dawdles, and goes away: chats go on all the time."""

import time
from collections import Counter
from typing import Any

import httpx

from aichat.core.redis import health
from tests.engines import Valkey
from tests.service import Service, running_service
from tests.slow import slow_link

CHAT = {"message": "Hello"}
SLOW = 2.0  # seconds for each command
LIMIT = 30  # requests a minute


def chat(service: Service) -> tuple[float, str]:
    """One chat that must succeed: how many seconds it took, and what the prompt cache did."""
    started = time.monotonic()
    response = httpx.post(f"{service.address}/api/v1/chat", json=CHAT, headers=service.headers, timeout=30)
    assert response.status_code == 200, response.text
    return time.monotonic() - started, response.headers["x-cache"]


def readiness(service: Service) -> str:
    status: str = httpx.get(f"{service.address}/readyz", timeout=10).json()["status"]
    return status


def test_chats_go_on_without_redis_at_the_start_and_when_it_turns_slow(valkey_server: Valkey, settings: Any) -> None:
    with slow_link(valkey_server.port) as link:
        link.is_cut = True
        address = {"REDIS_URL": f"redis://127.0.0.1:{link.port}/0"}
        with running_service(workers=2, **address, RATE_LIMIT_ADMIN=f"{LIMIT}/min") as service:
            assert readiness(service) == "degraded"
            chats = [chat(service) for _ in range(6)]
            assert "hit" not in {found for _, found in chats}
            usual = sum(took for took, _ in chats)

            link.is_cut = False
            until = time.monotonic() + health.PAUSE + 3
            while chat(service)[1] != "hit":  # it is asked again, and used
                assert time.monotonic() < until
                time.sleep(0.5)

            link.delay = SLOW
            took = [chat(service)[0] for _ in range(6)]
            assert sum(took) < usual + 2 * (settings.CACHE_TIMEOUT + 0.5)  # once in each worker
            assert readiness(service) == "degraded"

            # Each worker counts for itself now, from nothing.
            with httpx.Client(base_url=service.address, headers=service.headers) as client:
                statuses = Counter(client.get("/api/v1/credits").status_code for _ in range(3 * LIMIT))
            assert set(statuses) == {200, 429}
            assert statuses[200] <= 2 * LIMIT
            assert service.log.read_text().count("going on without Redis") <= 2  # once a minute in each worker
