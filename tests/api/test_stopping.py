"""What becomes of streams when the server is told to stop."""

import asyncio
import signal

import httpx

from tests.service import Service, running_service

LONG = {"message": "word " * 2000, "stream": True}  # 25 seconds


async def stream_while_it_stops(service: Service) -> str:
    async with (
        httpx.AsyncClient(base_url=service.address, headers=service.headers, timeout=60) as client,
        client.stream("POST", "/api/v1/chat", json=LONG) as response,
    ):
        got = b""
        async for data in response.aiter_bytes():
            if not got:
                service.process.send_signal(signal.SIGTERM)
            got += data
    return got.decode()


def test_a_stream_that_is_longer_than_the_grace_is_told_settled_and_closed_with_an_error_event() -> None:
    with running_service(workers=1, GUNICORN_CMD_ARGS="--graceful-timeout 8", STARTER_CREDITS="50") as service:
        text = asyncio.run(stream_while_it_stops(service))
        service.process.wait(timeout=20)
        last = text.strip().rpartition("event: ")[2]
        assert last.startswith("error")
        assert '"overloaded"' in last
        show = "from credits.models import Wallet; from aichat.usage.models import UsageRecord; "
        show += "print(*Wallet.objects.values_list('available', 'held'), *UsageRecord.objects.values_list('status'))"
        assert "(49000000, 0) ('partial',)" in service.manage("shell", "-v", "0", "-c", show)
        service.manage("verify_ledger")
