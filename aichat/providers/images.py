"""What an image provider is. Images take seconds, so these adapters use the official SDKs, imported with their module."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from aichat.providers.base import Endpoint, Usage

SIZES = ("1024x1024", "1536x1024", "1024x1536")


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """`n` images of `size` ("WIDTHxHEIGHT") for `prompt`; `timeout` in seconds bounds the whole call."""

    model: str
    prompt: str
    size: str
    n: int
    timeout: float
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """The encoded images as they came (at least one, perhaps fewer than asked for) and what they are billed by."""

    images: list[bytes]
    usage: Usage


class ImageAdapter(Protocol):
    """Raises `ProviderError` when not a single image came."""

    sizes: ClassVar[tuple[str, ...]]
    # The most output tokens one image is billed: what a hold must cover.
    tokens_per_image: ClassVar[int]

    async def images(self, request: ImageRequest, endpoint: Endpoint) -> ImageAnswer: ...
