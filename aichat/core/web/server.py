"""The gunicorn worker: uvicorn's, with limits per connection, without protocol upgrades, and with fewer system calls.

uvicorn 0.54 bounds neither the bytes nor the time of a request's head and body, and drops the body of a request that
asks for an unknown protocol (encode/uvicorn#2722). Every connection here has one timer and two counters instead.
"""

import asyncio
import logging
import socket
import sys
from http import HTTPStatus
from typing import Any, cast

import httptools
import orjson
import uvicorn
from django.conf import settings
from gunicorn.arbiter import Arbiter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

from aichat.core.background import lifecycle
from aichat.core.errors import ApiError
from aichat.core.telemetry import tracing

logger = logging.getLogger(__name__)

MOST_GATHERED = 16 * 1024  # bytes gathered before the transport is asked whether it can take more
SETTLING_SECONDS = 10.0  # of the time for stopping, kept to settle and end the streams that still run
MAX_HEADERS = 100  # header lines of a request
LEAST_BYTES_PER_SECOND = (
    4096  # the pace of a body; the seconds by which a slower body is late are taken off BODY_TIMEOUT
)
LINGER_SECONDS = 2.0  # how long the rest of a body is thrown away, so that the client reads the early answer
LINGER_BYTES = 32 * 2**20  # how much of the rest is thrown away at most
TICK_SECONDS = 1.0  # least time between two looks at a connection's deadline
# Hop-by-hop headers of an upgrade; RFC 9110, section 7.8, lets a server ignore the wish.
UPGRADE_HEADERS = {b"connection", b"upgrade", b"http2-settings"}
CODES = {405: "method_not_allowed", 408: "request_timeout", 431: "headers_too_large"}


class GatheringTransport:
    """A transport that joins what is written in one turn of the event loop into one system call.

    uvicorn writes the head of an answer, its body and a stream's last line one by one. A write is a system call and
    wakes the reader: 5 % of the CPU of an answer from the cache.
    """

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


class LingeringTransport(GatheringTransport):
    """A gathering transport that closes only its sending half while a request's body is still coming in.

    Closing both halves with unread bytes makes the kernel send a reset, and the client loses the answer it did not read.
    """

    is_reading_body = False  # whether the client is in the middle of a body
    is_lingering = False
    thrown_away = 0  # bytes since it lingers

    def close(self) -> None:
        if self.is_lingering:
            return
        if not self.is_reading_body:
            super().close()
            return
        self.flush()
        self.is_lingering = True
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def is_closing(self) -> bool:
        return self.is_lingering or self.transport.is_closing()


class Refused(Exception):
    """A request the protocol refuses while reading its head. Carries the HTTP status and a sentence."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 of one connection.

    `deadline` is the loop time (seconds) at which the connection is closed, None while the client owes nothing.
    `unparsed` counts the bytes since the last piece of a body: a head, trailers, chunk extensions, empty lines.
    """

    transport: LingeringTransport  # type: ignore[assignment]
    refusal: Refused | None = None
    is_in_head = is_in_body = is_upgrading = False
    unparsed = header_count = 0
    deadline: float | None = None
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, LingeringTransport(cast(asyncio.Transport, transport))))
        self.deadline = self.loop.time() + settings.HEADER_TIMEOUT
        self.look()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        super().connection_lost(exc)

    # --- Time ---------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Close the connection when its deadline is past, else look again then. A connection has one timer at a time."""
        now = self.loop.time()
        if self.is_in_body and self.flow.read_paused:
            self.deadline = now + settings.BODY_TIMEOUT  # the application reads slowly, the client is not late
        if self.deadline is not None and now >= self.deadline:
            self.give_up()
            return
        wait = settings.HEADER_TIMEOUT if self.deadline is None else self.deadline - now
        self.timer = self.loop.call_later(max(TICK_SECONDS, wait), self.look)

    def hasten(self, deadline: float) -> None:
        """Set the deadline. A timer that runs finds a later deadline by itself; for an earlier one it is set anew."""
        self.deadline = deadline
        if self.timer is not None and self.timer.when() > deadline + TICK_SECONDS:
            self.timer.cancel()
            self.timer = self.loop.call_later(max(TICK_SECONDS, deadline - self.loop.time()), self.look)

    def give_up(self) -> None:
        """Answer 408 to a half-sent request, and close the connection; a request whose body was coming is cancelled."""
        if self.is_in_head:
            self.refuse(Refused(HTTPStatus.REQUEST_TIMEOUT, "The request's head did not arrive in time."))
        elif self.is_in_body:
            self.refuse(Refused(HTTPStatus.REQUEST_TIMEOUT, "The request's body did not arrive in time."))
        else:
            self.transport.transport.close()

    # --- Bytes --------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.transport.is_lingering:
            self.transport.thrown_away += len(data)
            if self.transport.thrown_away > LINGER_BYTES:
                self.transport.transport.close()
            return
        self._unset_keepalive_if_required()
        if not (self.is_in_head or self.is_in_body or self.deadline is not None):
            self.hasten(self.loop.time() + settings.HEADER_TIMEOUT)  # empty lines before a request are no request yet
        self.unparsed += len(data)
        self.feed(data)
        if self.unparsed > settings.MAX_HEADER_BYTES and self.refusal is None:
            self.refuse(head_too_large())

    def feed(self, data: bytes) -> None:
        """Parse what arrived. A wish for another protocol is taken out of the head, and parsing goes on behind it."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            offset = upgrade.args[0]
            if self.parser.get_method() == b"CONNECT":
                self.refuse(Refused(HTTPStatus.METHOD_NOT_ALLOWED, "CONNECT is not allowed here."))
                return
            head = self.head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.unparsed = 0
            self.feed(head)
            if self.refusal is None:
                self.feed(data[offset:])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, Refused):
                self.refuse(cause)
            else:
                self.refuse(Refused(HTTPStatus.BAD_REQUEST, "This is not valid HTTP/1.1."))

    def head_without_upgrade(self) -> bytes:
        """The head that was just parsed, without its wish for another protocol."""
        self.is_upgrading = False
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % pair for pair in self.headers if pair[0] not in UPGRADE_HEADERS]
        wishes = b",".join(value for name, value in self.headers if name == b"connection").lower().split(b",")
        if b"close" in map(bytes.strip, wishes):
            lines.append(b"connection: close")
        return b"\r\n".join([*lines, b"", b""])

    def refuse(self, refusal: Refused) -> None:
        """Answer in the error shape and close; the rest of what the client sends is thrown away for LINGER_SECONDS."""
        self.refusal = refusal
        self.deadline = None
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.is_in_body or self.cycle.response_started or self.pipeline:
                self.transport.transport.close()  # an answer is on its way: a second one would be taken for its rest
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        logger.info("refused %d: %s", refusal.status, refusal.message)
        code = CODES.get(refusal.status, "invalid_request")
        problem = ApiError(refusal.message, status=refusal.status, code=code)
        trace = tracing.begin("", "")
        body = orjson.dumps(problem.body(trace.request_id))
        head = [
            b"HTTP/1.1 %d %s" % (refusal.status, refusal.status.phrase.encode()),
            *(b"%s: %s" % pair for pair in self.server_state.default_headers),
            *(b"%s: %s" % pair for pair in tracing.encoded_headers(trace)),
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
        ]
        self.transport.is_reading_body = True
        self.transport.write(b"\r\n".join([*head, b"", body]))
        self.transport.close()

    # --- Callbacks of the parser --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.is_in_head, self.header_count = True, 0
        if self.deadline is None:
            self.hasten(self.loop.time() + settings.HEADER_TIMEOUT)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > settings.MAX_HEADER_BYTES:
            raise head_too_large()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_in_head:
            return  # a trailer: merged into the headers, it could pretend to be one that was checked already
        self.header_count += 1
        if self.header_count > MAX_HEADERS:
            raise head_too_large()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.is_in_head = False
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > settings.MAX_HEADER_BYTES:
            raise head_too_large()
        if self.parser.should_upgrade():
            self.is_upgrading = True  # `feed` parses the head again, without the wish
            return
        self.unparsed = 0
        self.is_in_body = self.transport.is_reading_body = True
        self.hasten(self.loop.time() + settings.BODY_TIMEOUT)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.unparsed = 0
        now = self.loop.time()
        earned = (self.deadline or now) + len(body) / LEAST_BYTES_PER_SECOND
        self.deadline = min(earned, now + settings.BODY_TIMEOUT)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.is_upgrading:
            return
        self.unparsed = 0
        self.is_in_body = self.transport.is_reading_body = False
        self.deadline = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Send the whole answer now. Close the connection when the answer is over before the body.

        Reading on would only serve to throw the rest of the body away.
        """
        self.transport.flush()
        super().on_response_complete()
        if self.is_in_body and self.cycle.response_complete:
            self.transport.close()


def head_too_large() -> Refused:
    return Refused(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"A request's head has at most {MAX_HEADERS} headers and {settings.MAX_HEADER_BYTES} bytes (MAX_HEADER_BYTES).",
    )


class InterruptingServer(uvicorn.Server):
    """A server that interrupts long work `SETTLING_SECONDS` before its `grace` for stopping is over."""

    def __init__(self, config: uvicorn.Config, grace: float) -> None:
        super().__init__(config)
        self.grace = grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        patience = max(self.grace - SETTLING_SECONDS, self.grace / 2)
        timer = asyncio.get_running_loop().call_later(patience, lifecycle.interrupt)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


class ServerWorker(UvicornWorker):  # type: ignore[misc]  # uvicorn_worker comes without types
    """gunicorn's worker class. WebSockets are off: nothing here speaks them."""

    CONFIG_KWARGS = {"loop": "uvloop", "http": Protocol, "ws": "none"}

    async def _serve(self) -> None:
        """Serve as uvicorn_worker 0.4 does, by a server that ends its streams before gunicorn kills the process."""
        self.config.app = self.wsgi
        server = InterruptingServer(self.config, self.cfg.graceful_timeout)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
