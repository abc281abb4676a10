import asyncio
import socket
import threading
import time
from typing import Any

import httpx
import pytest
import uvicorn

from aichat.core.web.server import MOST_GATHERED, GatheringTransport, Protocol
from tests.conftest import Actor


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.written.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.written


async def gathering() -> tuple[Transport, Any]:
    transport = Transport()
    return transport, GatheringTransport(transport)  # type: ignore[arg-type]


async def test_what_is_written_in_one_turn_goes_out_together_and_in_order() -> None:
    transport, gathered = await gathering()
    for turn in (b"head ", b"more "):
        gathered.write(turn)
        gathered.write(b"body")
        await asyncio.sleep(0)
    assert transport.written == [b"head body", b"more body"]


async def test_nothing_is_lost_by_closing() -> None:
    transport, gathered = await gathering()
    gathered.write(b"last")
    gathered.close()
    assert gathered.is_closing()
    await asyncio.sleep(0)
    assert transport.written == [b"last", b"closed"]


async def test_much_is_not_kept_from_the_transport_which_knows_when_it_is_too_much() -> None:
    transport, gathered = await gathering()
    gathered.write(b"x" * MOST_GATHERED)
    assert not transport.written
    gathered.write(b"y")
    assert len(transport.written[0]) == MOST_GATHERED + 1
    await asyncio.sleep(0)
    assert len(transport.written) == 1


# --- A real connection ------------------------------------------------------------------------------------------------


def talk(address: str, *pieces: bytes, wait: float = 5.0, then_close: bool = False) -> bytes:
    """Everything the server says on one connection, until it closes the connection or is silent for `wait` seconds."""
    host, _, port = address.rpartition("//")[2].partition(":")
    heard = b""
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if then_close:
            connection.shutdown(socket.SHUT_WR)
        try:
            while data := connection.recv(65536):
                heard += data
        except TimeoutError:
            pass
        return heard


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


HIDDEN = b"DELETE /api/v1/hidden HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("protocol", ["foo", "h2c", "websocket", "TLS/1.0, h2c"])
def test_a_request_that_wishes_another_protocol_is_answered_once_and_its_body_is_no_request(
    server: str, protocol: str
) -> None:
    wish = ("Connection: Upgrade, close", f"Upgrade: {protocol}", "Content-Type: application/json")
    heard = talk(server, post("/api/v1/auth/login", HIDDEN, *wish))
    assert heard.count(b"HTTP/1.1 ") == 1
    assert heard.startswith(b"HTTP/1.1 400 ")
    assert b"The body is not valid JSON" in heard


def test_the_body_of_a_request_with_an_upgrade_header_reaches_the_view(server: str, alice: Actor) -> None:
    body = b'{"name": "Alice of h2c"}'
    request = post(
        "/api/v1/me", body, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk",
        "Content-Type: application/json", f"Authorization: Bearer {alice.token}",
    ).replace(b"POST", b"PATCH", 1)  # fmt: skip
    heard = talk(server, request[:-10], request[-10:], b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert heard.count(b"HTTP/1.1 200 ") == 2, heard
    assert b"Alice of h2c" in heard


def test_uvicorn_still_drops_the_body_of_an_upgrade_so_ours_is_needed() -> None:
    """When this fails, uvicorn was mended: `Protocol.feed` can lose its branch for HttpParserUpgrade."""
    asked: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        asked.append(f"{scope['method']} {message.get('body')!r}")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def main() -> None:
        config = uvicorn.Config(application, lifespan="off", log_config=None, http="httptools", ws="none")
        running = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        task = asyncio.create_task(running.serve(sockets=[listener]))
        request = post("/", HIDDEN, "Connection: Upgrade, close", "Upgrade: foo")
        await asyncio.to_thread(talk, f"http://127.0.0.1:{listener.getsockname()[1]}", request, wait=0.5)
        running.should_exit = True
        await task

    asyncio.run(main())
    assert asked != [f"POST {HIDDEN!r}"], "uvicorn reads the body now"


def test_the_end_of_an_answer_is_sent_at_once_whatever_the_event_loop_has_to_do_next() -> None:
    heard, was_heard = threading.Event(), []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})
        was_heard.append(heard.wait(5))

    def ask(port: int) -> None:
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=10).text == "done"
        heard.set()

    async def main() -> None:
        how = {"http": Protocol, "ws": "none", "loop": "asyncio", "lifespan": "off", "log_config": None}
        running = uvicorn.Server(uvicorn.Config(application, **how))  # type: ignore[arg-type]
        listener = socket.create_server(("127.0.0.1", 0))
        task = asyncio.create_task(running.serve(sockets=[listener]))
        await asyncio.to_thread(ask, listener.getsockname()[1])
        running.should_exit = True
        await task

    asyncio.run(main())
    assert was_heard == [True]


def test_a_tunnel_is_refused(server: str) -> None:
    heard = talk(server, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n" + HIDDEN)
    assert heard.count(b"HTTP/1.1 ") == 1
    assert heard.startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize(
    "head",
    [
        b"A: " + b"x" * 40_000,
        b"\r\n".join(b"A%d: x" % number for number in range(200)),
        b"B: \r\n" * 20 + b"A: " + b"x" * 300_000_000,
    ],
    ids=["one long header", "many headers", "300 MB"],
)
def test_a_head_beyond_the_limit_is_refused_before_it_is_complete(server: str, head: bytes) -> None:
    try:
        heard = talk(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", head, b"\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):  # the server stopped reading and left
        heard = b""
    assert heard == b"" or b"431" in heard.partition(b"\r\n")[0]
    assert b"headers_too_large" in heard or not heard
    assert talk(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").startswith(
        b"HTTP/1.1 200"
    )


def test_a_long_address_is_refused(server: str) -> None:
    heard = talk(server, b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert heard.startswith(b"HTTP/1.1 431 ")


def test_a_half_sent_head_and_a_silent_connection_are_closed_in_time(server: str, settings: Any) -> None:
    settings.HEADER_TIMEOUT = 0.3
    assert talk(server, b"GET / HTTP/1.1\r\nHost: lo", wait=10).startswith(b"HTTP/1.1 408 ")
    assert talk(server, wait=10) == b""
    assert talk(server, b"\r\n", wait=10) == b""


@pytest.mark.parametrize("sent", [1000, 900_000], ids=["its beginning", "nearly all at once"])
def test_a_half_sent_body_is_refused_in_time(server: str, settings: Any, alice: Actor, sent: int) -> None:
    settings.BODY_TIMEOUT = 0.3
    begun = post("/v1/chat/completions", b"{" + b" " * 900_000, f"Authorization: Bearer {alice.key}")[:sent]
    heard = talk(server, begun, wait=10)
    assert heard.startswith(b"HTTP/1.1 408 ")


def test_a_slow_body_is_read_while_it_keeps_its_pace(server: str, settings: Any, alice: Actor) -> None:
    settings.BODY_TIMEOUT = 1
    request = post(
        "/v1/chat/completions",
        b"{" + b" " * 20_000,
        "Content-Type: application/json",
        f"Authorization: Bearer {alice.key}",
        "Connection: close",
    )
    host, _, port = server.rpartition("//")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for start in range(0, len(request), 2000):
            connection.sendall(request[start : start + 2000])
            time.sleep(0.2)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_trailer_is_no_header(server: str, alice: Actor) -> None:
    request = (
        b"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"0\r\nAuthorization: Bearer " + alice.token.encode() + b"\r\n\r\n"
    )
    assert talk(server, request).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat", "/api/v1/images"])
def test_a_wrong_key_is_refused_before_its_ten_megabytes_are_read(server: str, path: str) -> None:
    request = post(path, b" " * 10_000_000, "Authorization: Bearer sk-wrong", "Content-Type: application/json")
    heard = talk(server, request[: request.index(b"\r\n\r\n") + 4])  # the body never comes
    assert heard.startswith(b"HTTP/1.1 401 ")
    assert talk(server, request).startswith(b"HTTP/1.1 401 ")  # nor is the answer lost on who sends it all the same


def test_a_stranger_can_send_a_login_of_a_megabyte_at_most(server: str) -> None:
    request = post("/api/v1/auth/login", b" " * 1_100_000, "Content-Type: application/json")
    assert talk(server, request[: request.index(b"\r\n\r\n") + 4]).startswith(b"HTTP/1.1 413 ")
