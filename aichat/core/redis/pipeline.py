"""Redis: shared by all processes, never needed. When it fails or dawdles, everything goes on without it.

`django.core.cache.cache` is the way to the cache; a command that fails is a miss. On the event loop it is
`await pipeline.ask("GET", key)`: commands of concurrent requests share a round trip, and no thread is needed. What else
speaks to Redis does so inside `health.guarded()`. Both raise `CacheUnavailable`, for which the caller has an answer of
its own.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha1
from typing import Any
from weakref import WeakKeyDictionary

import redis
from django.conf import settings
from hiredis import PushNotification, Reader, pack_command
from redis.asyncio.connection import AbstractConnection, Connection, DefaultParser, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aichat.core.background import lifecycle
from aichat.core.redis.health import CacheUnavailable, health

SLICES = 10  # of CACHE_TIMEOUT: how often the event loop has gone round at least before Redis is called slow


NOTHING = object()  # as yet to read


def ask(*command: str | bytes | int | float) -> "asyncio.Future[Any]":
    """Send a command to Redis: `await cache.ask("GET", cache_key("x"))`; the answer is bytes, an int, a list or None.

    It is sent with everything else that is asked before the event loop goes round, so whoever has several questions
    asks them all before awaiting the first. Raises `CacheUnavailable` when Redis fails, does not answer within
    CACHE_TIMEOUT, or none is configured; `redis.ResponseError` for a wrong command.
    """
    return _ask(pack_command(command))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Script:
    """Runs in Redis as one step. Named by its digest, and sent whole to a Redis that does not know it yet."""

    text: str
    digest: str

    @classmethod
    def of(cls, text: str) -> "Script":
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())

    def ask(self, keys: Sequence[str], args: Sequence[str | bytes | int]) -> "asyncio.Future[Any]":
        """As the function `ask`."""
        words = (len(keys), *keys, *args)
        return _ask(pack_command(("EVALSHA", self.digest, *words)), lambda: pack_command(("EVAL", self.text, *words)))  # type: ignore[arg-type]


def _ask(packed: bytes, whole: Callable[[], bytes] | None = None) -> "asyncio.Future[Any]":
    loop = asyncio.get_running_loop()
    if not settings.REDIS_URL:
        unanswered: asyncio.Future[Any] = loop.create_future()
        unanswered.set_exception(CacheUnavailable("REDIS_URL is not set"))
        return unanswered
    line = _lines.get(loop)
    if line is None or line.url != settings.REDIS_URL:
        line = _lines[loop] = _Line(settings.REDIS_URL)
    return line.ask(packed, whole)


def cache_key(key: str) -> str:
    """The name in Redis of what `django.core.cache.cache` knows as `key`."""
    return f"aichat:1:{key}"


@dataclass(slots=True)
class _Asked:
    """A command, and who waits for its answer since which tick of the line's clock. `whole` makes that of a script which
    Redis does not know by its digest."""

    packed: bytes
    whole: Callable[[], bytes] | None
    answer: "asyncio.Future[Any]"
    since: int


class _Line(asyncio.Protocol):
    """The connection of one event loop. Answers come in the order of the commands, so nothing waits for its turn.

    Whatever is asked is answered within CACHE_TIMEOUT, or all of it fails and the connection is given up: an answer may
    still come, which would be taken for another command's. The clock for that stands while the event loop is busy with
    other things: an answer that lies in the socket while a hundred requests arrive is not one that Redis owes us, and a
    process that took Redis for dead then would ask without its locks.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = asyncio.get_running_loop()
        self.writer: asyncio.StreamWriter | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.to_send: list[_Asked] = []
        self.sent: deque[_Asked] = deque()
        self.will_flush = False
        self.ticks = 0
        self.timer: asyncio.TimerHandle | None = None

    def ask(self, packed: bytes, whole: Callable[[], bytes] | None) -> "asyncio.Future[Any]":
        asked = _Asked(packed, whole, self.loop.create_future(), self.ticks)
        self.queue(asked)
        return asked.answer

    def queue(self, asked: _Asked) -> None:
        self.to_send.append(asked)
        if not self.will_flush:
            self.will_flush = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """What was asked since the event loop went round."""
        self.will_flush = False
        if self.connecting is not None:
            return  # it goes along when that is done
        if not health.may_try():
            self.refuse("Redis failed a moment ago")
            return
        if self.timer is None:
            self.timer = self.loop.call_later(settings.CACHE_TIMEOUT / SLICES, self.tick)
        if self.writer is not None:
            self.send()
        else:
            self.connecting = lifecycle.spawn(self.connect())

    def send(self) -> None:
        assert self.writer is not None
        self.writer.transport.write(b"".join([one.packed for one in self.to_send]))
        self.sent.extend(self.to_send)
        self.to_send = []

    async def connect(self) -> None:
        connection = _connection(self.url)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            # redis-py has logged in; from here on the socket is ours, and its answers come to us.
            self.writer, connection._writer = connection._writer, None
            assert self.writer is not None
        except Exception as error:
            self.connecting = None
            self.fail(error)
            return
        finally:
            await connection.disconnect(nowait=True)  # nothing that we have taken
        self.reader, self.is_proven = Reader(replyError=DefaultParser.parse_error, notEnoughData=NOTHING), False
        self.connecting = None
        self.writer.transport.set_protocol(self)
        self.send()

    def data_received(self, data: bytes) -> None:
        self.is_proven = True
        self.reader.feed(data)
        while (answer := self.reader.gets()) is not NOTHING:
            if isinstance(answer, PushNotification):
                continue
            if isinstance(answer, redis.ConnectionError):
                self.fail(answer)
                return
            asked = self.sent.popleft()
            if asked.answer.done():
                continue  # who asked was cancelled
            if isinstance(answer, redis.exceptions.NoScriptError) and asked.whole:
                self.queue(replace(asked, packed=asked.whole(), whole=None))
            elif isinstance(answer, Exception):
                asked.answer.set_exception(answer)
            else:
                asked.answer.set_result(answer)
        health.worked()

    def connection_lost(self, error: Exception | None) -> None:
        if self.writer is None:
            return  # we hung up ourselves
        self.hang_up()
        if not self.is_proven:
            self.fail(error or redis.ConnectionError("Redis closed the connection"))
        elif self.sent or self.to_send:
            # Redis had closed it, perhaps long since: that is no failure before a new connection fails.
            self.to_send[:0] = self.sent
            self.sent.clear()
            self.connecting = lifecycle.spawn(self.connect())

    def tick(self) -> None:
        self.ticks += 1
        oldest = self.sent[0] if self.sent else self.to_send[0] if self.to_send else None
        if oldest is None:
            self.timer = None
        elif self.ticks - oldest.since > SLICES:
            self.timer = None
            self.fail(redis.TimeoutError("no answer in time"))
        else:
            self.timer = self.loop.call_later(settings.CACHE_TIMEOUT / SLICES, self.tick)

    def fail(self, error: Exception) -> None:
        health.failed(error)
        self.hang_up()
        self.to_send[:0] = self.sent
        self.sent.clear()
        self.refuse(str(error))

    def refuse(self, why: str) -> None:
        refused, self.to_send = self.to_send, []
        for one in refused:
            if not one.answer.done():
                one.answer.set_exception(CacheUnavailable(why))
                one.answer.exception()  # nobody has to hear of it

    def hang_up(self) -> None:
        if self.connecting is not None:
            self.connecting.cancel()
            self.connecting = None
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.transport.abort()


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()


def _connection(url: str) -> AbstractConnection:
    """Not connected yet. Without limits of its own for each command: `exchange` sets one for all together."""
    options: dict[str, Any] = dict(parse_url(url))
    kind: type[AbstractConnection] = options.pop("connection_class", Connection)
    return kind(**options, socket_timeout=None, retry=Retry(NoBackoff(), 0))


@lifecycle.on_shutdown
async def _hang_up() -> None:
    if line := _lines.pop(asyncio.get_running_loop(), None):
        line.hang_up()
