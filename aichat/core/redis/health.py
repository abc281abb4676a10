"""The health of Redis: after a failure no process asks Redis for PAUSE seconds, and requests go on without Redis."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from django.conf import settings
from django_redis import get_redis_connection
from redis.client import Pipeline

logger = logging.getLogger(__name__)

PAUSE = 5.0  # seconds without Redis after a failure, so that a slow one costs one request CACHE_TIMEOUT, not all
WARN_EVERY = 60.0  # seconds


class CacheUnavailable(redis.ConnectionError):
    """Redis failed now, or failed less than PAUSE seconds ago and is not asked."""


class _Health:
    """Whether Redis is failing for this process, and when the next try and the next warning are due."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.failing = False
        self.next_try = 0.0
        self.next_warning = 0.0

    def may_try(self) -> bool:
        """Whether the caller may ask Redis: always while Redis works, else one caller every PAUSE seconds."""
        if not self.failing:
            return True
        with self.lock:
            now = time.monotonic()
            if now < self.next_try:
                return False
            self.next_try = now + PAUSE
            return True

    def failed(self, error: BaseException) -> None:
        with self.lock:
            now = time.monotonic()
            self.failing, self.next_try = True, now + PAUSE
            if now < self.next_warning:
                return
            self.next_warning = now + WARN_EVERY
        logger.warning("going on without Redis: %s", error)

    def worked(self) -> None:
        if self.failing:
            self.failing = False
            logger.info("Redis answers again")


health = _Health()


@contextmanager
def guarded() -> Iterator[None]:
    """Run commands to Redis inside. Raises `CacheUnavailable` when Redis fails, or at once during the pause after that."""
    if not health.may_try():
        raise CacheUnavailable("Redis failed a moment ago")
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        health.failed(error)
        raise CacheUnavailable(str(error)) from error
    health.worked()


class GuardedRedis(redis.Redis):
    """The client under django-redis, which treats a failed command as a cache miss."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        with guarded():
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        return _GuardedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _GuardedPipeline(Pipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:
        with guarded():
            return super().execute(raise_on_error)


def pool() -> redis.ConnectionPool:
    """The connections to REDIS_URL, for commands other than the cache's. Use them inside `guarded()`."""
    connections: redis.ConnectionPool = get_redis_connection("default").connection_pool
    return connections


def ping() -> bool:
    """Whether Redis answers within CACHE_TIMEOUT; true where none is configured."""
    if not settings.REDIS_URL:
        return True
    try:
        return bool(redis.Redis(connection_pool=pool()).ping())
    except redis.RedisError:
        return False
