"""Clients as they should be: chats with an Idempotency-Key, asked again until they are answered; streams; pictures.

Each operation has a request ID that the ledger keeps with its charge, so that in the end each is compared with it.
"""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

import aiohttp
import orjson

TRY_SECONDS = 12.0  # for one try of a chat, then it is asked again
PATIENCE = 90.0  # for an operation
SILENCE = 25.0  # in a stream, after which its reader leaves
CHAT_MODEL, STREAM_MODEL, PICTURE_MODEL = "bench-50-0", "bench-0-500", "gemini-3.1-flash-image-preview"
Kind = Literal["chat", "stream", "picture"]


@dataclass
class Operation:
    """What one client wanted. `end` is "answered", "told" (an error event), "cut" (no proper end) or "refused"."""

    kind: Kind
    phase: str
    id: str = field(default_factory=lambda: uuid4().hex)
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    end: str = ""
    tries: int = 0
    job: str = ""


class Load:
    """`rate` chats a second arrive whatever becomes of earlier ones; `streams` are open all the time."""

    def __init__(self, address: str, keys: list[str], rate: float, streams: int, pictures: float) -> None:
        self.address, self.keys = address, keys
        self.rate, self.streams, self.pictures = rate, streams, pictures
        self.phase = "start"
        self.operations: list[Operation] = []
        self.refusals: dict[str, Counter[str]] = {}
        self.open = 0
        self.over = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self.session: aiohttp.ClientSession

    async def __aenter__(self) -> "Load":
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self.spawn(self.arrivals(self.rate, self.chat))
        self.spawn(self.arrivals(self.pictures, self.picture))
        for number in range(self.streams):
            self.spawn(self.keep_streaming(number))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def finish(self) -> None:
        """Begin nothing more, and await what was begun."""
        self.over.set()
        while self.tasks:
            await asyncio.gather(*self.tasks)

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def arrivals(self, rate: float, make: Callable[[], Awaitable[None]]) -> None:
        begun, number = time.monotonic(), 0
        while rate and not self.over.is_set():
            number += 1
            self.spawn(make())
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))

    def begin(self, kind: Kind) -> Operation:
        self.operations.append(operation := Operation(kind, self.phase))
        return operation

    def headers(self, operation: Operation, *, repeatable: bool) -> dict[str, str]:
        key = self.keys[int(operation.id[:8], 16) % len(self.keys)]
        found = {"Authorization": f"Bearer {key}", "X-Request-ID": operation.id}
        return {**found, "Idempotency-Key": operation.id} if repeatable else found

    def refused(self, why: str) -> None:
        self.refusals.setdefault(self.phase, Counter())[why] += 1

    async def until_answered(self, operation: Operation, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Ask with the same Idempotency-Key until there is an answer; None when patience is over."""
        headers, limit = self.headers(operation, repeatable=True), aiohttp.ClientTimeout(total=TRY_SECONDS)
        while time.monotonic() < operation.began + PATIENCE:
            operation.tries += 1
            try:
                async with self.session.post(self.address + path, json=body, headers=headers, timeout=limit) as answer:
                    raw = await answer.read()
                if answer.status < 300:
                    found: dict[str, Any] = orjson.loads(raw)
                    operation.ended, operation.end = time.monotonic(), "answered"
                    return found
                self.refused(f"{answer.status} {code_of(raw)}")
            except (aiohttp.ClientError, TimeoutError) as error:
                self.refused(type(error).__name__)
            await asyncio.sleep(1)
        operation.ended, operation.end = time.monotonic(), "refused"
        return None

    async def chat(self) -> None:
        operation = self.begin("chat")
        body = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": operation.id}], "max_tokens": 100}
        found = await self.until_answered(operation, "/v1/chat/completions", body)
        if found is not None and found["choices"][0]["finish_reason"] != "stop":
            operation.end = "cut"

    async def picture(self) -> None:
        operation = self.begin("picture")
        body = {"model": PICTURE_MODEL, "prompt": operation.id, "background": True}
        found = await self.until_answered(operation, "/api/v1/images", body)
        operation.job = found["id"] if found else ""

    async def keep_streaming(self, number: int) -> None:
        await asyncio.sleep(10 * number / self.streams)  # a stream takes ten seconds: about as many begin each second
        while not self.over.is_set():
            operation = self.begin("stream")
            operation.end = await self.stream(operation)
            operation.ended = time.monotonic()
            if operation.end != "answered":
                await asyncio.sleep(1)

    async def stream(self, operation: Operation) -> str:
        body = {
            "model": STREAM_MODEL,
            "messages": [{"role": "user", "content": operation.id}],
            "max_tokens": 100,
            "stream": True,
        }
        limit = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENCE)
        headers, url = self.headers(operation, repeatable=False), f"{self.address}/v1/chat/completions"
        end, is_open = "refused", False
        try:
            async with self.session.post(url, json=body, headers=headers, timeout=limit) as answer:
                if answer.status != 200:
                    self.refused(f"{answer.status} {code_of(await answer.read())}")
                    return end
                end = "cut"
                async for line in answer.content:
                    if not is_open:
                        is_open, self.open = True, self.open + 1
                    if line.startswith(b"data: [DONE]"):
                        end = "answered" if end == "cut" else end
                    elif b'"error"' in line[:40]:
                        end = "told"
        except (aiohttp.ClientError, TimeoutError) as error:
            self.refused(type(error).__name__)
        finally:
            self.open -= is_open
        return end

    async def get(self, path: str, key: str) -> tuple[int, Any]:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            headers = {"Authorization": f"Bearer {key}"}
            async with self.session.get(self.address + path, headers=headers) as answer:
                return answer.status, orjson.loads(await answer.read())
        return 0, None


def code_of(raw: bytes) -> str:
    """The code of our errors; "balancer" for a page of the balancer's."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(orjson.loads(raw)["error"]["code"])
    return "balancer"


def longest_pause(moments: list[float], begun: float, ended: float) -> float:
    """Seconds without any of the moments, between `begun` and `ended`."""
    at = sorted([begun, *(moment for moment in moments if begun < moment < ended), ended])
    return max(after - before for before, after in itertools.pairwise(at))
