"""HTTP to providers: one shared aiohttp session per event loop, with errors in our vocabulary.

Time limits other than connecting are not set here: `aichat/generation/deadlines.py` bounds what a caller waits for.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import orjson
from django.utils import timezone

from aichat import lifecycle
from aichat.providers.base import Endpoint
from aichat.providers.errors import Outcome, ProviderError, from_status

CONNECTIONS = 2000
LARGEST_ERROR = 64 * 1024
_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()


def session() -> aiohttp.ClientSession:
    """The session of this event loop; no redirects, cookies or proxies of the environment are followed."""
    loop = asyncio.get_running_loop()
    found = _sessions.get(loop)
    if found is None or found.closed:
        found = _sessions[loop] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=True,
        )
    return found


@lifecycle.on_shutdown
async def close() -> None:
    """Close this loop's session (at shutdown)."""
    found = _sessions.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.close()


@asynccontextmanager
async def post(
    url: str, body: dict[str, Any], headers: dict[str, str], endpoint: Endpoint
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A successful response whose body is still to be read; leaving early drops the connection.

    Raises `ProviderError` for every failure to connect, failing status, and transport fault while reading.
    """
    try:
        async with session().post(
            url,
            data=orjson.dumps(body),
            headers={"Content-Type": "application/json", **headers, **endpoint.headers},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=endpoint.connect_timeout),
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                raise await _failure(response)
            yield response
    except (aiohttp.ConnectionTimeoutError, aiohttp.ServerTimeoutError) as error:
        raise ProviderError(Outcome.TIMEOUT_CONNECT, "no connection in time") from error
    except aiohttp.ClientConnectorError as error:
        raise ProviderError(Outcome.UNREACHABLE, "no connection") from error
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError) as error:
        raise ProviderError(Outcome.BROKEN_STREAM, "the connection broke off") from error
    except aiohttp.ClientError as error:
        raise ProviderError(Outcome.MALFORMED, f"not understood as HTTP: {type(error).__name__}") from error


async def _failure(response: aiohttp.ClientResponse) -> ProviderError:
    raw = await response.content.read(LARGEST_ERROR)
    return from_status(response.status, error_message(raw), retry_after(response.headers.get("Retry-After", "")))


def error_message(raw: bytes) -> str:
    """The message inside an error body of OpenAI's or Google's shape; empty when there is none."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return ""
    if isinstance(body, list) and body:  # Gemini wraps stream errors in a list
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


def retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110, 10.2.3)."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - timezone.now()).total_seconds())
    except (ValueError, TypeError):
        return None


async def read_json(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The whole body as a JSON object. A body that breaks off is a `ProviderError`, never half an answer."""
    return as_object(await response.read())


def as_object(raw: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProviderError(Outcome.MALFORMED, "an answer that is not JSON") from error
    if not isinstance(value, dict):
        raise ProviderError(Outcome.MALFORMED, "an answer that is not a JSON object")
    return value


async def read_events(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event, without a limit to its length."""
    buffer = b""
    async for chunk in response.content.iter_any():
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
    if buffer.startswith(b"data:"):
        yield buffer[5:].strip()
