"""The parts that all calls in OpenAI's format share: the headers, and reading one whole answer."""

from collections.abc import Callable
from typing import Any, TypeVar

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
    """Send a POST, and return the result of `read` for the JSON object that answers it. Raises `ProviderError`."""

    return await http.post(
        endpoint.url(path), body, headers_of(endpoint, request_id), endpoint, bodies.json_reader(read)
    )


async def ask_bytes(path: str, body: http.MakeForm, endpoint: Endpoint, request_id: str) -> bytes:
    """Send a form, and return the bytes that answer it. Raises `ProviderError`."""
    return await http.post(endpoint.url(path), body, headers_of(endpoint, request_id), endpoint, bodies.read_bytes)
