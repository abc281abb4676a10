"""A client that stops reading: nothing piles up for it, it is cut, and it pays for what was delivered."""

import json
import socket
from urllib.parse import urlsplit

import httpx

from tests.generation.charging.test_bill import eventually
from tests.service import Service, running_service
from tests.upstream import Reply, Upstream

KILOBYTE = 1024


def test_a_reader_that_stops_reading_is_cut_and_billed_for_what_was_delivered() -> None:
    fake = Upstream()
    with fake.running():
        options = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": f"{fake.address}/v1", "STALLED_READER_TIMEOUT": "1"}
        with running_service(1, **options) as service:
            warm_up = {"model": "auto", "messages": [{"role": "user", "content": "Warm up"}], "stream": True}
            answer = httpx.post(
                f"{service.address}/v1/chat/completions", json=warm_up, headers=service.headers, timeout=30
            )
            assert answer.status_code == 200
            fake.always("openai", Reply("flood"))
            before = resident(service)
            with ask_and_stop_reading(service):
                eventually(lambda: bool(fake.closed_by_client))
                assert resident(service) - before < 24 * KILOBYTE  # of a flood of 72 MiB
            eventually(lambda: float(service.credits()["held"]) == 0)
            asked = httpx.get(f"{service.address}/api/v1/admin/requests/slow", headers=service.headers, timeout=30)
            (record,) = asked.json()["usage"]
    assert record["status"] == "cancelled"
    assert record["source"] == "ESTIMATED"
    assert float(record["credits"]) > 0


def ask_and_stop_reading(service: Service) -> socket.socket:
    """A stream whose client takes its first bytes and no more."""
    address = urlsplit(service.address)
    asked = json.dumps({"model": "auto", "stream": True, "messages": [{"role": "user", "content": "Hi"}]})
    client = socket.create_connection((address.hostname, address.port), timeout=20)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: {service.headers['Authorization']}\r\n"
    head += f"X-Request-ID: slow\r\nContent-Type: application/json\r\nContent-Length: {len(asked)}\r\n\r\n"
    client.sendall((head + asked).encode())
    assert client.recv(15).startswith(b"HTTP/1.1 200")
    return client


def resident(service: Service) -> int:
    """KiB of memory the worker holds."""
    (worker,) = service.workers()
    with open(f"/proc/{worker}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
