"""Rate limits by the `limits` library, whose windows are exact under concurrency (DRF's own throttle is not).

Counted in Redis for all processes together; without it, or while it fails, by each process for itself.
"""

import functools
import time

from django.conf import settings
from django.http import HttpRequest
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from rest_framework.request import Request

from aichat import cache
from aichat.errors import RateLimited

PERIODS = {"sec": "second", "min": "minute", "hour": "hour", "day": "day"}


_own = MovingWindowRateLimiter(MemoryStorage())


@functools.cache
def _shared(redis_url: str) -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(RedisStorage(redis_url, connection_pool=cache.pool()))


@functools.cache
def _item(rate: str) -> RateLimitItem:
    count, period = rate.split("/")
    return parse(f"{count}/{PERIODS[period]}")


def hit(rate: str, *identifiers: str) -> None:
    """Count one attempt of `identifiers` against `rate` ("10/min"); raises `RateLimited` with the time to wait."""
    item = _item(rate)
    if settings.REDIS_URL:
        try:
            with cache.guarded():
                _count(_shared(settings.REDIS_URL), item, identifiers)
            return
        except cache.CacheUnavailable:
            pass
    _count(_own, item, identifiers)


def _count(limiter: MovingWindowRateLimiter, item: RateLimitItem, identifiers: tuple[str, ...]) -> None:
    if not limiter.hit(item, *identifiers):
        window = limiter.get_window_stats(item, *identifiers)
        raise RateLimited(retry_after=window.reset_time - time.time())


def hit_sign_in(request: Request | HttpRequest, action: str, email: str) -> None:
    """Login and registration: limited by address, and by the e-mail tried, whatever address it comes from."""
    hit(settings.RATE_LIMIT_AUTH, action, "address", request.META.get("REMOTE_ADDR", ""))
    hit(settings.RATE_LIMIT_AUTH, action, "email", email.strip().lower())


def reset() -> None:
    """Forget this process's counts (for tests)."""
    _own.storage.reset()
