"""A fake Gemini, OpenAI and Anthropic on one raw socket server: it answers, or fails in every way we know a provider to fail.

Raw, because the faults are below HTTP: a connection that drops in the middle of a body, a stream that just ends, headers
after which nothing comes. Every request is recorded.
"""

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.upstream_answers import (
    ANSWER,
    OPENAI_USAGE,
    TEXT,
    anthropic_answer,
    anthropic_events,
    gemini_answer,
    message_item,
    openai_chunk,
    response_answer,
    response_events,
)

HANG = 20.0  # seconds; longer than any limit a test sets


@dataclass(frozen=True)
class Recorded:
    """A request as it was on the wire."""

    provider: str
    method: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def is_stream(self) -> bool:
        return "streamGenerateContent" in self.path or (isinstance(self.body, dict) and bool(self.body.get("stream")))


@dataclass(frozen=True)
class Reply:
    """What to do with a request; `kind` is a method of `Connection`."""

    kind: str = "answer"
    status: int = 503
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    payload: Any = None


class Upstream:
    """The server. `plan` scripts the next replies of a provider, `always` all further ones."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.requests: list[Recorded] = []
        self.planned: dict[str, deque[Reply]] = {}
        self.default: dict[str, Reply] = {}
        self.choose: Callable[[Recorded], Reply] | None = None
        self.address = ""
        self.closed_by_client = 0

    def reset(self) -> None:
        self.requests, self.planned, self.default, self.choose = [], {}, {}, None
        self.closed_by_client = 0

    def plan(self, provider: str, *replies: Reply) -> None:
        self.planned.setdefault(provider, deque()).extend(replies)

    def always(self, provider: str, reply: Reply) -> None:
        self.default[provider] = reply

    def asked(self, provider: str) -> list[Recorded]:
        return [request for request in self.requests if request.provider == provider]

    def reply_to(self, request: Recorded) -> Reply:
        if self.choose:
            return self.choose(request)
        planned = self.planned.get(request.provider)
        return planned.popleft() if planned else self.default.get(request.provider, Reply())

    @contextmanager
    def running(self) -> Iterator["Upstream"]:
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1000))
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        thread.start()
        yield self
        self.loop.call_soon_threadsafe(self.loop.stop)
        thread.join(timeout=5)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            request = await read_request(reader)
            self.requests.append(request)
            reply = self.reply_to(request)
            connection = Connection(self, request, reply, reader, writer)
            await getattr(connection, reply.kind)()
        with suppress(ConnectionError):
            writer.close()


@contextmanager
def unconnected_address() -> Iterator[str]:
    """An address that takes no connection and refuses none: its queue of one is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for item in waiting:
            item.setblocking(False)
            item.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"
        for item in waiting:
            item.close()


async def read_request(reader: asyncio.StreamReader) -> Recorded:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    provider = "gemini" if "generateContent" in path or "streamGenerateContent" in path else "openai"
    provider = "anthropic" if path.endswith("/v1/messages") else provider
    is_json = raw and "multipart" not in headers.get("content-type", "")
    return Recorded(provider, method, path, headers, json.loads(raw) if is_json else raw or None)


class Connection:
    """One request's answer. Each public method is a way to answer."""

    def __init__(
        self,
        upstream: Upstream,
        request: Recorded,
        reply: Reply,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.upstream, self.request, self.reply = upstream, request, reply
        self.reader, self.writer = reader, writer
        self.gemini, self.anthropic = request.provider == "gemini", request.provider == "anthropic"
        self.responses = request.path.endswith("/responses")

    # --- Answers ------------------------------------------------------------------------------------------------------

    async def answer(self) -> None:
        await self.send(self.whole(ANSWER), self.events(TEXT))

    async def recorded(self) -> None:
        """Exactly the payload given: an object, or a list of objects for a stream."""
        await self.send(self.reply.payload, self.reply.payload)

    async def unended(self) -> None:
        """The payload's events, and then nothing until the client is gone."""
        self.head()
        for event in self.reply.payload:
            await self.event(event)
        await self.wait_for_goodbye()

    async def sound(self) -> None:
        """The payload's bytes, as audio."""
        self.head(200, length=len(self.reply.payload), kind="audio/mpeg")
        self.writer.write(self.reply.payload)
        await self.writer.drain()

    async def sound_in_pieces(self) -> None:
        """The payload's pieces as audio, a second after one another; `code` "cut": without an end."""
        self.head(200, kind="audio/mpeg")
        for number, piece in enumerate(self.reply.payload):
            await asyncio.sleep(number and 1)
            await self.chunk(piece)
        await asyncio.sleep(0.2)  # what was sent must arrive before the end
        if self.reply.code != "cut":
            await self.chunk(b"")

    async def recorded_error(self) -> None:
        await self.json(self.reply.payload, self.reply.status)

    async def raw(self) -> None:
        """Exactly the pieces of bytes given, whatever was asked for; `code` "cut": the connection ends without an end."""
        self.head(self.reply.status)
        for piece in self.reply.payload:
            await self.chunk(piece)
            await asyncio.sleep(0)
        if self.reply.code != "cut":
            await self.chunk(b"")

    async def thinks_aloud(self) -> None:
        """A stream that says for two seconds, by comments, that it is coming."""
        self.head()
        for _ in range(10):
            await self.chunk(b": processing\n\n")
            await asyncio.sleep(0.2)
        for event in self.events(TEXT):
            await self.event(event)
        await self.chunk(b"")

    async def late(self) -> None:
        """A good answer that takes its second."""
        await asyncio.sleep(1)
        await self.answer()

    async def late_payload(self) -> None:
        """The payload after a second: bytes as audio, else JSON."""
        await asyncio.sleep(1)
        await (self.sound() if isinstance(self.reply.payload, bytes) else self.recorded())

    async def unreported(self) -> None:
        """A good answer that says nothing of its usage."""
        whole, events = self.whole(ANSWER), self.events(TEXT)
        for body in [whole, *events]:
            body.pop("usage", None)
            body.pop("usageMetadata", None)
        await self.send(whole, events)

    async def empty(self) -> None:
        await self.send(self.whole(""), self.events([]))

    async def blank(self) -> None:
        await self.send({}, [])

    async def thinking_only(self) -> None:
        await self.send(self.whole("", "length"), self.events([], "length"))

    async def blocked(self) -> None:
        if self.gemini:
            refusal = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 11}}
            await self.send(refusal, [refusal])
        else:
            await self.send(self.whole("", "content_filter"), self.events([], "content_filter"))

    # --- Faults -------------------------------------------------------------------------------------------------------

    async def refuse(self) -> None:
        code, status = self.reply.code, self.reply.status
        error: dict[str, Any] = {"code": code or None, "message": f"upstream says {status}", "type": "error"}
        if self.gemini:
            error = {"code": status, "message": f"upstream says {status}", "status": code or "ERROR"}
        if self.anthropic:
            error = {"type": code or "api_error", "message": f"upstream says {status}"}
        await self.json({"error": error}, status)

    async def hang(self) -> None:
        await self.wait_for_goodbye()

    async def hang_after_headers(self) -> None:
        self.head(length=1000)
        await self.writer.drain()
        await self.wait_for_goodbye()

    async def drop(self) -> None:
        self.writer.transport.abort()

    async def garbage(self) -> None:
        self.head(length=16)
        self.writer.write(b"<html>oops</html"[:16] if not self.request.is_stream else b"data: {not json\n")
        await self.writer.drain()

    async def wrong_shape(self) -> None:
        wrong: dict[str, Any] = {"candidates": [7]} if self.gemini else {"choices": [7]}
        await self.send(wrong, [wrong])

    async def stall(self) -> None:
        await self.begin_and(self.wait_for_goodbye)

    async def drop_midway(self) -> None:
        async def abort() -> None:
            await asyncio.sleep(0.05)  # what was sent must arrive before the reset overtakes it
            self.writer.transport.abort()

        await self.begin_and(abort)

    async def truncate(self) -> None:
        """The protocol is kept, only the end is missing: no finish reason was sent."""
        await self.send(self.whole(ANSWER, None), self.events(TEXT[:1], None))

    async def garbage_midway(self) -> None:
        async def garbage() -> None:
            await self.chunk(b"data: {not json\n\n")
            await self.chunk(b"")

        await self.begin_and(garbage)

    async def error_midway(self) -> None:
        async def fail() -> None:
            error: dict[str, Any] = {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}
            if self.anthropic:
                error = {"type": "overloaded_error", "message": "Overloaded"}
            await self.event({"type": "error", "error": error})
            await self.chunk(b"")

        await self.begin_and(fail)

    async def endless(self) -> None:
        """Words without end, each well within the idle limit."""
        self.head()
        with suppress(ConnectionError):
            for _ in range(100):
                await self.event(self.events(TEXT[:1], None)[0])
                await asyncio.sleep(0.1)

    async def flood(self) -> None:
        """More than all buffers between here and a client hold, as fast as it is read."""
        self.head()
        body = self.events(["flood " * 3000], None)[0]
        try:
            for _ in range(4000):
                await self.event(body)
        except ConnectionError:
            self.upstream.closed_by_client += 1

    # --- How they are sent --------------------------------------------------------------------------------------------

    async def begin_and(self, then: Callable[[], Any]) -> None:
        """The first piece of a stream, or half of a JSON body; then the fault."""
        if self.request.is_stream:
            self.head()
            await self.event(self.events(TEXT)[0])
        else:
            raw = json.dumps(self.whole(ANSWER)).encode()
            self.head(length=len(raw))
            self.writer.write(raw[: len(raw) // 2])
            await self.writer.drain()
        await then()

    async def wait_for_goodbye(self) -> None:
        async with asyncio.timeout(HANG):
            if not await self.reader.read(1):
                self.upstream.closed_by_client += 1

    async def send(self, whole: dict[str, Any], events: list[dict[str, Any]]) -> None:
        if not self.request.is_stream:
            await self.json(whole, 200)
            return
        self.head()
        for event in events:
            await self.event(event)
        if not (self.gemini or self.anthropic or self.responses) and events:
            await self.chunk(b"data: [DONE]\n\n")
        await self.chunk(b"")

    async def json(self, body: dict[str, Any], status: int) -> None:
        raw = json.dumps(body).encode()
        self.head(status, length=len(raw), kind="application/json")
        self.writer.write(raw)
        await self.writer.drain()

    def head(self, status: int = 200, *, length: int | None = None, kind: str = "text/event-stream") -> None:
        size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.reply.headers.items())
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{size}\r\n{extra}connection: close\r\n\r\n"
        self.writer.write(head.encode())

    async def event(self, body: dict[str, Any]) -> None:
        name = f"event: {body['type']}\n" if self.anthropic or (self.responses and "type" in body) else ""
        await self.chunk(f"{name}data: {json.dumps(body)}\n\n".encode())

    async def chunk(self, raw: bytes) -> None:
        self.writer.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
        await self.writer.drain()

    # --- The two formats ----------------------------------------------------------------------------------------------

    def whole(self, text: str, reason: str | None = "stop") -> dict[str, Any]:
        if self.gemini:
            return gemini_answer(text, reason)
        if self.anthropic:
            return anthropic_answer(text, reason)
        if self.responses:
            return response_answer([message_item(text)] if text else [], reason)
        message = {"role": "assistant", "content": text or None}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": OPENAI_USAGE,
        }

    def events(self, pieces: list[str], reason: str | None = "stop") -> list[dict[str, Any]]:
        if self.gemini:
            found = [gemini_answer(piece, None) for piece in pieces]
            return [*found, gemini_answer("", reason)] if reason else found
        if self.anthropic:
            return anthropic_events(pieces, reason)
        if self.responses:
            return response_events([message_item(*pieces)] if pieces else [], reason)
        deltas: list[dict[str, Any]] = [{"content": piece} for piece in pieces]
        deltas = deltas or [{"role": "assistant", "content": ""}]
        found = [openai_chunk(delta, None) for delta in deltas]
        if reason:
            found.append(openai_chunk({}, reason))
            found.append({**openai_chunk({}, None), "choices": [], "usage": OPENAI_USAGE})
        return found
