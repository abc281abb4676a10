"""The worker that gunicorn runs: uvicorn's, which joins the writes of one turn of the event loop into one system call.

uvicorn passes the head of a response, its body and a stream's last line to the transport one by one, and the transport
sends each at once. Each write is a system call that wakes the reader: 5 % of the CPU of an answer from the cache.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

MOST_GATHERED = 16 * 1024  # bytes; beyond, the transport is to say whether it can take more


class GatheringTransport:
    """Wraps a transport and writes at the end of the event loop's turn; passes everything else on."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.gathered: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> None:
        if not self.gathered:
            self.loop.call_soon(self.flush)
        self.gathered.append(data)
        self.size += len(data)
        if self.size > MOST_GATHERED:
            self.flush()

    def flush(self) -> None:
        if self.gathered:
            data, self.gathered, self.size = b"".join(self.gathered), [], 0
            self.transport.write(data)

    def close(self) -> None:
        self.flush()
        self.transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class Protocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, GatheringTransport(cast(asyncio.Transport, transport))))


class ServerWorker(UvicornWorker):  # type: ignore[misc]  # it comes without types
    CONFIG_KWARGS = {"loop": "uvloop", "http": Protocol}
