"""A provider fast enough not to count: OpenAI's chat completions from bytes made beforehand, on a raw socket protocol.

    python -m tests.benchmarks.upstream PORT

The model says how it answers: `bench-DELAY-PACE` waits DELAY milliseconds before the first byte, and PACE milliseconds
between the chunks of a stream. With pace 0 a stream's chunks come in one piece, as after a pause of the network; else
each comes by itself, as from a model that is writing.
"""

import asyncio
import re
import resource
import sys
from typing import Any, cast

import orjson
import uvloop

MARK = b"zebra"  # in every piece of an answer and nowhere else, so that a client finds the first token
WORDS = [f"{MARK.decode()}{number:02d} " for number in range(20)]
MODEL = re.compile(rb'"model":\s*"(?:[\w.]+/)?bench-(\d+)-(\d+)"')
STREAMS = re.compile(rb'"stream":\s*true')
LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
USAGE = {"prompt_tokens": 20, "completion_tokens": 20, "total_tokens": 40}


def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
    body = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1, "model": "bench"}
    return framed(b"data: " + orjson.dumps({**body, "choices": choices, **more}) + b"\n\n")


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole() -> bytes:
    message = {"role": "assistant", "content": "".join(WORDS)}
    body = orjson.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1,
            "model": "bench",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": USAGE,
        }
    )
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body


WHOLE = whole()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNKS = [
    chunk([{"index": 0, "delta": {"role": "assistant", "content": WORDS[0]}, "finish_reason": None}]),
    *(chunk([{"index": 0, "delta": {"content": word}, "finish_reason": None}]) for word in WORDS[1:]),
]
LAST = chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
END = LAST + chunk([], usage=USAGE) + framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"
BURST = HEAD + b"".join(CHUNKS) + END


class Provider(asyncio.Protocol):
    """One connection, kept alive; a request at a time."""

    asked = 0
    transport: asyncio.Transport

    def __init__(self) -> None:
        self.received = b""
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = LENGTH.search(self.received, 0, end)
        if len(self.received) < end + 4 + (int(length[1]) if length else 0):
            return
        request, self.received = self.received, b""
        if request.startswith(b"GET"):
            self.count()
        else:
            self.answer(request)

    def count(self) -> None:
        """How many chats were asked of this process: what a cache answered did not come here."""
        body = str(Provider.asked).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    def answer(self, request: bytes) -> None:
        Provider.asked += 1
        model = MODEL.search(request)
        delay, pace = (int(model[1]) / 1000, int(model[2]) / 1000) if model else (0.0, 0.0)
        if not STREAMS.search(request):
            self.later(delay, WHOLE)
        elif not pace:
            self.later(delay, BURST)
        elif delay:
            self.loop.call_later(delay, self.write_chunk, 0, pace)
        else:
            self.write_chunk(0, pace)

    def later(self, delay: float, data: bytes) -> None:
        if delay:
            self.loop.call_later(delay, self.transport.write, data)
        else:
            self.transport.write(data)

    def write_chunk(self, number: int, pace: float) -> None:
        if self.transport.is_closing():
            return
        self.transport.write((HEAD if number == 0 else b"") + CHUNKS[number])
        if number + 1 < len(CHUNKS):
            self.loop.call_later(pace, self.write_chunk, number + 1, pace)
        else:
            self.loop.call_later(pace, self.transport.write, END)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    uvloop.run(serve(int(sys.argv[1])))
