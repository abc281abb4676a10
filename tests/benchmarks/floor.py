"""The floor under a chat that is paid: what any server must do, as a bare ASGI program on PostgreSQL, and nothing more.

One statement reserves (its commit does not wait for the disk), one call goes upstream, and one durable transaction of four
statements settles: hold, wallet, ledger entry, usage record, in one round trip. No keys, limits, cache, checks or logs.
Started by `tests.benchmarks.systems.floor` under gunicorn and uvicorn, with the event loop of our server.
"""

import os
import zlib
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import orjson
from psycopg_pool import AsyncConnectionPool

UPSTREAM, DATABASE = os.environ["FLOOR_UPSTREAM"], os.environ["FLOOR_DATABASE"]
PEOPLE = 50
CONNECTIONS = 4  # of each kind, for a worker
RESERVE = """
WITH taken AS (
  UPDATE wallet SET available = available - %(amount)s, held = held + %(amount)s
  WHERE id = %(wallet)s AND available >= %(amount)s RETURNING id
) INSERT INTO hold SELECT %(hold)s, id, %(amount)s, true FROM taken
"""
SETTLE = (
    "UPDATE hold SET open = false WHERE id = %(hold)s AND open",
    "UPDATE wallet SET held = held - %(amount)s, available = available + %(amount)s - %(charge)s WHERE id = %(wallet)s",
    "INSERT INTO entry VALUES (%(hold)s, %(wallet)s, -%(charge)s, now())",
    "INSERT INTO usage VALUES (%(hold)s, %(wallet)s, %(facts)s, now())",
)
AMOUNT, CHARGE = 5000, 60
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Floor:
    """One worker's connections."""

    async def start(self) -> None:
        options: dict[str, Any] = {"min_size": CONNECTIONS, "max_size": CONNECTIONS, "open": False}
        without_flush = {"autocommit": True, "options": "-c synchronous_commit=off"}
        self.reserving: AsyncConnectionPool = AsyncConnectionPool(DATABASE, kwargs=without_flush, **options)
        self.settling: AsyncConnectionPool = AsyncConnectionPool(DATABASE, **options)
        await self.reserving.open(wait=True)
        await self.settling.open(wait=True)
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def chat(self, body: bytes, key: bytes, send: Send) -> None:
        hold, wallet = uuid4(), zlib.crc32(key) % PEOPLE
        facts = {"hold": hold, "wallet": wallet, "amount": AMOUNT, "charge": CHARGE}
        async with self.reserving.connection() as connection:
            await connection.execute(RESERVE, facts, prepare=True)
        async with self.http.post(UPSTREAM, data=body, headers={"Content-Type": "application/json"}) as answer:
            if answer.content_type == "application/json":
                content = await answer.read()
                await self.settle(hold, facts)
                await send(start(b"application/json", len(content)))
                await send({"type": "http.response.body", "body": content})
                return
            await send(start(b"text/event-stream"))
            last = b""
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": last, "more_body": True})
                last = chunk
            await self.settle(hold, facts)
            await send({"type": "http.response.body", "body": last})

    async def settle(self, hold: UUID, facts: dict[str, Any]) -> None:
        values = {**facts, "facts": orjson.dumps({"input_tokens": 20, "output_tokens": 20, "model": "bench"}).decode()}
        async with self.settling.connection() as connection, connection.pipeline():
            for statement in SETTLE:
                await connection.execute(statement, values, prepare=True)
            await connection.commit()


def start(content_type: bytes, length: int | None = None) -> dict[str, Any]:
    headers = [(b"content-type", content_type)]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": 200, "headers": headers}


floor = Floor()


async def application(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await floor.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["method"] == "GET":
        await send(start(b"text/plain", 0))
        await send({"type": "http.response.body"})
        return
    await floor.chat(b"".join(parts), dict(scope["headers"]).get(b"authorization", b""), send)
