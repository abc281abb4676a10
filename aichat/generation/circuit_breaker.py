"""Circuit breakers: requests skip a model that keeps failing, so that nobody waits for it.

There is one breaker per provider and model. Its state is in Django's cache: with Redis all processes share it, without
Redis each has its own. A breaker opens after BREAKER_FAILURES retryable failures in a row, or at once for the time that a
429 asks for with Retry-After; the longer cool-down wins. After the cool-down exactly one request tries (half-open): its
success closes the breaker, its failure opens it again. While the cache fails, breakers count as closed.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.core.cache import cache, caches
from django.core.cache.backends.locmem import LocMemCache
from redis import RedisError

from aichat.catalog.snapshot import ModelInfo
from aichat.core.background import lifecycle
from aichat.core.redis import pipeline as redis
from aichat.providers.errors import AttemptOutcome, ProviderError

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

LONGEST_COOLDOWN = 3600.0  # seconds, whatever a Retry-After says
ERROR_KEPT = 86_400  # seconds for which the last failure of a model is shown to the operator
FORGET = 600  # seconds without a failure after which the count begins anew, and an open breaker is closed
WELL_SECONDS = 0.2  # for which a closed breaker is not read again; a process learns of another's failures so much later
NEVER = float("-inf")
LONGEST_SAID = 300  # characters of a provider's words that are kept
# Failures whose words are about the server, the key or the account, and not about what a user wrote.
ABOUT_US = frozenset(
    {
        AttemptOutcome.UNREACHABLE,
        AttemptOutcome.AUTH_FAILURE,
        AttemptOutcome.MODEL_MISSING,
        AttemptOutcome.RATE_LIMITED,
        AttemptOutcome.OVERLOADED,
    }
)
CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


@dataclass(slots=True)
class Breaker:
    """One model's breaker as read at the start of a request. Times are seconds since 1970."""

    provider: str
    model: str
    failures: int = 0
    open_until: float = 0.0
    probing: bool = False

    @property
    def state(self) -> str:
        if not self.open_until:
            return CLOSED
        return OPEN if time() < self.open_until else HALF_OPEN

    @property
    def is_callable(self) -> bool:
        """Whether the breaker is closed or half-open."""
        return not self.open_until or time() >= self.open_until

    @property
    def wait(self) -> float:
        """Seconds until the model may be tried again."""
        return max(0.0, self.open_until - time())

    def key(self, what: str) -> str:
        return f"breaker:{what}:{self.provider}:{self.model}"

    async def admits(self) -> bool:
        """Whether this request may call the model: when half-open, one of all requests may."""
        if not self.open_until:
            return True
        if self.state == HALF_OPEN:
            self.probing = bool(await _ask(cache.add, self.key("probe"), 1, _probe_time()))
            return self.probing
        return False

    async def failed(self, error: ProviderError) -> None:
        """Count a failure that could be the provider's fault."""
        await _ask(self._count, error)
        _well.pop((self.provider, self.model), None)

    def succeeded(self) -> None:
        """Close the breaker in the background: the provider answered."""
        if self.probing:
            _write(cache.delete_many, [self.key("open"), self.key("failures"), self.key("probe")])
            logger.info("%s of %s answers again", self.model, self.provider)
        elif self.failures:
            _write(cache.delete, self.key("failures"))

    def left(self) -> None:
        """Let another request probe: this one ended without showing whether the provider is well."""
        if self.probing:
            _write(cache.delete, self.key("probe"))

    def _count(self, error: ProviderError) -> None:
        keep_error(self.provider, self.model, error)
        cache.add(self.key("failures"), 0, FORGET)
        try:
            failures = cache.incr(self.key("failures")) or 0
        except ValueError:  # it was reset just now
            failures = 1
        cooldown = settings.BREAKER_COOLDOWN if self.probing or failures >= settings.BREAKER_FAILURES else 0.0
        if error.outcome is AttemptOutcome.RATE_LIMITED and error.retry_after:
            cooldown = max(cooldown, min(error.retry_after, LONGEST_COOLDOWN))
        if cooldown:
            until = max(time() + cooldown, float(cache.get(self.key("open")) or 0))
            cache.set(self.key("open"), until, until - time() + FORGET)
            facts = {"model": self.model, "provider": self.provider, "seconds": round(until - time(), 1)}
            logger.warning("%(provider)s: %(model)s is left alone for %(seconds)s s", facts, extra=facts)
        if self.probing:
            cache.delete(self.key("probe"))


# When this process last saw that nothing is wrong with a model, in monotonic seconds.
_well: dict[tuple[str, str], float] = {}


class BreakerReading:
    """The breakers of `models`, asked for when this is made, so that the question shares a round trip with others.

    Breakers that were closed `WELL_SECONDS` ago are not asked for.
    """

    def __init__(self, models: Sequence[ModelInfo]) -> None:
        self.found, self.now = _closed(models), monotonic()
        self.is_well, self.answer = True, None
        for item in self.found:
            if self.now - _well.get((item.provider, item.model), NEVER) > WELL_SECONDS:
                self.is_well = False
        if not self.is_well and settings.REDIS_URL:
            self.answer = redis.ask("MGET", *(redis.cache_key(key) for key in _keys(self.found)))

    async def breakers(self) -> list[Breaker]:
        """The breakers in the order of the models; closed ones while the cache fails."""
        if self.is_well:
            return self.found
        try:
            values = await self.answer if self.answer is not None else _values(self.found)
        except Exception as error:
            if not isinstance(error, RedisError):
                logger.exception("the cache failed; the breakers count as closed")
            return self.found
        for item in _filled(self.found, values):
            if not item.failures and not item.open_until:
                _well[item.provider, item.model] = self.now
        return self.found


def keep_error(provider: str, model: str, error: ProviderError) -> None:
    """Keep when and how the model failed last, for the operator to see.

    The provider's own words are kept only for failures that are ABOUT_US: others may repeat what a user wrote.
    """
    said = str(error)[:LONGEST_SAID] if error.outcome in ABOUT_US else ""
    value = {"at": time(), "outcome": error.outcome.value, "said": said}
    cache.set(Breaker(provider, model).key("error"), value, ERROR_KEPT)


def close(provider: str, model: str) -> None:
    """Close a model's breaker and forget its last failure, in synchronous code: it has just answered a test."""
    breaker = Breaker(provider, model)
    cache.delete_many([breaker.key(what) for what in ("open", "failures", "probe", "error")])


async def look(models: Sequence[ModelInfo]) -> list[Breaker]:
    """The breakers of `models`, in order, read in one trip to the cache unless all were closed `WELL_SECONDS` ago."""
    return await BreakerReading(models).breakers()


def forget() -> None:
    """Read every breaker again (for tests)."""
    _well.clear()


def states(models: Iterable[ModelInfo]) -> list[Breaker]:
    """The breakers of `models`, in order, for synchronous code (the admin, `/readyz`)."""
    found = _closed(models)
    return _filled(found, _values(found))


def _values(breakers: Sequence[Breaker]) -> list[Any]:
    """What Django's cache holds for the keys of the breakers."""
    keys = _keys(breakers)
    known: dict[str, Any] = cache.get_many(keys)
    return [known.get(key) for key in keys]


def _closed(models: Iterable[ModelInfo]) -> list[Breaker]:
    return [Breaker(model.provider.slug, model.slug) for model in models]


def _keys(breakers: Iterable[Breaker]) -> list[str]:
    return [breaker.key(what) for breaker in breakers for what in ("failures", "open")]


def _filled(breakers: list[Breaker], values: Sequence[Any]) -> list[Breaker]:
    for breaker, failures, open_until in zip(breakers, values[::2], values[1::2], strict=True):
        breaker.failures, breaker.open_until = int(failures or 0), float(open_until or 0)
    return breakers


def describe(models: Iterable[ModelInfo]) -> list[dict[str, object]]:
    """The breakers that are not closed, for `/readyz`; empty when the cache does not answer."""
    try:
        found = states(models)
    except Exception:
        logger.exception("the breakers can't be read")
        return []
    return [
        {"provider": item.provider, "model": item.model, "state": item.state, "retry_after": round(item.wait, 1)}
        for item in found
        if item.state != CLOSED
    ]


def _probe_time() -> float:
    """Seconds after which another request may probe although the first one's process died without an answer."""
    return float(settings.CHAT_TOTAL_TIMEOUT) + 10


async def _ask(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Run cache work: at once when the cache is in this process, else on a thread. Returns None when the cache fails."""
    try:
        if isinstance(caches["default"], LocMemCache):
            return work(*args, **kwargs)
        return await asyncio.to_thread(work, *args, **kwargs)
    except Exception:
        logger.exception("the cache failed; the breaker counts as closed")
        return None


def _write(work: Callable[..., Any], *args: Any) -> None:
    lifecycle.spawn(_ask(work, *args))
