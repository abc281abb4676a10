"""What a chat provider is: a small translator from `ChatRequest` to its HTTP format and from its answer to parts.

Policy (deadlines, fallback, circuit breaking, billing) is written once, around it, in `aichat/generation/`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal, Protocol
from urllib.parse import urlsplit

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider bills them: cached and cache-write tokens are part of the input, reasoning of the output."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    cache_write_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider listens and how to log in; never printed.

    With `public_only` nothing is sent to a private address, whatever the name resolves to. Without `bearer` the key is
    in `headers` already.
    """

    base_url: str = ""
    api_key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_timeout: float = 5.0
    bearer: bool = True
    public_only: bool = False

    def url(self, path: str) -> str:
        """The address of a path below `base_url`, whose query (Azure's `api-version`) stays at the end."""
        return _joined(self.base_url, path)


@lru_cache
def _joined(base_url: str, path: str) -> str:
    parts = urlsplit(base_url)
    return parts._replace(path=parts.path.rstrip("/") + path).geturl()


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat in OpenAI's vocabulary, which every adapter translates from.

    `messages` are OpenAI message objects; `parameters` are OpenAI generation parameters (temperature, stop, tools …)
    that were given, beyond those that have a field here. `max_tokens` is always set: it is what the hold covers.
    """

    model: str
    messages: Sequence[dict[str, Any]]
    max_tokens: int
    stream: bool
    parameters: Mapping[str, Any] = field(default_factory=dict)
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has taken the request: from here on it may bill us."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer (a whole answer is one piece). `tool_calls` are OpenAI tool call deltas.

    An empty one is a sign of life: the model is thinking.
    """

    text: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete. Without it a stream is broken, however cleanly it was closed.

    `content_filter` without any text means that the provider refused.
    """

    reason: FinishReason
    usage: Usage | None = None


Part = Accepted | Delta
PartSink = Callable[[Part], Awaitable[None]]


class ChatAdapter(Protocol):
    """A provider's format. One object serves all requests: it keeps no state."""

    async def chat(self, request: ChatRequest, endpoint: Endpoint, hear: PartSink) -> Finished:
        """Tells `hear` of `Accepted`, then of each `Delta`; raises `ProviderError` for everything but a whole answer.

        `hear` may take its time: nothing more is read from the provider meanwhile. Cancelling ends the call upstream.
        """
        ...

    def unsupported(self, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> str | None:
        """The field this format has no way to express, if there is one: another candidate must serve such a request."""
        ...


def image_urls(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The images of a chat: `data:` or `https:` addresses, in order."""
    return [
        part["image_url"]["url"]
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
        if part.get("type") == "image_url"
    ]


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
