"""Redis on the event loop: commands of concurrent requests share one connection and one round trip.

    value = await pipeline.ask("GET", cache_key("x"))

Synchronous code uses `django.core.cache.cache`, where a failed command is a miss, or commands inside
`health.guarded()`. Redis is optional: `ask` raises `CacheUnavailable` when Redis fails, and every caller goes on without.
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

LATER = 0.01  # seconds that a command without hurry waits for others to go with
SLICES = 10  # parts of CACHE_TIMEOUT: the event loop must have ticked so often before Redis counts as too slow
NOTHING = object()  # the parser has no whole answer yet


def ask(*command: str | bytes | int | float) -> "asyncio.Future[Any]":
    """Send a command to Redis: `await ask("GET", cache_key("x"))`; the answer is bytes, an int, a list or None.

    All commands asked in one turn of the event loop and in the next are sent together. So a caller with several questions
    asks all of them before awaiting the first, also where a task begun in between asks some of them. Raises
    `CacheUnavailable` when Redis fails, does not answer within CACHE_TIMEOUT or is not configured; `redis.ResponseError`
    for a wrong command.
    """
    return _ask(pack_command(command))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that Redis runs as one atomic step. Redis gets its digest, and the text only when it lacks the script."""

    text: str
    digest: str

    @classmethod
    def of(cls, text: str) -> "Script":
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())

    def ask(
        self, keys: Sequence[str], args: Sequence[str | bytes | int], *, hurry: bool = True
    ) -> "asyncio.Future[Any]":
        """Run the script with these keys and arguments. Answers and errors are those of the function `ask`.

        Without `hurry` it goes with the next command of this process, or after `LATER`.
        """
        words = (len(keys), *keys, *args)
        packed = pack_command(("EVALSHA", self.digest, *words))  # type: ignore[arg-type]
        return _ask(packed, lambda: pack_command(("EVAL", self.text, *words)), hurry=hurry)  # type: ignore[arg-type]


def _ask(packed: bytes, whole: Callable[[], bytes] | None = None, *, hurry: bool = True) -> "asyncio.Future[Any]":
    loop = asyncio.get_running_loop()
    if not settings.REDIS_URL:
        unanswered: asyncio.Future[Any] = loop.create_future()
        _fail(unanswered, CacheUnavailable("REDIS_URL is not set"))
        return unanswered
    line = _lines.get(loop)
    if line is None or line.url != settings.REDIS_URL:
        line = _lines[loop] = _Line(settings.REDIS_URL)
    return line.ask(packed, whole, hurry)


def _fail(answer: "asyncio.Future[Any]", error: Exception) -> None:
    answer.set_exception(error)
    answer.exception()  # marked as seen: asyncio logs no error when nobody awaits the answer


def cache_key(key: str) -> str:
    """The name in Redis of the entry that `django.core.cache.cache` calls `key`."""
    return f"aichat:1:{key}"


@dataclass(slots=True)
class _Asked:
    """A command, the future of its answer, and the tick of the connection's clock at which it was asked.

    `whole` makes the command that sends a script's text, for a Redis that does not know its digest.
    """

    packed: bytes
    whole: Callable[[], bytes] | None
    answer: "asyncio.Future[Any]"
    since: int


class _Line(asyncio.Protocol):
    """The connection of one event loop to Redis. Answers come in the order of the commands.

    When a command is not answered within CACHE_TIMEOUT all waiting commands fail and the connection is closed, because a
    late answer would be taken for another command's. The timeout counts ticks of the event loop, not time: while the
    loop is busy an answer may lie unread in the socket, and a process that then took Redis for dead would go on
    without its locks.
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

    def ask(self, packed: bytes, whole: Callable[[], bytes] | None, hurry: bool) -> "asyncio.Future[Any]":
        asked = _Asked(packed, whole, self.loop.create_future(), self.ticks)
        self.queue(asked, hurry)
        return asked.answer

    def queue(self, asked: _Asked, hurry: bool = True) -> None:
        self.to_send.append(asked)
        if not hurry:
            self.loop.call_later(LATER, self.flush)
        elif not self.will_flush:
            self.will_flush = True
            self.loop.call_soon(self.loop.call_soon, self.flush)

    def flush(self) -> None:
        """Send the commands that were asked in the last two turns of the event loop."""
        self.will_flush = False
        if self.connecting is not None or not self.to_send:
            return  # `connect` sends the commands when it is done
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
            # redis-py (8.x) has logged in. Its stream writer, which has no public name, is taken over: from here on
            # this protocol reads the answers. `tests/core/redis/test_pipeline.py` fails when the attribute moves.
            self.writer, connection._writer = connection._writer, None
            assert self.writer is not None
        except Exception as error:
            self.connecting = None
            self.fail(error)
            return
        finally:
            await connection.disconnect(nowait=True)  # closes nothing once the writer was taken over
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
            is_error = isinstance(answer, Exception)
            if is_error and isinstance(answer, redis.ConnectionError):
                self.fail(answer)
                return
            asked = self.sent.popleft()
            if asked.answer.done():
                continue  # who asked was cancelled
            if not is_error:
                asked.answer.set_result(answer)
            elif isinstance(answer, redis.exceptions.NoScriptError) and asked.whole:
                self.queue(replace(asked, packed=asked.whole(), whole=None))
            else:
                _fail(asked.answer, answer)
        health.worked()

    def connection_lost(self, error: Exception | None) -> None:
        if self.writer is None:
            return  # `hang_up` closed the connection
        self.hang_up()
        if not self.is_proven:
            self.fail(error or redis.ConnectionError("Redis closed the connection"))
        elif self.sent or self.to_send:
            # Redis had closed an idle connection, perhaps long ago: only a failing new connection counts as a failure.
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
                _fail(one.answer, CacheUnavailable(why))

    def hang_up(self) -> None:
        if self.connecting is not None:
            self.connecting.cancel()
            self.connecting = None
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.transport.abort()


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()


def _connection(url: str) -> AbstractConnection:
    """An unconnected connection of redis-py without a timeout for each command: `_Line.tick` limits all together."""
    options: dict[str, Any] = dict(parse_url(url))
    kind: type[AbstractConnection] = options.pop("connection_class", Connection)
    return kind(**options, socket_timeout=None, retry=Retry(NoBackoff(), 0))


@lifecycle.on_shutdown
async def _hang_up() -> None:
    if line := _lines.pop(asyncio.get_running_loop(), None):
        line.hang_up()
