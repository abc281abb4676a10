"""What a chat provider is: a small translator from `ChatRequest` to its HTTP format and from its answer to parts.

Policy (deadlines, fallback, circuit breaking, billing) is written once, around it, in `aichat/generation/`.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider bills them: cached tokens are part of the input, reasoning tokens part of the output."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider listens and how to log in; never printed."""

    base_url: str = ""
    api_key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat in OpenAI's vocabulary, which every adapter translates from.

    `messages` are OpenAI message objects; `parameters` are OpenAI generation parameters (temperature, stop, tools …)
    that were given, beyond those that have a field here. `max_tokens` is always set: it is what the hold covers.
    """

    model: str
    messages: list[dict[str, Any]]
    max_tokens: int
    stream: bool
    parameters: Mapping[str, Any] = field(default_factory=dict)
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has taken the request: from here on it may bill us."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer (a whole answer is one piece). `tool_calls` are OpenAI tool call deltas."""

    text: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete. Without it a stream is broken, however cleanly it was closed."""

    reason: FinishReason
    usage: Usage | None = None


Part = Accepted | Delta | Finished


class ChatAdapter(Protocol):
    """Yields `Accepted`, then `Delta`s, then `Finished`; raises `ProviderError` for everything else.

    Closing the generator early ends the call upstream.
    """

    def chat(self, request: ChatRequest, endpoint: Endpoint) -> AsyncGenerator[Part, None]: ...
