"""What OpenAI's calls for one whole answer have in common: how to log in, and how an error looks."""

from collections.abc import Callable
from typing import Any, TypeVar

import aiohttp

from aichat.providers import bodies, http
from aichat.providers.base import Endpoint

T = TypeVar("T")


def headers_of(endpoint: Endpoint, request_id: str) -> dict[str, str]:
    """The request's ID, and the key as a bearer token where the endpoint has it nowhere else."""
    headers = {"X-Request-ID": request_id, "X-Client-Request-Id": request_id}
    if endpoint.bearer and endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    return headers


async def ask(
    path: str, body: dict[str, Any] | http.MakeForm, endpoint: Endpoint, request_id: str, read: Callable[[Any], T]
) -> T:
    """What `read` makes of the JSON object that answers a POST. Raises `ProviderError`."""

    async def whole(response: aiohttp.ClientResponse) -> T:
        return await bodies.read_json(response, read)

    return await http.post(endpoint.url(path), body, headers_of(endpoint, request_id), endpoint, whole)


async def ask_bytes(
    path: str, body: dict[str, Any] | http.MakeForm, endpoint: Endpoint, request_id: str
) -> tuple[bytes, str]:
    """The bytes that answer a POST, and their content type. Raises `ProviderError`."""

    async def whole(response: aiohttp.ClientResponse) -> tuple[bytes, str]:
        return await bodies.read_bytes(response), response.content_type

    return await http.post(endpoint.url(path), body, headers_of(endpoint, request_id), endpoint, whole)
