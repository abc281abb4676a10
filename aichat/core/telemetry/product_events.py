"""Product events: code says what happened, sinks decide who hears.

    events.emit(events.ApiKeyCreated(user=user.pk, key=row.id))

The classes below are the whole catalogue: a name, whom it is about, and its facts, which are identifiers and numbers, never
message contents, e-mail addresses, keys or comments. `emit` is called after the commit that made it true; it never raises and
never waits: a sink that is slow or broken can't touch a request.
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
        """What else is known, as JSON has it; what is not known is left out."""
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
    """`method` is `password` or `sso`."""

    name = "signed_up"
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyCreated(ProductEvent):
    """`key` is the key's ID, which opens nothing."""

    name = "api_key_created"
    key: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRevoked(ProductEvent):
    name = "api_key_revoked"
    key: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstChat(ProductEvent):
    """Told once for each user, by `aichat/analytics`, which hears of every chat."""

    name = "first_chat"
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCompleted(ProductEvent):
    """An answer came to its end and is settled. `charged` is in microcredits."""

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
    """No answer, or not the whole of it: `outcome` is the usage record's status. `charged` is in microcredits."""

    name = "chat_failed"
    model: str
    provider: str
    outcome: str
    charged: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCompleted(ProductEvent):
    """`images` were delivered for `charged` microcredits."""

    name = "image_completed"
    model: str
    provider: str
    images: int
    charged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFailed(ProductEvent):
    """An image job that ended without a picture; `status` is `failed` or `cancelled`, `code` that of the API's error."""

    name = "image_failed"
    status: str
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditsLow(ProductEvent):
    """A charge took the organization's `balance` (microcredits) below LOW_CREDITS: told once each time that happens."""

    name = "credits_low"
    balance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedForCredits(ProductEvent):
    """402: the wallet did not cover the request. `affordable` is what it could have held, in microcredits."""

    name = "refused_for_credits"
    model: str
    affordable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitHit(ProductEvent):
    """A request was refused by a limit: `requests`, `streams` or `spending`.

    The first two at most once a minute for each user in each process, since a loop gone wild meets them a thousand times.
    """

    name = "limit_hit"
    limit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackGiven(ProductEvent):
    """`rating` is 1 or -1, of an answer that `model` wrote. The comment stays where it is."""

    name = "feedback_given"
    model: str
    rating: int
    experiment: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagExposed(ProductEvent):
    """A flag (`on` or `off`) or an experiment decided something for the user: at most once a day in each process."""

    name = "flag_exposed"
    flag: str
    variant: str


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
    )
}


AMOUNTS = {"charged", "balance", "affordable"}  # facts in microcredits, whatever the event

# --- Telling ----------------------------------------------------------------------------------------------------------

Sink = Callable[[ProductEvent], None]
_sinks: list[Sink] = []


def register(sink: Sink) -> None:
    """Called once at start (`AppConfig.ready`); the sink must return at once."""
    _sinks.append(sink)


def emit(event: ProductEvent) -> None:
    """Tell every sink."""
    for sink in _sinks:
        try:
            sink(event)
        except Exception:
            logger.exception("event sink failed", extra={"event": event.name})


class OncePerPeriod:
    """For what would be told too often: each key once in a period of `seconds`, in this process.

    Periods begin at multiples of `seconds` since 1970, so one of 86,400 is a UTC day. Beyond `most` keys it forgets them.
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
    """`LimitHit`, not more than once a minute for each user and limit."""
    if _limits.allows((limit, user)):
        emit(LimitHit(user=user, organization=organization, limit=limit))
