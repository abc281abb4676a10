"""HTTP to providers: each event loop shares its aiohttp sessions, and every failure becomes a `ProviderError`.

Only connecting has a time limit here. `aichat/generation/deadlines.py` has the limits of all other waits.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
from django.utils import timezone

from aichat.core.background import lifecycle
from aichat.core.outbound.public_addresses import public_socket
from aichat.core.telemetry import spans
from aichat.providers.base import Endpoint
from aichat.providers.errors import AttemptOutcome, ProviderError, from_body, redacted
from aichat.providers.json import to_json

logger = logging.getLogger(__name__)
T = TypeVar("T")

# Makes the multipart body of one request. A body is used up when it is sent, so another try needs another one.
MakeForm = Callable[[], aiohttp.FormData]
CONNECTIONS = 10_000  # at once from a process; a stream has one of its own
LARGEST_ERROR = 64 * 1024  # bytes
LARGEST_ANSWER = 32 * 2**20  # bytes of a JSON body, or of one event of a stream
DRAIN_SECONDS = 1.0  # how long the end of a finished stream may take before its connection is given up
_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[bool, bool], aiohttp.ClientSession]] = (
    WeakKeyDictionary()
)


def session(*, public_only: bool, fresh: bool = False) -> aiohttp.ClientSession:
    """A session of this event loop. It follows no redirects, cookies or proxies of the environment.

    Calls that may reach private addresses have connections of their own, which the others never take over. A `fresh`
    session opens a new connection for each call.
    """
    sessions = _sessions.setdefault(asyncio.get_running_loop(), {})
    found = sessions.get((public_only, fresh))
    if found is None or found.closed:
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS,
            socket_factory=public_socket if public_only else None,
            **({"force_close": True} if fresh else {"keepalive_timeout": 60}),
        )
        found = sessions[public_only, fresh] = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=True,
            trace_configs=[_reuse_trace()],
        )
    return found


@lifecycle.on_shutdown
async def close() -> None:
    """Close this loop's sessions (at shutdown)."""
    for found in _sessions.pop(asyncio.get_running_loop(), {}).values():
        await found.close()


async def post(
    url: str,
    body: dict[str, Any] | MakeForm | None,
    headers: dict[str, str],
    endpoint: Endpoint,
    read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
) -> T:
    """Send `body` as JSON, or the form it makes, and return the result of `read` for the response.

    `read` gets a successful response, whose body is unread. Without a body the request is a GET. When the provider closes a
    kept connection before a byte of an answer came, the request is sent once more on a new connection.

    Raises `ProviderError` when connecting fails, for a status that is no success, and for faults of the network while the
    answer is read. A caller that leaves early drops the connection.
    """
    try:
        response = await _sent(url, body, headers, endpoint)
        try:
            if not 200 <= response.status < 300:
                raise await _failure(response, endpoint)
            answer = await read(response)
        except BaseException:
            response.close()
            raise
        _let_go(response)
        return answer
    except (aiohttp.ConnectionTimeoutError, aiohttp.ServerTimeoutError) as error:
        raise ProviderError(AttemptOutcome.TIMEOUT_CONNECT, "no connection in time") from error
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
        raise ProviderError(AttemptOutcome.UNREACHABLE, f"no connection: {error}") from error
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, OSError) as error:
        raise ProviderError(AttemptOutcome.BROKEN_STREAM, "the connection broke off") from error
    except aiohttp.ClientError as error:
        raise ProviderError(AttemptOutcome.MALFORMED, f"not understood as HTTP: {type(error).__name__}") from error


async def get(
    url: str,
    headers: dict[str, str],
    endpoint: Endpoint,
    read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
) -> T:
    """Ask with GET. The response and every failure are treated as `post` does."""
    return await post(url, None, headers, endpoint, read)


async def _sent(
    url: str, body: dict[str, Any] | MakeForm | None, headers: dict[str, str], endpoint: Endpoint
) -> aiohttp.ClientResponse:
    payload: bytes | MakeForm | None = body if body is None or callable(body) else to_json(body)
    kind = {"Content-Type": "application/json"} if isinstance(payload, bytes) else {}
    headers = {**kind, **headers, **spans.upstream_headers(), **endpoint.headers}
    connection = SimpleNamespace(is_reused=False)
    try:
        return await _send(url, payload, headers, endpoint, connection)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        if not connection.is_reused or isinstance(error, aiohttp.ClientConnectorError):
            raise
    return await _send(url, payload, headers, endpoint, connection, fresh=True)


async def _send(
    url: str,
    payload: bytes | MakeForm | None,
    headers: dict[str, str],
    endpoint: Endpoint,
    connection: SimpleNamespace,
    *,
    fresh: bool = False,
) -> aiohttp.ClientResponse:
    try:
        return await session(public_only=endpoint.public_only, fresh=fresh).request(
            "GET" if payload is None else "POST",
            url,
            data=payload() if callable(payload) else payload,
            headers=headers,
            timeout=_patience(endpoint.connect_timeout),
            allow_redirects=False,
            trace_request_ctx=connection,
        )
    except aiohttp.ClientError:
        raise
    except (TypeError, ValueError) as error:
        raise strange(error) from error


def _reuse_trace() -> aiohttp.TraceConfig:
    """Notes on a request's context that its connection had served before."""

    async def note(client: aiohttp.ClientSession, context: Any, params: Any) -> None:
        context.trace_request_ctx.is_reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(note)
    return trace


@lru_cache
def _patience(connect: float) -> aiohttp.ClientTimeout:
    """`connect`, in seconds, covers the look-up of the name and the wait for a free connection as well."""
    return aiohttp.ClientTimeout(total=None, connect=connect)


def _let_go(response: aiohttp.ClientResponse) -> None:
    """Give the connection back for the next call. Bytes behind the answer's end (`[DONE]`) are read in the background."""
    if response.content.at_eof():
        response.release()
    else:
        lifecycle.spawn(_drain(response))


async def _drain(response: aiohttp.ClientResponse) -> None:
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while await response.content.readany():
                pass
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()


# The errors that our code raises for an answer of a shape that nobody could expect: a list for an object, a figure without
# end, very deep nesting. Whoever reads an answer turns these into `strange(error)`.
STRANGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def strange(error: Exception) -> ProviderError:
    """The error of an answer whose shape made our code raise `error`, one of STRANGE."""
    logger.warning("an answer of an unknown shape", exc_info=error)
    return ProviderError(AttemptOutcome.MALFORMED, f"an answer of an unknown shape: {redacted(str(error))}")


async def _failure(response: aiohttp.ClientResponse, endpoint: Endpoint) -> ProviderError:
    try:
        raw = await response.content.readexactly(LARGEST_ERROR)
    except asyncio.IncompleteReadError as error:
        raw = error.partial
    for secret in (endpoint.api_key, *endpoint.headers.values()):
        if len(secret) >= 8:
            raw = raw.replace(secret.encode(), b"[redacted]")
    found = from_body(response.status, raw, wait_asked_for(response.headers))
    found.is_unanswered, found.status = True, response.status
    return found


def wait_asked_for(headers: Any) -> float | None:
    """Seconds that an answer's headers ask to wait: `retry-after-ms` (OpenAI, Azure) is finer than `Retry-After`."""
    milliseconds = seconds_of(headers.get("retry-after-ms", ""))
    return milliseconds / 1000 if milliseconds is not None else retry_after(headers.get("Retry-After", ""))


def retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header: a number, which providers also write with a fraction, or a date (RFC 9110, 10.2.3)."""
    seconds = seconds_of(value)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, (parsedate_to_datetime(value) - timezone.now()).total_seconds())
    except (ValueError, TypeError):
        return None


def seconds_of(value: str) -> float | None:
    """A plain decimal number; None for anything else ("1e9", "-3", "inf")."""
    return float(value) if value.replace(".", "", 1).isdecimal() and value.isascii() else None
