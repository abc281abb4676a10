"""Reads the whole body of a provider's answer that is no chat: bytes, or one JSON object and the files in it."""

import base64
from collections.abc import Callable
from typing import Any, TypeVar

import aiohttp

from aichat.providers import http
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.json import as_object

T = TypeVar("T")


async def read_bytes(response: aiohttp.ClientResponse, hear: Callable[[bytes], None] | None = None) -> bytes:
    """The whole body; `hear` gets its pieces as they come. Raises `ProviderError` when it is longer than LARGEST_ANSWER."""
    raw = bytearray()
    while chunk := await response.content.readany():
        raw += chunk
        if len(raw) > http.LARGEST_ANSWER:
            raise ProviderError(AttemptOutcome.MALFORMED, "an answer without end")
        if hear is not None:
            hear(chunk)
    return bytes(raw)


async def read_json(response: aiohttp.ClientResponse, read: Callable[[dict[str, Any]], T]) -> T:
    """What `read` makes of the body. Raises `ProviderError` for a body that breaks off or that `read` can't understand."""
    answer = as_object(await read_bytes(response))
    try:
        return read(answer)
    except http.STRANGE as error:
        raise http.strange(error) from error


def decoded(encoding: Any) -> bytes:
    """The bytes of a file in JSON; none for what is not base64, which then is no picture for anybody who looks."""
    try:
        return base64.b64decode(encoding)
    except (TypeError, ValueError):
        return b""
