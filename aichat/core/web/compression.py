"""Inflates compressed request bodies, up to the limit that holds for any body."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aichat.core.errors import ApiError, InvalidRequest

# In the ASGI scope: the bytes the route takes, that the body (as sent or inflated) is longer, and the `ApiError` of one
# that can't be inflated.
BODY_LIMIT, BODY_TOO_LARGE = "aichat.body_limit", "aichat.body_too_large"
BODY_PROBLEM = "aichat.body_problem"
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32  # zlib finds out by the header which of the two formats it reads
IN_PLACE = 16 * 1024  # bytes: anything longer is inflated on a thread
# Members of one gzip body. A client's library makes one. What follows a member is copied before the next one is read, so a
# body of very many empty members would cost seconds for each megabyte.
MOST_MEMBERS = 100
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class UnsupportedEncoding(ApiError):
    status, code = 415, "unsupported_media_type"
    message = "Send the body as it is, or compressed with Content-Encoding: gzip."


class TooLarge(Exception):
    """The inflated body is longer than allowed."""


async def inflated(scope: dict[str, Any], receive: Receive) -> Receive:
    """A `receive` for a request that gives its body as it was before the client compressed it.

    A request without Content-Encoding is passed through. Otherwise the whole body is read and inflated to at most
    the route's limit, and the headers of `scope` are changed to those of the inflated body. A body that is longer or
    broken is replaced by an empty one, and `scope` says why, for `BodyLimitMiddleware` to refuse it.
    """
    encoding = b",".join(value for name, value in scope["headers"] if name == b"content-encoding").strip().lower()
    if encoding in (b"", b"identity"):
        return receive
    body = b""
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        scope[BODY_PROBLEM] = UnsupportedEncoding(param="Content-Encoding")
    else:
        raw = await _read(receive)
        if raw is None:
            return receive  # the client left: the next message says so again
        try:
            limit = scope[BODY_LIMIT]
            body = inflate(raw, limit) if len(raw) < IN_PLACE else await asyncio.to_thread(inflate, raw, limit)
        except TooLarge:
            scope[BODY_TOO_LARGE] = True
        except zlib.error:
            scope[BODY_PROBLEM] = InvalidRequest("The body is not valid gzip.", param="Content-Encoding")
    scope["headers"] = [
        *((name, value) for name, value in scope["headers"] if name not in (b"content-encoding", b"content-length")),
        (b"content-length", str(len(body)).encode()),
    ]
    return _replay(body, receive)


def inflate(raw: bytes, limit: int) -> bytes:
    """The data of one or more gzip members, or of a zlib stream.

    Raises `TooLarge` beyond `limit` bytes, before they are all made, and `zlib.error` for data that is broken or cut off
    or that has more than MOST_MEMBERS members.
    """
    found = bytearray()
    for _ in range(MOST_MEMBERS + 1):
        if not raw:
            return bytes(found)
        reader = zlib.decompressobj(GZIP_OR_ZLIB)
        found += reader.decompress(raw, limit - len(found) + 1)
        if len(found) > limit:
            raise TooLarge
        if not reader.eof:
            raise zlib.error("the data is cut off")
        raw = reader.unused_data
    raise zlib.error("the data has too many members")


async def _read(receive: Receive) -> bytes | None:
    """The whole body as it was sent; None when the client left before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands on `body`, then whatever the client does next."""
    is_told = False

    async def replayed() -> Mapping[str, Any]:
        nonlocal is_told
        if is_told:
            return await receive()
        is_told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
