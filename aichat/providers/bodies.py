"""Reads the whole body of a provider's answer that is no chat: bytes, or one JSON object and the files in it."""

import base64
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp

from aichat.providers import http
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.json import as_object

T = TypeVar("T")


async def read_bytes(response: aiohttp.ClientResponse, hear: Callable[[bytes], None] | None = None) -> bytes:
    """The whole body; `hear` is given its pieces as they come. Raises `ProviderError` for one longer than LARGEST_ANSWER."""
    raw = bytearray()
    while chunk := await response.content.readany():
        raw += chunk
        if len(raw) > http.LARGEST_ANSWER:
            raise ProviderError(AttemptOutcome.MALFORMED, "an answer without end")
        if hear is not None:
            hear(chunk)
    return bytes(raw)


def json_reader(read: Callable[[dict[str, Any]], T]) -> Callable[[aiohttp.ClientResponse], Awaitable[T]]:
    """A reader of responses for `http.post`: it returns the result of `read` for the body's JSON object.

    The reader raises `ProviderError` for a body that breaks off or that `read` can't understand.
    """

    async def whole(response: aiohttp.ClientResponse) -> T:
        answer = as_object(await read_bytes(response))
        try:
            return read(answer)
        except http.STRANGE as error:
            raise http.strange(error) from error

    return whole


def decoded(encoding: Any) -> bytes:
    """The bytes of a file that JSON carries as base64; empty for what is not base64, so it fails the check of pictures."""
    try:
        return base64.b64decode(encoding)
    except (TypeError, ValueError):
        return b""
