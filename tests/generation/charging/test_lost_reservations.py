"""PostgreSQL crashes between a reservation, which does not wait for the disk, and its settlement."""

import asyncio
import tempfile
from pathlib import Path

import httpx
import psycopg

from tests.databases.test_processes import LARGE
from tests.engines import Postgres
from tests.service import Service


class LateWriter(Postgres):
    """A server that writes its log to disk at durable commits only, so that a crash loses what others committed."""

    def command(self) -> list[str]:
        return [*super().command(), "-c", "wal_writer_delay=10s"]


def rows(database: Postgres, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database.url) as connection:
        return connection.execute(query).fetchall()


async def crash_in_the_middle_of_a_stream(service: Service, database: Postgres) -> str:
    """Kill the server once the stream has begun, start it again, and return the whole stream."""
    headers = {**service.headers, "Cache-Control": "no-cache"}
    body = {"message": "word " * 200, "stream": True}
    text, has_crashed = "", False
    async with (
        httpx.AsyncClient(base_url=service.address, headers=headers, timeout=60) as client,
        client.stream("POST", "/api/v1/chat", json=body) as response,
    ):
        async for piece in response.aiter_text():
            text += piece
            if "event: delta" in text and not has_crashed:
                has_crashed = True
                assert await asyncio.to_thread(rows, database, "SELECT state FROM credits_hold") == [("OPEN",)]
                await asyncio.to_thread(database.stop)
                await asyncio.to_thread(database.start)
                assert await asyncio.to_thread(rows, database, "SELECT state FROM credits_hold") == []
    assert has_crashed, text
    return text


async def test_a_chat_whose_reservation_a_crash_lost_is_charged_once_and_nothing_is_lost() -> None:
    database = LateWriter()
    options = {**LARGE, "PERIODIC_TASKS": "false", "STARTER_CREDITS": "10"}
    with tempfile.TemporaryDirectory(prefix="aichat-service-", ignore_cleanup_errors=True) as directory:
        service = Service(Path(directory), database, 1, options)
        try:
            service.wait_until_ready()
            assert service.credits()["balance"] == "10"
            stream = await crash_in_the_middle_of_a_stream(service, database)
            assert "event: completed" in stream, stream[-500:]
            assert service.credits() == {"balance": "9", "held": "0", "available": "9"}
            assert rows(database, "SELECT state FROM credits_hold") == [("SETTLED",)]
            assert rows(database, "SELECT amount FROM credits_ledgerentry WHERE kind = 'CHARGE'") == [(-1_000_000,)]
            service.manage("verify_ledger")
        finally:
            service.close()
            database.close()
