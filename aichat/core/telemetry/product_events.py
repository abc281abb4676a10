"""Product events: code emits what a person did or met, and sinks store it or pass it on.

    product_events.emit(product_events.ApiKeyCreated(user=user.pk, key=row.id))

The classes below are the whole catalogue. An event has a name, the user it is about, and facts, which are identifiers and
numbers, never message contents, e-mail addresses, keys or comments. `emit` is called after the commit that made the event
true; `emit` never raises and never waits: a sink that is slow or broken can't touch a request.
"""

import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductEvent:
    """Something a person did or met."""

    name: ClassVar[str]
    user: UUID
    organization: UUID | None = None

    def facts(self) -> dict[str, Any]:
        """The event's facts as JSON values, without name, user and organization; a fact without a value is left out."""
        found = {}
        for name in _fact_names(type(self)):  # type: ignore[arg-type]  # a class has a hash, mypy
            value = getattr(self, name)
            if value not in ("", None):
                found[name] = str(value) if isinstance(value, UUID) else value
        return found


@cache
def _fact_names(kind: type) -> list[str]:
    return [field.name for field in fields(kind) if field.name not in ("user", "organization")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedUp(ProductEvent):
    """A person signed up. `method` is `password` or `sso`."""

    name = "signed_up"
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyCreated(ProductEvent):
    """A person made an API key. `key` is its ID, which opens nothing."""

    name = "api_key_created"
    key: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRevoked(ProductEvent):
    name = "api_key_revoked"
    key: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstChat(ProductEvent):
    """A user's first chat came to its end. `aichat/analytics`, a sink of every `ChatCompleted`, emits the event."""

    name = "first_chat"
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCompleted(ProductEvent):
    """A chat's answer came to its end and was settled. `charged` is in microcredits."""

    name = "chat_completed"
    model: str
    provider: str
    streamed: bool
    fallback: bool
    input_tokens: int
    output_tokens: int
    charged: int
    latency_ms: int
    cached: bool = False
    experiment: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFailed(ProductEvent):
    """A chat got no answer, or not the whole one. `outcome` is the usage record's status; `charged` is in microcredits."""

    name = "chat_failed"
    model: str
    provider: str
    outcome: str
    charged: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCompleted(ProductEvent):
    """An image job delivered `images` pictures and charged `charged` microcredits."""

    name = "image_completed"
    model: str
    provider: str
    images: int
    charged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFailed(ProductEvent):
    """An image job ended without a picture. `status` is `failed` or `cancelled`, `code` is the code of the API's error."""

    name = "image_failed"
    status: str
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditsLow(ProductEvent):
    """A charge took the organization's `balance` (microcredits) below LOW_CREDITS: emitted once each time that happens."""

    name = "credits_low"
    balance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedForCredits(ProductEvent):
    """The wallet did not cover a request (402). `affordable` is what the wallet could have held, in microcredits."""

    name = "refused_for_credits"
    model: str
    affordable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitHit(ProductEvent):
    """A request was refused by a limit: `requests`, `streams` or `spending`.

    `requests` and `streams` are emitted at most once a minute for each user in each process: a runaway client meets them a
    thousand times.
    """

    name = "limit_hit"
    limit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackGiven(ProductEvent):
    """A person rated an answer of `model`: `rating` is 1 or -1. The person's comment is no part of the event."""

    name = "feedback_given"
    model: str
    rating: int
    experiment: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagExposed(ProductEvent):
    """A flag (`on` or `off`) or an experiment decided something for the user; emitted at most once a day in each process."""

    name = "flag_exposed"
    flag: str
    variant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageImplausible(ProductEvent):
    """A provider reported figures that can't be true (`input`, `output`, as a text), and was not believed."""

    name = "usage_implausible"
    model: str
    provider: str
    reported: str
    input_tokens: int
    output_tokens: int


CATALOG: dict[str, type[ProductEvent]] = {
    kind.name: kind
    for kind in (
        SignedUp,
        ApiKeyCreated,
        ApiKeyRevoked,
        FirstChat,
        ChatCompleted,
        ChatFailed,
        ImageCompleted,
        ImageFailed,
        CreditsLow,
        RefusedForCredits,
        LimitHit,
        FeedbackGiven,
        FlagExposed,
        UsageImplausible,
    )
}


AMOUNTS = {"charged", "balance", "affordable"}  # names of the facts that are microcredits in every event

# --- Sinks ------------------------------------------------------------------------------------------------------------

Sink = Callable[[ProductEvent], None]
_sinks: list[Sink] = []


def register(sink: Sink) -> None:
    """Add a sink, once at start (`AppConfig.ready`). The sink must return at once: a request waits for it."""
    _sinks.append(sink)


def emit(event: ProductEvent) -> None:
    """Give the event to every sink; a sink's error is logged, never raised."""
    for sink in _sinks:
        try:
            sink(event)
        except Exception:
            logger.exception("event sink failed", extra={"event": event.name})


class OncePerPeriod:
    """Allows each key once in a period of `seconds`, in this process.

    Periods begin at multiples of `seconds` since 1970, so a period of 86,400 is a UTC day. Once `most` keys were seen, all
    are forgotten.
    """

    def __init__(self, seconds: float, most: int = 50_000) -> None:
        self.seconds, self.most = seconds, most
        self._period = 0.0
        self._seen: set[Hashable] = set()

    def allows(self, key: Hashable) -> bool:
        period = time.time() // self.seconds
        if period != self._period or len(self._seen) >= self.most:
            self._period, self._seen = period, set()
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


_limits = OncePerPeriod(60)


def limit_hit(limit: str, user: UUID, organization: UUID | None = None) -> None:
    """Emit `LimitHit`, at most once a minute for each user and limit in this process."""
    if _limits.allows((limit, user)):
        emit(LimitHit(user=user, organization=organization, limit=limit))
