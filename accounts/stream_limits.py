"""Limits the event streams that one user has open at once to STREAMS_PER_USER.

A place is taken before a stream begins and given back when it ends; one whose process died is free again after the
longest time a stream may take. Redis holds the places for all processes together; without Redis, or while
Redis fails, each process counts for itself.
"""

import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import redis
from django.conf import settings

from aichat.core.background import lifecycle
from aichat.core.database.models import uuid7
from aichat.core.errors import RateLimited
from aichat.core.redis import pipeline
from aichat.core.redis.pipeline import Script
from aichat.core.telemetry import product_events

# A sorted set per person: the places by the time (Redis's clock) they become free at the latest. One script, so that
# looking and taking are one step for everybody.
TAKE = Script.of("""
local now = tonumber(redis.call('time')[1])
redis.call('zremrangebyscore', KEYS[1], '-inf', now)
if redis.call('zcard', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('zadd', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
redis.call('expire', KEYS[1], ARGV[3])
return 1
""")


class Places:
    """The streams open in this process: per person, when each place becomes free at the latest (monotonic seconds)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[UUID, dict[UUID, float]] = defaultdict(dict)

    def take(self, user_id: UUID, place: UUID, limit: int, lifetime: float) -> bool:
        """Take a place, if one is free, and return whether one was. One lock holds for both, so `limit` is exact."""
        now = time.monotonic()
        with self._lock:
            taken = self._taken[user_id]
            if len(taken) >= limit:
                taken = self._taken[user_id] = {one: until for one, until in taken.items() if until > now}
            if len(taken) >= limit:
                return False
            taken[place] = now + lifetime
            return True

    def give_back(self, user_id: UUID, place: UUID) -> None:
        with self._lock:
            taken = self._taken[user_id]
            taken.pop(place, None)
            if not taken:
                del self._taken[user_id]


_own = Places()


async def take(user_id: UUID, place: UUID, limit: int, lifetime: float) -> bool:
    """Take a place for a stream of at most `lifetime` seconds. Returns False when the user has `limit` streams open."""
    if settings.REDIS_URL:
        try:
            return bool(await TAKE.ask([_key(user_id)], [str(place), limit, int(lifetime)]))
        except redis.RedisError:
            pass
    return _own.take(user_id, place, limit, lifetime)


def give_back(user_id: UUID, place: UUID) -> None:
    """Free a place in this process and in Redis, which may have come or gone since. Does not wait for Redis."""
    _own.give_back(user_id, place)
    if settings.REDIS_URL:
        lifecycle.spawn(_give_back_shared(user_id, place))


async def _give_back_shared(user_id: UUID, place: UUID) -> None:
    with suppress(redis.RedisError):  # then it is free after its lifetime
        await pipeline.ask("ZREM", _key(user_id), str(place))


def _key(user_id: UUID) -> str:
    return f"streams:{user_id}"


@asynccontextmanager
async def counted(user_id: UUID, lifetime: float = 0) -> AsyncIterator[None]:
    """Hold one of the user's places while a stream is open. Raises `RateLimited` when none is free.

    `lifetime` is the longest time in seconds that the stream may take; 0: that of a chat.
    """
    limit, place = settings.STREAMS_PER_USER, uuid7()
    if not limit:
        yield
        return
    try:
        if not await take(user_id, place, limit, lifetime or 2 * settings.CHAT_TOTAL_TIMEOUT):
            product_events.limit_hit("streams", user_id)
            raise RateLimited(
                f"You have {limit} streams open, the most allowed at once (STREAMS_PER_USER): end one first.",
                retry_after=1,
            )
        yield
    finally:
        give_back(user_id, place)
