"""The request for a generation, its result, and the events between."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

from django.conf import settings

from accounts.authentication import Caller
from aichat.catalog.models import AIModel
from aichat.core.database.models import uuid7
from aichat.core.database.statements import NewRow
from aichat.core.errors import ApiError
from aichat.core.telemetry import tracing
from aichat.flags.rules import NOTHING, Treatment
from aichat.providers.base import Delta, FinishReason, Usage
from aichat.providers.outgoing import Outgoing


def no_rows(result: "Result") -> Sequence[NewRow]:
    return ()


def store_nothing(result: "Result", error: ApiError | None) -> None:
    pass


class Freshness(Enum):
    """What a request's Cache-Control asks for: any answer, a new one (`no-cache`), or a new one not stored (`no-store`)."""

    ANY = ""
    NEW = "no-cache"
    UNSTORED = "no-store"


class Measured(NamedTuple):
    """The measure of what `messages` make a model read, and the most tokens that it can be read as (see `sent.py`)."""

    messages: Sequence[Any]
    outgoing: Outgoing
    most_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One chat to generate.

    `messages` and `parameters` are in OpenAI's vocabulary; `treatment` is what experiments add. `rows_to_save` returns the
    rows the endpoint wants inserted with the result (a conversation's messages). `store_replay` stores an answer that was
    delivered or charged, with the error it broke off with, for requests that repeat its Idempotency-Key. Both run inside
    the settling transaction and may run more than once.

    `param_names` maps OpenAI's names of fields to those of the client's dialect, for errors. `left_out` names the parts of
    the client's request that no model gets. With `is_length_a_limit` a model that can't write `max_tokens` is asked for
    as many as it can; else the request is refused.
    """

    caller: Caller
    model: str
    kind: str = AIModel.Kind.CHAT.value
    messages: list[dict[str, Any]]
    stream: bool
    max_tokens: int | None = None
    is_length_a_limit: bool = False
    param_names: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    goes_on_as: UUID | None = None  # a stream is finished when its reader leaves, and stopped by this name
    rows_to_save: Callable[["Result"], Sequence[NewRow]] = no_rows
    treatment: Treatment = NOTHING
    store_replay: Callable[["Result", ApiError | None], None] = store_nothing
    freshness: Freshness = Freshness.ANY
    measured: dict[str, Measured] = field(default_factory=dict, compare=False, repr=False)  # by model
    id: UUID = field(default_factory=uuid7)
    request_id: str = field(default_factory=tracing.request_id)
    # The longest answer in tokens: the client's choice, else the experiment variant's, else the default.
    most_tokens: int = field(init=False)
    # The parameters sent upstream: the client's, and the temperature of an experiment's variant.
    sampling: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        treatment, parameters = self.treatment, self.parameters
        most_tokens = self.max_tokens or treatment.max_tokens or settings.DEFAULT_MAX_TOKENS
        object.__setattr__(self, "most_tokens", most_tokens)
        if treatment.temperature is not None:
            parameters = {"temperature": treatment.temperature, **parameters}
        object.__setattr__(self, "sampling", parameters)


# The member that has the text of a tool call, by the call's type.
TEXT_OF_A_CALL = {"function": "arguments", "custom": "input"}


def as_function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool call, or a delta of one, in the shape of a function call: for dialects whose only tools are functions."""
    custom = call.get("custom")
    if custom is None:
        return call.get("function") or {}
    return {"arguments" if name == "input" else name: value for name, value in custom.items()}


@dataclass(slots=True)
class Result:
    """The answer as far as it was delivered; `charged` and `available` are in microcredits."""

    id: UUID
    request_id: str
    model: str = ""
    provider: str = ""
    text: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    reasoning: str = ""  # the thoughts as text, never part of the answer
    reasoning_details: list[dict[str, Any]] = field(default_factory=list)  # see `Delta`
    images: list[str] = field(default_factory=list)  # `data:` or `https:` addresses
    annotations: list[dict[str, Any]] = field(default_factory=list)
    logprobs: dict[str, Any] | None = None
    items: list[dict[str, Any]] = field(default_factory=list)  # see `Delta`
    finish_reason: FinishReason | None = None
    stop_sequence: str | None = None  # the one of the client's that ended the answer, when the provider says so
    is_finish_known: bool = True  # false: the provider's finish word is none of ours, so the answer is not kept
    usage: Usage = field(default_factory=Usage)
    usage_source: str = ""  # whether the provider reported it: UsageRecord.Source
    charged: int = 0
    available: int = 0
    credits_low: bool = False
    max_tokens_capped: int | None = None  # shorter than asked for, because the credits did not cover more
    cached: bool = False
    age: int = 0  # seconds since a cached answer was made
    cache: Literal["hit", "miss", "bypass"] = "bypass"  # what the prompt cache had to do with it
    fallback: bool = False
    dropped_parameters: tuple[str, ...] = ()  # the client's, not sent to the model that serves
    is_begun: bool = False  # whether the client was told that the answer has begun

    @property
    def is_empty(self) -> bool:
        """Whether nothing was delivered, not even a beginning."""
        return not self.is_begun

    @property
    def has_answer(self) -> bool:
        """Whether there is any part of the answer itself: text, a call or a picture."""
        return bool(self.text or self.tool_calls or self.images)

    def add(self, delta: Delta) -> None:
        """Append a piece of the answer."""
        self.text += delta.text
        self.reasoning += delta.reasoning
        if delta.is_text:
            return
        self.add_tool_calls(delta.tool_calls)
        self.reasoning_details += delta.reasoning_details
        self.images += delta.images
        self.annotations += delta.annotations
        self.items += delta.items
        if delta.logprobs:
            self.logprobs = merged_logprobs(self.logprobs, delta.logprobs)

    def add_tool_calls(self, deltas: tuple[dict[str, Any], ...]) -> None:
        """Merge OpenAI tool call deltas: pieces with the same index belong together, their arguments are joined."""
        for delta in deltas:
            index = delta.get("index", len(self.tool_calls))
            while len(self.tool_calls) <= index:
                kind = delta.get("type") or "function"
                self.tool_calls.append({"id": "", "type": kind, kind: {"name": "", TEXT_OF_A_CALL[kind]: ""}})
            tool_call = self.tool_calls[index]
            kind = tool_call["type"]
            text, piece = TEXT_OF_A_CALL[kind], delta.get(kind) or {}
            tool_call["id"] = delta.get("id") or tool_call["id"]
            if "extra_content" in delta:  # Gemini's thought signature, which the client is to send back
                tool_call["extra_content"] = delta["extra_content"]
            tool_call[kind]["name"] += piece.get("name") or ""
            tool_call[kind][text] += piece.get(text) or ""


def merged_logprobs(before: dict[str, Any] | None, more: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's `logprobs` of a whole answer: its lists (`content`, `refusal`) are joined."""
    if before is None:
        return dict(more)
    joined = {name: (before.get(name) or []) + value for name, value in more.items() if isinstance(value, list)}
    return {**before, **joined}


# --- Events, in the order they come -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The first piece of the answer has come; `result` names the model that serves it."""

    result: Result


Piece = Delta  # goes on to the client as the provider's adapter made it


@dataclass(frozen=True, slots=True)
class Completed:
    """The answer is whole, and its settlement is committed."""

    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer broke off after its first piece; what was delivered is settled."""

    error: ApiError
    result: Result


Ending = Completed | Failed
GenerationEvent = Started | Piece | Ending
EventSink = Callable[[GenerationEvent], Awaitable[None]]  # it may wait, and then nothing more is read from the provider
Generate = Callable[["GenerationRequest", EventSink | None], Coroutine[Any, Any, Ending]]


class ResponseFormat(Protocol):
    """How an endpoint encodes a generation: the whole answer with its headers, and the events of a stream."""

    def whole(self, result: Result) -> tuple[bytes, dict[str, str]]: ...

    def headers(self, event: GenerationEvent) -> dict[str, str]: ...

    def encode(self, event: GenerationEvent) -> bytes: ...

    def encode_error(self, error: ApiError) -> bytes: ...
