"""Experiments with faults that take longer than the suite has time for (`make chaos`)."""

import asyncio
from pathlib import Path

import httpx

from tests.databases.test_outage import gone
from tests.databases.test_processes import LARGE
from tests.generation.charging.test_journal import LONG, SHORT_TIMEOUTS
from tests.service import Service, running_service


def test_a_stream_is_paid_after_an_outage_that_is_longer_than_anybodys_patience(tmp_path: Path) -> None:
    options = {**LARGE, **SHORT_TIMEOUTS, "STARTER_CREDITS": "50", "SETTLEMENT_JOURNAL": "off"}

    async def stream(service: Service) -> str:
        async with httpx.AsyncClient(base_url=service.address, headers=service.headers, timeout=90) as client:
            streaming = asyncio.ensure_future(client.post("/api/v1/chat", json=LONG))
            await asyncio.sleep(0.3)
            with gone(service):
                await asyncio.sleep(20)
            return (await streaming).text

    with running_service(workers=1, **options) as service:
        assert "event: completed" in asyncio.run(stream(service))
        assert service.credits() == {"balance": "49", "held": "0", "available": "49"}
