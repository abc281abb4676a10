"""Connections to providers: kept after a stream, replaced when stale, and a cut after the end is no fault."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aichat.providers import http
from aichat.providers.base import ChatRequest, Endpoint, Part
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.registry import chat_adapter
from tests.upstream_answers import ANSWER, OPENAI_USAGE, TEXT, openai_chunk

EVENTS = [openai_chunk({"content": piece}, None) for piece in TEXT] + [openai_chunk({}, "stop")]
USAGE = {**openai_chunk({}, None), "choices": [], "usage": OPENAI_USAGE}


class Server:
    """An upstream that keeps connections. `fate` says for each request what becomes of it."""

    def __init__(self) -> None:
        self.connections = self.requests = 0
        self.fates: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Endpoint]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        yield Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "a-key")
        await http.close()
        server.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.requests += 1
                fate = self.fates.pop(0) if self.fates else "answer"
                if fate == "drop":
                    break
                await self.answer(writer, ends=fate != "cut")
                if fate == "cut" or b"connection: close" in head:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def answer(self, writer: asyncio.StreamWriter, *, ends: bool) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        body = [*EVENTS, USAGE]
        for raw in [f"data: {json.dumps(item)}\n\n".encode() for item in body] + [b"data: [DONE]\n\n"] * ends:
            writer.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
            await writer.drain()
        if ends:  # behind `[DONE]`, in a packet of its own
            await asyncio.sleep(0.001)
            writer.write(b"0\r\n\r\n")
            await writer.drain()


@pytest.fixture
def server() -> Server:
    return Server()


async def chat(endpoint: Endpoint) -> tuple[str, ChatRequest]:
    request = ChatRequest("m", [{"role": "user", "content": "Hi"}], 10, stream=True)
    text = ""

    async def sink(part: Part) -> None:
        nonlocal text
        text += getattr(part, "text", "")

    await chat_adapter("openai_compatible").chat(request, endpoint, sink)
    return text, request


async def drained() -> None:
    """Wait until what follows the streams' ends was read, in the background."""
    await asyncio.gather(*(task for task in asyncio.all_tasks() if "_drain" in str(task.get_coro())))


async def test_streams_after_one_another_share_a_connection(server: Server) -> None:
    async with server.running() as endpoint:
        for _ in range(10):
            assert (await chat(endpoint))[0] == ANSWER
            await drained()
    assert (server.connections, server.requests) == (1, 10)


async def test_a_stale_connection_is_replaced_once(server: Server) -> None:
    async with server.running() as endpoint:
        await chat(endpoint)
        await drained()
        server.fates = ["drop"]
        assert (await chat(endpoint))[0] == ANSWER
        assert (server.connections, server.requests) == (2, 3)
        await chat(endpoint)
        await drained()
        server.fates = ["drop", "drop"]
        with pytest.raises(ProviderError) as caught:
            await chat(endpoint)
    assert caught.value.outcome == AttemptOutcome.BROKEN_STREAM


async def test_a_fresh_connection_that_drops_is_not_tried_again(server: Server) -> None:
    server.fates = ["drop"]
    async with server.running() as endpoint:
        with pytest.raises(ProviderError):
            await chat(endpoint)
    assert server.requests == 1


async def test_a_connection_cut_after_the_end_ends_nothing(server: Server) -> None:
    server.fates = ["cut"]
    async with server.running() as endpoint:
        text, request = await chat(endpoint)
    assert text == ANSWER
    reading = request.report.reading()
    assert (reading.input, reading.output) == (11, 7)


async def test_connections_that_are_not_used_are_closed_at_shutdown(server: Server) -> None:
    async with server.running() as endpoint:
        await asyncio.gather(*(chat(endpoint) for _ in range(5)))
    assert server.connections == 5
    sessions: Any = http._sessions
    assert not sessions.get(asyncio.get_running_loop())
