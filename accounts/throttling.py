"""Rate limits by the `limits` library, whose windows are exact under concurrency (DRF's own throttle is not).

Counted in Redis for all processes together; without it, or while it fails, by each process for itself.

Every caller has the rate of their role over all their tokens together (RATE_LIMIT_USER …), and an API key may have a
lower one of its own. Answers say where the caller stands in the fields of draft-ietf-httpapi-ratelimit-headers-06
(`RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset` in seconds), and refusals have `Retry-After`.
"""

import functools
import math
import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.authentication import Caller
from aichat import cache, tracing
from aichat.errors import RateLimited

PERIODS = {"sec": "second", "min": "minute", "hour": "hour", "day": "day"}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where somebody stands after a hit; `reset` is in seconds from now."""

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


_own = MovingWindowRateLimiter(MemoryStorage())


@functools.cache
def _shared(redis_url: str) -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(RedisStorage(redis_url, connection_pool=cache.pool()))


@functools.cache
def _item(rate: str) -> RateLimitItem:
    count, period = rate.split("/")
    return parse(f"{count}/{PERIODS[period]}")


def hit(rate: str, *identifiers: str) -> Standing:
    """Count one attempt of `identifiers` against `rate` ("10/min"); raises `RateLimited` with the time to wait.

    Redis is asked: not for the event loop.
    """
    standing = _standing(_item(rate), identifiers)
    if not standing.allowed:
        tracing.answer_with(standing.headers())
        raise RateLimited(retry_after=standing.reset)
    return standing


def _standing(item: RateLimitItem, identifiers: tuple[str, ...]) -> Standing:
    if settings.REDIS_URL:
        try:
            with cache.guarded():
                return _count(_shared(settings.REDIS_URL), item, identifiers)
        except RedisError:
            pass
    return _count(_own, item, identifiers)


def _count(limiter: MovingWindowRateLimiter, item: RateLimitItem, identifiers: tuple[str, ...]) -> Standing:
    allowed = limiter.hit(item, *identifiers)
    window = limiter.get_window_stats(item, *identifiers)
    return Standing(allowed, item.amount, max(0, window.remaining), window.reset_time - time.time())


def hit_caller(caller: Caller) -> None:
    """Count one request of the caller's, by key and by role. Raises `RateLimited`."""
    standings = []
    key = caller.api_key
    if key and key.rate_limit:
        standings.append(hit(key.rate_limit, "key", str(key.id)))
    standings.append(hit(getattr(settings, f"RATE_LIMIT_{caller.user.role}"), "user", str(caller.user.pk)))
    tracing.answer_with(min(standings, key=lambda standing: standing.remaining).headers())


def hit_sign_in(request: Request | HttpRequest, action: str, email: str) -> None:
    """Login and registration: limited by address, and by the e-mail tried, whatever address it comes from."""
    hit(settings.RATE_LIMIT_AUTH, action, "address", request.META.get("REMOTE_ADDR", ""))
    hit(settings.RATE_LIMIT_AUTH, action, "email", email.strip().lower())


class CallerThrottle(BaseThrottle):
    """For DRF views: the limits of whoever is logged in. (Public routes that cost something say their own.)"""

    def allow_request(self, request: Request, view: Any) -> bool:
        if isinstance(request.auth, Caller):
            hit_caller(request.auth)
        return True


def reset() -> None:
    """Forget this process's counts (for tests)."""
    _own.storage.reset()
