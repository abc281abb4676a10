"""Rate limits: the last N hits of each identifier are remembered with their time, so limits are exact under concurrency
(DRF's own throttle is not).

Counted in Redis for all processes together; without it, or while it fails, by each process for itself.

Every caller has the rate of their role over all their tokens together (RATE_LIMIT_USER …), and an API key may have a
lower one of its own. Answers say where the caller stands in the fields of draft-ietf-httpapi-ratelimit-headers-06
(`RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset` in seconds), and refusals have `Retry-After`.
"""

import asyncio
import functools
import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import redis
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.authentication import Caller
from aichat.core.errors import RateLimited
from aichat.core.redis import health
from aichat.core.redis.pipeline import Script
from aichat.core.telemetry import product_events, tracing

SIGNED_IN_SECONDS = 30 * 86_400  # how long a network counts as one its owner signs in from
RATE_OF_CODES = "30/hour"  # of a person: three of a million codes are right at a time
PERIODS = {"sec": 1, "min": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True, slots=True)
class RateState:
    """The state of a rate window after a hit; `reset` is in seconds from now."""

    allowed: bool
    limit: int
    remaining: int
    reset: float

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(max(0, math.ceil(self.reset))),
        }


class RateWindow(NamedTuple):
    """At most `limit` hits of `name` in any `period` seconds."""

    name: str
    limit: int
    period: int


@functools.lru_cache(maxsize=10_000)  # more than the callers of a moment
def window(rate: str, *identifiers: str) -> RateWindow:
    """Return the window of a rate such as "10/min"."""
    return RateWindow(":".join(("rate", rate, *identifiers)), *_parsed(rate))


@functools.cache
def _parsed(rate: str) -> tuple[int, int]:
    count, period = rate.split("/")
    return int(count), PERIODS[period]


# A list per window: the times of its hits (microseconds by Redis's clock), the oldest first; old ones are dropped as new
# ones come. One script, so that looking and counting are one step for everybody. A refused hit counts in no window.
HIT = Script.of("""
local time = redis.call('time')
local now, allowed, answer = time[1] * 1000000 + time[2], 1, {}
for i, key in ipairs(KEYS) do
  local limit, period = tonumber(ARGV[2 * i - 1]), ARGV[2 * i] * 1000000
  local oldest = redis.call('lindex', key, 0)
  while oldest and tonumber(oldest) <= now - period do
    redis.call('lpop', key)
    oldest = redis.call('lindex', key, 0)
  end
  if redis.call('llen', key) >= limit then allowed = 0 end
end
answer[1] = allowed
for i, key in ipairs(KEYS) do
  if allowed == 1 then
    redis.call('rpush', key, string.format('%.0f', now))
    redis.call('expire', key, ARGV[2 * i])
  end
  local oldest = redis.call('lindex', key, 0)
  answer[2 * i] = redis.call('llen', key)
  answer[2 * i + 1] = oldest and oldest + ARGV[2 * i] * 1000000 - now or 0
end
return answer
""")


class RateWindows:
    """Rate windows in this process's memory, for when there is no Redis or Redis fails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hits: dict[RateWindow, deque[float]] = {}
        self._tidy_at = 1000  # windows

    def hit(self, windows: Sequence[RateWindow]) -> list[RateState]:
        now = time.monotonic()
        with self._lock:
            found, allowed = [], True
            for one in windows:
                found.append(hits := self._current(one, now))
                allowed = allowed and len(hits) < one.limit
            states = []
            for one, hits in zip(windows, found, strict=True):
                if allowed:
                    hits.append(now)
                left, reset = max(0, one.limit - len(hits)), hits[0] + one.period - now if hits else 0
                states.append(RateState(allowed, one.limit, left, reset))
            return states

    def _current(self, one: RateWindow, now: float) -> deque[float]:
        hits = self._hits.get(one)
        if hits is None:
            if len(self._hits) >= self._tidy_at:
                self._tidy(now)
            hits = self._hits[one] = deque()
        while hits and hits[0] <= now - one.period:
            hits.popleft()
        return hits

    def _tidy(self, now: float) -> None:
        self._hits = {one: hits for one, hits in self._hits.items() if hits and hits[-1] > now - one.period}
        self._tidy_at = max(1000, 2 * len(self._hits))

    def reset(self) -> None:
        self._hits.clear()


_own = RateWindows()
MOST_REFUSED = 10_000  # callers
_refused: dict[UUID, float] = {}  # by user: when a request was refused last (monotonic seconds)


def _words(windows: Sequence[RateWindow]) -> tuple[list[str], list[int]]:
    """Return the keys and the arguments of the script `HIT` for these windows."""
    return [one.name for one in windows], [number for one in windows for number in (one.limit, one.period)]


def _states(windows: Sequence[RateWindow], answer: list[int]) -> list[RateState]:
    allowed, *facts = answer
    return [
        RateState(bool(allowed), one.limit, max(0, one.limit - used), reset / 1_000_000)
        for one, used, reset in zip(windows, facts[::2], facts[1::2], strict=True)
    ]


def hit(rate: str, *identifiers: str) -> RateState:
    """Count one attempt of `identifiers` against `rate` ("10/min"); raises `RateLimited` with the time to wait.

    Asks Redis synchronously: do not call it on the event loop.
    """
    (state,) = _hit([window(rate, *identifiers)])
    if not state.allowed:
        tracing.answer_with(state.headers())
        raise RateLimited(retry_after=state.reset)
    return state


def _hit(windows: Sequence[RateWindow]) -> list[RateState]:
    if settings.REDIS_URL:
        try:
            with health.guarded():
                client = redis.Redis(connection_pool=health.pool())
                keys, numbers = _words(windows)
                return _states(windows, client.eval(HIT.text, len(keys), *keys, *numbers))
        except redis.RedisError:
            pass
    return _own.hit(windows)


def windows_of(caller: Caller) -> list[RateWindow]:
    """Return the windows in which a request of the caller counts: that of the role, and that of the key if it has one."""
    found = [window(getattr(settings, f"RATE_LIMIT_{caller.user.role}"), "user", str(caller.user.pk))]
    key = caller.api_key
    if key and key.rate_limit:
        found.append(window(key.rate_limit, "key", str(key.stable_id)))
    return found


def hit_caller(caller: Caller) -> None:
    """Count one request of the caller, by role and by key. Raises `RateLimited`. Do not call it on the event loop."""
    _let_in(caller, _hit(windows_of(caller)))


@dataclass(frozen=True, slots=True)
class PendingHits:
    """A hit that Redis was asked to count before the caller was confirmed."""

    caller: Caller
    windows: list[RateWindow]
    answer: "asyncio.Future[list[int]]"


def ask(caller: Caller) -> PendingHits:
    """Ask Redis to count one request of the caller; `hit_caller_async` awaits the answer."""
    windows = windows_of(caller)
    return PendingHits(caller, windows, HIT.ask(*_words(windows)))


async def hit_caller_async(caller: Caller, before: PendingHits | None = None) -> None:
    """Count one request of the caller, by role and by key, on the event loop. Raises `RateLimited`.

    The hit that was sent `before` is used if it was counted in the same windows, also when the caller was looked up again
    since: one request is one hit.
    """
    if not settings.REDIS_URL:
        _let_in(caller, _own.hit(windows_of(caller)))
        return
    same = before and (before.caller is caller or before.windows == windows_of(caller))
    hit = before if before and same else ask(caller)
    try:
        states = _states(hit.windows, await hit.answer)
    except redis.RedisError:
        states = _own.hit(hit.windows)
    _let_in(caller, states)


def _let_in(caller: Caller, states: Sequence[RateState]) -> None:
    """Tell the caller of the window that has least left. Raises `RateLimited` when the hit was refused."""
    strictest = min(states, key=attrgetter("remaining"))
    tracing.answer_with(strictest.headers())
    if not strictest.allowed:
        if len(_refused) >= MOST_REFUSED:
            _refused.clear()
        _refused[caller.user.pk] = time.monotonic()
        product_events.limit_hit("requests", caller.user.pk, caller.organization.pk)
        raise RateLimited(retry_after=max(state.reset for state in states if state.remaining == 0))


def was_refused(caller: Caller) -> bool:
    """Return whether this process refused a request of the caller for their rate in the last second."""
    return bool(_refused) and time.monotonic() - _refused.get(caller.user.pk, -math.inf) < 1.0


def hit_sign_in(request: Request | HttpRequest, action: str, email: str) -> None:
    """Count a login or registration against two limits: of the client's address, and of the e-mail that is tried."""
    network = network_of(request)
    email = email.strip().lower()
    hit(settings.RATE_LIMIT_AUTH, action, "address", network)
    if not cache.get(_signed_in_key(email, network)):
        hit(settings.RATE_LIMIT_AUTH, action, "email", email)


def remember_sign_in(request: Request | HttpRequest, email: str) -> None:
    """Note that the e-mail's owner signed in from this network: wrong passwords from elsewhere don't keep them out here."""
    cache.set(_signed_in_key(email.strip().lower(), network_of(request)), True, SIGNED_IN_SECONDS)


def hit_code(request: Request | HttpRequest, email: str) -> None:
    """Count a try of a second factor's code. Guesses from elsewhere keep nobody out where they signed in before."""
    network = network_of(request)
    is_known = cache.get(_signed_in_key(email.strip().lower(), network))
    hit(RATE_OF_CODES, "second factor", email.strip().lower(), network if is_known else "")


def network_of(request: Request | HttpRequest) -> str:
    """Return the client's address; for an IPv6 address its /64, since one customer has all of it."""
    address = request.META.get("REMOTE_ADDR", "")
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return str(address)
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
    return str(found)


def _signed_in_key(email: str, network: str) -> str:
    return f"signed-in:{hashlib.sha256(f'{email} {network}'.encode()).hexdigest()}"


class CallerThrottle(BaseThrottle):
    """DRF throttle that counts each authenticated request against the caller's limits. Public routes set their own."""

    def allow_request(self, request: Request, view: Any) -> bool:
        if isinstance(request.auth, Caller):
            hit_caller(request.auth)
        return True


def reset() -> None:
    """Forget this process's counts (for tests)."""
    _own.reset()
    _refused.clear()
