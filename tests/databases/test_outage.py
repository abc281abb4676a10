"""The database goes away under running chats and comes back."""

import asyncio
import time
from collections import Counter

import httpx

from tests.databases.test_processes import CHAT, LARGE, SHORT, chats
from tests.service import running_service

OUTAGE = 1.5  # seconds


async def keep_chatting(client: httpx.AsyncClient, until: float) -> list[httpx.Response]:
    answers = []
    while time.monotonic() < until:
        answers.append(await client.post("/api/v1/chat", json=CHAT))
        await asyncio.sleep(0.05)
    return answers


async def test_chats_get_a_clear_error_and_go_on_by_themselves() -> None:
    with running_service(workers=2, STARTER_CREDITS="5000", DATABASE_TIMEOUT="3", **SHORT, **LARGE) as service:
        assert service.database is not None
        async with httpx.AsyncClient(
            base_url=service.address, headers={**service.headers, "Cache-Control": "no-cache"}, timeout=60
        ) as client:
            until = time.monotonic() + OUTAGE + 3
            running = [asyncio.ensure_future(keep_chatting(client, until)) for _ in range(20)]
            await asyncio.sleep(1)
            await asyncio.to_thread(service.database.stop)
            probe = await client.get("/readyz")
            assert (probe.status_code, probe.json()["failing"]) == (503, ["database"])
            await asyncio.sleep(OUTAGE)
            await asyncio.to_thread(service.database.start)
            answers = [answer for found in await asyncio.gather(*running) for answer in found]
        refused = [answer.json()["error"] for answer in answers if answer.status_code != 200]
        assert {error["code"] for error in refused} == {"database_unavailable"}, service.log.read_text()
        service.wait_until_ready()
        assert await chats(service, 20) == {200: 20}
        await asyncio.sleep(2.6)
        service.manage("expire_holds")
        assert service.credits()["held"] == "0"
        service.manage("verify_ledger")
        # An answer whose settlement was lost cost nothing; a settlement whose confirmation was lost may have been made.
        delivered = Counter(answer.status_code for answer in answers)[200] + 20
        paid = 5000 - int(service.credits()["balance"])
        assert delivered <= paid <= delivered + len(refused)
