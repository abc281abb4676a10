"""The vocabulary of chat and image providers: what an adapter is asked, and the parts of an answer it reports.

An adapter is a small translator from `ChatRequest` to one HTTP format and from that format's answer to parts. Policy
(deadlines, fallback, circuit breaking, billing) is written once, around the adapters, in `aichat/generation/`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal, Protocol
from urllib.parse import urlsplit

from aichat.providers.outgoing import Outgoing
from aichat.providers.usage import UsageReport

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
    cache_write_1h_tokens: int = 0  # those of them that the provider keeps for an hour instead of minutes
    characters: int = 0  # of the text that speech is made of
    audio_ms: int = 0  # of the audio that is transcribed, in milliseconds


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider listens, how to log in there, and which dialect of its format the server speaks.

    `repr()` shows neither the key nor the headers. With `public_only` no private address is called, whatever the name
    resolves to. Without `bearer` the key stands in `headers` already. `profile` names the server's quirks (empty: they
    are found by `base_url`) and `quirks` overrides single ones; only the adapter reads both.
    """

    base_url: str = ""
    api_key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_timeout: float = 5.0
    bearer: bool = True
    public_only: bool = False
    profile: str = ""
    quirks: tuple[tuple[str, Any], ...] = ()

    def url(self, path: str) -> str:
        """The address of a path below `base_url`; the query of `base_url` (Azure's `api-version`) stays at the end."""
        return _joined(self.base_url, path)


@lru_cache
def _joined(base_url: str, path: str) -> str:
    parts = urlsplit(base_url)
    return parts._replace(path=parts.path.rstrip("/") + path).geturl()


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat in OpenAI's vocabulary, which every adapter translates from.

    `messages` are OpenAI message objects; an assistant's message may carry `reasoning_content` (text) and
    `reasoning_details` (see `Delta`). `parameters` are the OpenAI generation parameters the client gave (temperature,
    stop, tools …), beyond those that have a field here. `max_tokens` is always set: the hold covers that many tokens.
    `may_drop`: whether the adapter may leave out a parameter that only tunes the answer when the provider refuses it.
    An adapter reads each usage object that the provider sends into `report`, at once, so that the figures outlive an
    answer that breaks off.
    """

    model: str
    messages: Sequence[dict[str, Any]]
    max_tokens: int
    stream: bool
    parameters: Mapping[str, Any] = field(default_factory=dict)
    request_id: str = ""
    may_drop: bool = False
    report: UsageReport = field(default_factory=UsageReport)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has taken the request: from here on it may bill us.

    `dropped` names the client's parameters that were not sent, because the provider does not know or refuses them.
    """

    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer; a whole answer is one piece. An empty delta is a sign of life: the provider is at work.

    - `text`: of the answer itself.
    - `tool_calls`: OpenAI tool call deltas, each with its `index`; the deltas of one index are one call. A call of a
      custom tool has `custom` (`name`, `input`) instead of `function`, and its first delta the type `custom`.
    - `reasoning`: the model's thoughts as text, never part of the answer.
    - `reasoning_details`: the provider's own blocks of thought with their signatures, in OpenRouter's format
      (`{"type": "reasoning.text"|"reasoning.encrypted"|"reasoning.summary", "format", "text"|"data"|"summary",
      "signature"?, "index"?}`). They are opaque to everything but the adapter that made them, and the client sends
      them back unchanged. https://openrouter.ai/docs/use-cases/reasoning-tokens
    - `images`: pictures as `data:` or `https:` addresses.
    - `annotations` and `logprobs`: as OpenAI's `message.annotations` and `choice.logprobs`.
    - `items`: whole parts of an answer in the provider's own dialect (items of Responses, blocks of Messages), in addition to
      the pieces of the same parts: for a client of the same dialect.
    """

    text: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    reasoning: str = ""
    reasoning_details: tuple[dict[str, Any], ...] = ()
    images: tuple[str, ...] = ()
    annotations: tuple[dict[str, Any], ...] = ()
    logprobs: dict[str, Any] | None = None
    items: tuple[dict[str, Any], ...] = ()

    @property
    def is_answer(self) -> bool:
        """Whether the delta has a part of the answer itself: text, a call or a picture."""
        return bool(self.text or self.tool_calls or self.images)

    @property
    def is_text(self) -> bool:
        """Whether the delta has nothing but text, if it has anything."""
        return not (
            self.tool_calls
            or self.reasoning
            or self.reasoning_details
            or self.images
            or self.annotations
            or self.logprobs
            or self.items
        )

    @property
    def is_empty(self) -> bool:
        """Whether the delta has nothing for the client: it says that the provider is at work."""
        return not self.text and self.is_text


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete. A stream that ends without this is broken, however cleanly it was closed.

    `content_filter` without any text means that the provider refused. `is_known` is false when the provider gave no
    reason, or gave a word that our tables do not have: such an answer is served, and never kept for others.
    `stop_sequence` is the client's stop sequence that ended the answer, when the provider names it.
    """

    reason: FinishReason
    is_known: bool = True
    stop_sequence: str | None = None


Part = Accepted | Delta
PartSink = Callable[[Part], Awaitable[None]]


class ChatAdapter(Protocol):
    """A provider's format. One object serves all requests: an adapter keeps no state."""

    async def chat(self, request: ChatRequest, endpoint: Endpoint, sink: PartSink) -> Finished:
        """Give `sink` one `Accepted`, then each `Delta`; raise `ProviderError` for everything but a whole answer.

        `sink` may take its time: nothing more is read from the provider meanwhile. Cancelling ends the call upstream.
        """
        ...

    def measure(self, request: ChatRequest, endpoint: Endpoint) -> Outgoing:
        """Measure what the body of `request` gives the model to read. Only supported requests are measured."""
        ...

    def unsupported(
        self, model: str, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], endpoint: Endpoint
    ) -> str | None:
        """The field of a request that this format can't express, if there is one: another candidate must serve it."""
        ...


# --- A vendor's own dialect -------------------------------------------------------------------------------------------

# A message, and the parameters, may have a member named for a dialect: the request in the vendor's own words, for what
# OpenAI's vocabulary has none for. Only adapters that speak the dialect are given it; all others get the translation alone.
RESPONSES = "responses"
# The kinds of provider whose adapters speak a dialect, by the name of its member.
SPEAKERS = {"anthropic": {"anthropic"}, RESPONSES: {"openai", "openai_compatible"}}


def in_dialects_of(
    kind: str, messages: Sequence[dict[str, Any]], parameters: Mapping[str, Any]
) -> tuple[Sequence[dict[str, Any]], Mapping[str, Any]]:
    """The messages and parameters for an adapter of `kind`, without the members of dialects that it does not speak."""
    if SPEAKERS.keys().isdisjoint(parameters):
        return messages, parameters
    others = [name for name in SPEAKERS if name in parameters and kind not in SPEAKERS[name]]
    return without_dialects(messages, parameters, others) if others else (messages, parameters)


def without_dialects(
    messages: Sequence[dict[str, Any]], parameters: Mapping[str, Any], dialects: Sequence[str]
) -> tuple[Sequence[dict[str, Any]], Mapping[str, Any]]:
    """The messages and parameters without their members of the dialects."""
    return [_without(message, dialects) for message in messages], _without(parameters, dialects)


def _without(facts: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in names}


# --- The parts of messages --------------------------------------------------------------------------------------------


def content_parts(messages: Sequence[Mapping[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The content parts of one type ("image_url", "file", "input_audio") in a chat, in order."""
    return [
        part
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
        if part.get("type") == kind
    ]


def custom_tools(messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> str | None:
    """The field that has a custom tool, whose input is free text, or a call of one; None when there is none."""
    if any(tool.get("type") == "custom" for tool in parameters.get("tools") or ()):
        return "tools"
    calls = (call for message in messages for call in message.get("tool_calls") or ())
    return "messages" if any(call.get("type") == "custom" for call in calls) else None


def image_urls(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The pictures of a chat: `data:` or `https:` addresses, in order."""
    return [part["image_url"]["url"] for part in content_parts(messages, "image_url")]


SIZES = ("1024x1024", "1536x1024", "1024x1536")


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """`n` images of `size` ("WIDTHxHEIGHT") for `prompt`."""

    model: str
    prompt: str
    size: str
    n: int
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """The encoded images as the provider sent them: at least one, perhaps fewer than asked for.

    `report` is the usage of all `billed` pictures that the provider says it made, also of those that are no image.
    """

    images: list[bytes]
    report: UsageReport
    billed: int


class ImageAdapter(Protocol):
    """A provider's format for making images. `tokens_per_image` is the most output tokens one image is billed."""

    sizes: ClassVar[tuple[str, ...]]
    tokens_per_image: ClassVar[int]

    async def images(self, request: ImageRequest, endpoint: Endpoint) -> ImageAnswer:
        """Make `request.n` images. Raises `ProviderError` when the provider sent not a single one."""
        ...


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model as its provider lists it, and what it is for ("chat", "embedding" …), as far as its name or entry tells."""

    name: str
    kind: str


class ModelListAdapter(Protocol):
    """A provider's format for the list of its models."""

    async def models(self, endpoint: Endpoint) -> list[ListedModel]:
        """The models that the provider serves to this key. Raises `ProviderError`."""
        ...
