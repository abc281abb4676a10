"""Redis: shared by all processes, never needed. When it fails or dawdles, everything goes on without it.

A leaf. `django.core.cache.cache` is the way to the cache; a command that fails is a miss. On the event loop it is
`await cache.ask("GET", key)`: commands of concurrent requests share a round trip, and no thread is needed. What else
speaks to Redis does so inside `guarded()`. Both raise `CacheUnavailable`, for which the caller has an answer of its own.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import redis
from django.conf import settings
from django_redis import get_redis_connection
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.client import Pipeline

from aichat import lifecycle

logger = logging.getLogger(__name__)

PAUSE = 5.0  # seconds without Redis after a failure, so that a slow one costs one request CACHE_TIMEOUT, not all
WARN_EVERY = 60.0  # seconds
SLICES = 10  # of CACHE_TIMEOUT: how often the event loop has gone round at least before Redis is called slow


class CacheUnavailable(redis.ConnectionError):
    """Redis failed, or failed a moment ago and is left alone."""


class _Health:
    """What this process knows of Redis."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.failing = False
        self.next_try = 0.0
        self.next_warning = 0.0

    def may_try(self) -> bool:
        """Always while it works; while it fails, one caller every `PAUSE` seconds."""
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
    """Around commands to Redis. Raises `CacheUnavailable` when it can't be reached, or at once while it is left alone."""
    if not health.may_try():
        raise CacheUnavailable("Redis failed a moment ago")
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        health.failed(error)
        raise CacheUnavailable(str(error)) from error
    health.worked()


class GuardedRedis(redis.Redis):
    """The client under django-redis, which answers a miss for what fails."""

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
    """The connections to REDIS_URL, for what speaks to Redis beside the cache: inside `guarded()`."""
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


# --- On the event loop ------------------------------------------------------------------------------------------------

Command = tuple[str | bytes | int | float, ...]


def ask(*command: str | bytes | int | float) -> "asyncio.Future[Any]":
    """Send a command to Redis: `await cache.ask("GET", cache_key("x"))`; the answer is bytes, an int, a list or None.

    It is sent with everything else that is asked before the event loop goes round, so whoever has several questions
    asks them all before awaiting the first. Raises `CacheUnavailable` when Redis fails, does not answer within
    CACHE_TIMEOUT, or none is configured; `redis.ResponseError` for a wrong command.
    """
    loop = asyncio.get_running_loop()
    if not settings.REDIS_URL:
        unanswered: asyncio.Future[Any] = loop.create_future()
        unanswered.set_exception(CacheUnavailable("REDIS_URL is not set"))
        return unanswered
    line = _lines.get(loop)
    if line is None or line.url != settings.REDIS_URL:
        line = _lines[loop] = _Line(settings.REDIS_URL)
    return line.ask(command)


def cache_key(key: str) -> str:
    """The name in Redis of what `django.core.cache.cache` knows as `key`."""
    return f"aichat:1:{key}"


class _Line:
    """The connection of one event loop. What is asked while an exchange is under way goes together in the next one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection: AbstractConnection | None = None
        self.waiting: list[tuple[Command, asyncio.Future[Any]]] = []
        self.is_busy = False

    def ask(self, command: Command) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append((command, future))
        if not self.is_busy:
            self.is_busy = True
            lifecycle.spawn(self.work())
        return future

    async def work(self) -> None:
        try:
            while self.waiting:
                batch, self.waiting = self.waiting, []
                await self.answer(batch)
        finally:
            self.is_busy = False

    async def answer(self, batch: list[tuple[Command, "asyncio.Future[Any]"]]) -> None:
        try:
            with guarded():
                answers = await self.exchange([command for command, _ in batch])
        except CacheUnavailable as error:
            answers = [CacheUnavailable(str(error)) for _ in batch]
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue  # who asked was cancelled
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def exchange(self, commands: list[Command]) -> list[Any]:
        """All answers, in order; a refused command's is its error. Raises `redis.ConnectionError`, `redis.TimeoutError`."""
        try:
            async with _Patience(settings.CACHE_TIMEOUT):
                if self.connection is not None:
                    try:
                        return await self.send(self.connection, commands)
                    except redis.ConnectionError:
                        await self.close()  # Redis had closed it since: that is no failure before a new one fails
                self.connection = _connection(self.url)
                await self.connection.connect()  # type: ignore[no-untyped-call]
                return await self.send(self.connection, commands)
        except BaseException as error:
            await self.close()  # an answer may still come, which would be taken for the next command's
            if isinstance(error, TimeoutError):
                raise redis.TimeoutError("no answer in time") from error
            raise

    async def send(self, connection: AbstractConnection, commands: list[Command]) -> list[Any]:
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await connection.read_response())
            except redis.ResponseError as error:
                answers.append(error)
        return answers

    async def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


class _Patience:
    """`asyncio.timeout`, by a clock that stands while the event loop is busy with other things.

    An answer that lies in the socket while a hundred requests arrive is not one that Redis owes us, and a process that
    took Redis for dead then would ask without its locks. So the time is waited for in slices, each of which costs no
    more than its length however late the loop comes back to it.
    """

    def __init__(self, seconds: float) -> None:
        self.slice = seconds / SLICES
        self.left = SLICES

    async def __aenter__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.timeout = asyncio.timeout(None)
        await self.timeout.__aenter__()
        self.timer = self.loop.call_later(self.slice, self.tick)

    def tick(self) -> None:
        self.left -= 1
        if self.left:
            self.timer = self.loop.call_later(self.slice, self.tick)
        else:
            self.timeout.reschedule(self.loop.time())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.timer.cancel()
        await self.timeout.__aexit__(kind, error, trace)


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()


def _connection(url: str) -> AbstractConnection:
    """Not connected yet. Without limits of its own for each command: `exchange` sets one for all together."""
    options: dict[str, Any] = dict(parse_url(url))
    kind: type[AbstractConnection] = options.pop("connection_class", Connection)
    return kind(**options, socket_timeout=None, retry=Retry(NoBackoff(), 0))


@lifecycle.on_shutdown
async def _hang_up() -> None:
    if line := _lines.pop(asyncio.get_running_loop(), None):
        await line.close()
