"""Two worker processes that share Redis: what is counted or taken away in one holds in both at once."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.engines import Valkey
from tests.service import Service, running_service

pytestmark = pytest.mark.xdist_group("workers")  # one service for the whole file
CHAT = {"message": "Hello"}
AT_ONCE = 20
NOT_KEPT = httpx.Limits(max_keepalive_connections=0)


@pytest.fixture(scope="module")
def service(valkey_server: Valkey) -> Iterator[Service]:
    with running_service(workers=2, REDIS_URL=valkey_server.url, STARTER_CREDITS="100000") as running:
        yield running


def new_key(service: Service, **options: str) -> tuple[str, dict[str, str]]:
    """The key's address, and the header that sends it."""
    made = httpx.post(
        f"{service.address}/api/v1/api-keys", headers=service.headers, json={"name": "k", **options}, timeout=30
    ).json()
    return f"{service.address}/api/v1/api-keys/{made['id']}", {"Authorization": f"Bearer {made['key']}"}


def ask(service: Service, headers: dict[str, str], times: int) -> Counter[int]:
    """Statuses of as many chats and look-ups, each over a connection of its own, so that both workers get some."""

    def one(number: int) -> int:
        if number % 2:
            return client.get("/api/v1/credits").status_code
        return client.post("/api/v1/chat", json=CHAT).status_code

    with (
        httpx.Client(base_url=service.address, headers=headers, limits=NOT_KEPT, timeout=30) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        return Counter(pool.map(one, range(times)))


def test_of_200_requests_exactly_the_limit_passes(service: Service) -> None:
    # Both workers have the key in memory, and look it up for every request: something of its owner changed just now.
    _, headers = new_key(service, rate_limit="20/hour")
    assert ask(service, headers, 200) == {200: 20, 429: 180}


def test_a_revoked_key_is_refused_by_every_worker_at_once(service: Service) -> None:
    address, headers = new_key(service)
    assert ask(service, headers, 100) == {200: 100}  # both workers know it by heart now
    assert httpx.delete(address, headers=service.headers, timeout=30).status_code == 204
    assert ask(service, headers, 100) == {401: 100}
