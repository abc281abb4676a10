"""HTTP to providers: shared aiohttp sessions, one pair per event loop, with errors in our vocabulary.

Time limits other than connecting are not set here: `aichat/generation/deadlines.py` bounds what a caller waits for.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import orjson
from django.utils import timezone

from aichat import lifecycle
from aichat.addresses import public_socket
from aichat.providers.base import Delta, Endpoint
from aichat.providers.errors import Outcome, ProviderError, from_body

logger = logging.getLogger(__name__)

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


@asynccontextmanager
async def post(
    url: str, body: dict[str, Any], headers: dict[str, str], endpoint: Endpoint
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A successful response whose body is still to be read; leaving early drops the connection.

    Raises `ProviderError` for every failure to connect, failing status, transport fault while reading, and answer that
    the code inside can't make sense of.
    """
    try:
        async with session(public_only=endpoint.public_only).post(
            url,
            data=orjson.dumps(body),
            headers={"Content-Type": "application/json", **headers, **endpoint.headers},
            # `connect` covers the look-up of the name and the wait for a free connection as well.
            timeout=aiohttp.ClientTimeout(total=None, connect=endpoint.connect_timeout),
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                raise await _failure(response)
            yield response
    except (aiohttp.ConnectionTimeoutError, aiohttp.ServerTimeoutError) as error:
        raise ProviderError(Outcome.TIMEOUT_CONNECT, "no connection in time") from error
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
        raise ProviderError(Outcome.UNREACHABLE, f"no connection: {error}") from error
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, OSError) as error:
        raise ProviderError(Outcome.BROKEN_STREAM, "the connection broke off") from error
    except aiohttp.ClientError as error:
        raise ProviderError(Outcome.MALFORMED, f"not understood as HTTP: {type(error).__name__}") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        logger.warning("an answer of an unknown shape", exc_info=error)
        raise ProviderError(Outcome.MALFORMED, f"an answer of an unknown shape: {error}") from error


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


async def read_json(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The whole body as a JSON object. A body that breaks off is a `ProviderError`, never half an answer."""
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > LARGEST_ANSWER:
            raise ProviderError(Outcome.MALFORMED, "an answer without end")
    return as_object(raw)


def as_object(raw: bytes | bytearray) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProviderError(Outcome.MALFORMED, "an answer that is not JSON") from error
    if not isinstance(value, dict):
        raise ProviderError(Outcome.MALFORMED, "an answer that is not a JSON object")
    return value


async def read_deltas(
    response: aiohttp.ClientResponse, read: Callable[[bytes], Iterable[Delta] | None]
) -> AsyncGenerator[Delta, None]:
    """A stream's deltas; `read` makes them of one event's data, and answers None for the last event.

    What came in one piece over the network goes on as one: its texts are joined, so that a fast stream costs each layer
    one step, not one for each token. Raises what `read` raises, after the deltas before it.
    """
    async with aclosing(read_events(response)) as batches:
        async for batch in batches:
            deltas: list[Delta] = []
            problem: Exception | None = None
            is_last = False
            for event in batch:
                try:
                    found = read(event)
                except Exception as error:
                    problem = error
                    break
                if found is None:
                    is_last = True
                    break
                deltas += found
            for delta in joined(deltas):
                yield delta
            if problem:
                raise problem
            if is_last:
                return


def joined(deltas: Iterable[Delta]) -> list[Delta]:
    """Neighbours that are text alone, as one."""
    found: list[Delta] = []
    for delta in deltas:
        if found and not delta.tool_calls and not found[-1].tool_calls:
            found[-1] = Delta(found[-1].text + delta.text)
        else:
            found.append(delta)
    return found


async def read_events(response: aiohttp.ClientResponse) -> AsyncGenerator[list[bytes], None]:
    """The data of each server-sent event, in lists of what came together.

    An event that the end cut off is dropped, as the specification says.
    """
    pieces: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        first, *rest = chunk.split(b"\n")
        pieces.append(first)
        size += len(first)
        if size > LARGEST_ANSWER:
            raise ProviderError(Outcome.MALFORMED, "an event without end")
        if rest:
            *lines, last = [b"".join(pieces), *rest]
            pieces, size = [last], len(last)
            if batch := [data for line in lines if (data := _data(line))]:
                yield batch
    if (data := _data(b"".join(pieces))) and _is_whole(data):
        yield [data]  # a server that forgot the last line's end


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
