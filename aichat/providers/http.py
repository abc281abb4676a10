"""HTTP to providers: shared aiohttp sessions, one pair per event loop, with errors in our vocabulary.

Time limits other than connecting are not set here: `aichat/generation/deadlines.py` bounds what a caller waits for.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
import orjson
from django.utils import timezone

from aichat.core.background import lifecycle
from aichat.core.outbound.public_addresses import public_socket
from aichat.providers.base import Delta, Endpoint, PartSink
from aichat.providers.errors import AttemptOutcome, ProviderError, from_body

logger = logging.getLogger(__name__)
T = TypeVar("T")
V = TypeVar("V")

CONNECTIONS = 10_000  # at once from a process; a stream has one of its own
LARGEST_ERROR = 64 * 1024
LARGEST_ANSWER = 32 * 2**20  # bytes of a JSON body, or of one event of a stream
_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, aiohttp.ClientSession]] = WeakKeyDictionary()


def session(*, public_only: bool) -> aiohttp.ClientSession:
    """A session of this event loop; no redirects, cookies or proxies of the environment are followed.

    Those that may reach private addresses have connections of their own, which the others never take over.
    """
    sessions = _sessions.setdefault(asyncio.get_running_loop(), {})
    found = sessions.get(public_only)
    if found is None or found.closed:
        factory = public_socket if public_only else None
        found = sessions[public_only] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=60, socket_factory=factory),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=True,
        )
    return found


@lifecycle.on_shutdown
async def close() -> None:
    """Close this loop's sessions (at shutdown)."""
    for found in _sessions.pop(asyncio.get_running_loop(), {}).values():
        await found.close()


async def post(
    url: str,
    body: dict[str, Any],
    headers: dict[str, str],
    endpoint: Endpoint,
    read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
) -> T:
    """What `read` makes of a successful response, whose body is still to be read; leaving early drops the connection.

    Raises `ProviderError` for every failure to connect, failing status and transport fault while reading.
    """
    try:
        async with await _sent(url, body, headers, endpoint) as response:
            if response.status != 200:
                raise await _failure(response)
            return await read(response)
    except (aiohttp.ConnectionTimeoutError, aiohttp.ServerTimeoutError) as error:
        raise ProviderError(AttemptOutcome.TIMEOUT_CONNECT, "no connection in time") from error
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
        raise ProviderError(AttemptOutcome.UNREACHABLE, f"no connection: {error}") from error
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, OSError) as error:
        raise ProviderError(AttemptOutcome.BROKEN_STREAM, "the connection broke off") from error
    except aiohttp.ClientError as error:
        raise ProviderError(AttemptOutcome.MALFORMED, f"not understood as HTTP: {type(error).__name__}") from error


async def _sent(url: str, body: dict[str, Any], headers: dict[str, str], endpoint: Endpoint) -> aiohttp.ClientResponse:
    payload = orjson.dumps(body)
    try:
        return await session(public_only=endpoint.public_only).post(
            url,
            data=payload,
            headers={"Content-Type": "application/json", **headers, **endpoint.headers},
            timeout=_patience(endpoint.connect_timeout),
            allow_redirects=False,
        )
    except aiohttp.ClientError:
        raise
    except (TypeError, ValueError) as error:
        raise _strange(error) from error


@lru_cache
def _patience(connect: float) -> aiohttp.ClientTimeout:
    """`connect` covers the look-up of the name and the wait for a free connection as well."""
    return aiohttp.ClientTimeout(total=None, connect=connect)


def _strange(error: Exception) -> ProviderError:
    logger.warning("an answer of an unknown shape", exc_info=error)
    return ProviderError(AttemptOutcome.MALFORMED, f"an answer of an unknown shape: {error}")


async def _failure(response: aiohttp.ClientResponse) -> ProviderError:
    try:
        raw = await response.content.readexactly(LARGEST_ERROR)
    except asyncio.IncompleteReadError as error:
        raw = error.partial
    return from_body(response.status, raw, retry_after(response.headers.get("Retry-After", "")))


def retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110, 10.2.3)."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - timezone.now()).total_seconds())
    except (ValueError, TypeError):
        return None


async def read_json(response: aiohttp.ClientResponse, read: Callable[[dict[str, Any]], T]) -> T:
    """What `read` makes of the whole body, a JSON object. One that breaks off is a `ProviderError`, never half an answer."""
    raw = bytearray()
    while chunk := await response.content.readany():
        raw += chunk
        if len(raw) > LARGEST_ANSWER:
            raise ProviderError(AttemptOutcome.MALFORMED, "an answer without end")
    return understood(read, as_object(raw))


def understood(read: Callable[[V], T], value: V) -> T:
    """What `read` makes of it; what it can't make sense of is the provider's fault."""
    try:
        return read(value)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _strange(error) from error


def as_object(raw: bytes | bytearray) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProviderError(AttemptOutcome.MALFORMED, "an answer that is not JSON") from error
    if not isinstance(value, dict):
        raise ProviderError(AttemptOutcome.MALFORMED, "an answer that is not a JSON object")
    return value


async def read_deltas(
    response: aiohttp.ClientResponse, read: Callable[[bytes], Iterable[Delta] | None], sink: PartSink
) -> None:
    """Tells `sink` of a stream's deltas; `read` makes them of one event's data, and answers None for the last event.

    What came in one piece over the network goes on as one: its texts are joined, so that a fast stream costs each layer
    one step, not one for each token. Raises what `read` raises, after the deltas before it.
    """
    events = Events()
    is_over = False
    while not is_over:
        chunk = await response.content.readany()
        batch = events.feed(chunk) if chunk else events.rest()
        is_over = not chunk
        deltas: list[Delta] = []
        problem: Exception | None = None
        for event in batch:
            try:
                found = understood(read, event)
            except Exception as error:
                problem = error
                break
            if found is None:
                is_over = True
                break
            deltas += found
        for delta in joined(deltas) if len(deltas) > 1 else deltas:
            await sink(delta)
        if problem:
            raise problem


def joined(deltas: Iterable[Delta]) -> list[Delta]:
    """Neighbours that are text alone, as one."""
    found: list[Delta] = []
    for delta in deltas:
        if found and delta.is_text and found[-1].is_text:
            found[-1] = Delta(found[-1].text + delta.text)
        else:
            found.append(delta)
    return found


class Events:
    """Cuts what comes over the network into the data of server-sent events."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []  # of the line that has not ended
        self.size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes."""
        first, *others = chunk.split(b"\n")
        self.size += len(first)
        if self.size > LARGEST_ANSWER:
            raise ProviderError(AttemptOutcome.MALFORMED, "an event without end")
        if not others:
            self.pieces.append(first)
            return []
        lines = [b"".join([*self.pieces, first]), *others]
        last = lines.pop()
        self.pieces, self.size = [last], len(last)
        return [data for line in lines if (data := _data(line))]

    def rest(self) -> list[bytes]:
        """Of a server that forgot the last line's end. One that the end cut off is dropped, as the specification says."""
        data = _data(b"".join(self.pieces))
        return [data] if data and _is_whole(data) else []


def _data(line: bytes) -> bytes:
    return line[5:].strip() if line.startswith(b"data:") else b""


def _is_whole(data: bytes) -> bool:
    if data == b"[DONE]":
        return True
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
