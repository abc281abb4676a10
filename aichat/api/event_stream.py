"""The encoded events of one stream, made by a task of their own and read with a limit to each wait."""

import asyncio
from collections.abc import Awaitable, Callable

from aichat.core.background import lifecycle
from aichat.core.telemetry import prometheus
from aichat.core.web import responses, sse
from aichat.generation.request import Ending, EventSink, GenerationEvent, ResponseFormat

READ_AHEAD = 16 * 1024  # bytes that may be encoded before the reader has taken them


class Feed:
    """What came since the reader last asked goes out as one piece: many events cost a fast stream one turn, not each.

    `work` tells its events to the listener it is given, and answers the last. A reader that does not ask stops it, and
    with it the provider, after `READ_AHEAD`. Events are encoded as they are told, because the settlement of a repeatable
    request stores what was encoded until then.
    """

    def __init__(
        self, work: Callable[[EventSink], Awaitable[Ending]], response_format: ResponseFormat, patience: float
    ) -> None:
        self.response_format, self.patience = response_format, patience
        self.headers: dict[str, str] | None = None  # what the first event says of the answer
        self.over = False
        self.error: Exception | None = None
        self.pieces: list[bytes] = []
        self.size = 0
        self.loop = asyncio.get_running_loop()
        self.reader: asyncio.Future[None] | None = None  # who waits for the next piece, since when
        self.since = self.loop.time()
        self.taken: asyncio.Future[None] | None = None  # the listener, who waits for the reader
        self.timer = self.loop.call_later(patience, self.look)
        self.task = lifecycle.spawn(self.fill(work))

    async def fill(self, work: Callable[[EventSink], Awaitable[Ending]]) -> None:
        try:
            await self.put(await work(self.put))
        except Exception as error:
            self.error = error
        finally:
            self.over = True
            self.wake()

    async def put(self, event: GenerationEvent) -> None:
        if self.headers is None:
            self.headers = self.response_format.headers(event)
        data = self.response_format.encode(event)
        self.pieces.append(data)
        self.size += len(data)
        self.wake()
        while self.size > READ_AHEAD:
            self.taken = self.loop.create_future()
            await self.taken

    def wake(self) -> None:
        if self.reader is not None and not self.reader.done():
            self.reader.set_result(None)

    def look(self) -> None:
        """One timer for all waits of a reader: it wakes one that has waited for `patience` seconds."""
        waited = self.loop.time() - self.since if self.reader is not None else 0.0
        if waited >= self.patience:
            self.wake()
            waited = 0.0
        self.timer = self.loop.call_later(self.patience - waited, self.look)

    async def next(self) -> bytes | None:
        """What is there, or None when nothing came in `patience` seconds; empty once the stream is `over`.

        Raises what the work raised, after everything before it was taken.
        """
        if not self.pieces and not self.over:
            self.reader, self.since = self.loop.create_future(), self.loop.time()
            try:
                await self.reader
            finally:
                self.reader = None
            if not self.pieces and not self.over:
                return None
        if not self.pieces and self.error:
            raise self.error
        data, self.pieces, self.size = b"".join(self.pieces), [], 0
        if self.taken is not None and not self.taken.done():
            self.taken.set_result(None)
        return data

    @property
    def ended(self) -> bool:
        """Whether everything was taken."""
        return self.over and not self.pieces and self.error is None

    async def close(self) -> None:
        """Tell the work that nobody listens any more, and wait until it has settled."""
        self.timer.cancel()
        if not self.task.done():
            self.task.cancel()
            await asyncio.wait({self.task})


class Body:
    """A feed as the parts of a response: a comment while nothing comes, and an error as an event.

    Whoever takes it closes it, whether or not they have begun to read: a stream that nobody reads has to be settled too.
    """

    def __init__(self, feed: Feed, first: bytes | None) -> None:
        self.feed, self.first = feed, [first]
        self.is_closed = self.is_over = False
        prometheus.open_streams.inc()

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        if self.is_over:
            raise StopAsyncIteration
        try:
            data = self.first.pop() if self.first else await self.feed.next()
        except Exception as error:
            self.is_over = True
            return self.feed.response_format.encode_error(responses.as_api_error(error))
        self.is_over = self.feed.ended
        return sse.KEEP_ALIVE if data is None else data

    async def aclose(self) -> None:
        if not self.is_closed:
            self.is_closed = self.is_over = True
            prometheus.open_streams.dec()
            await self.feed.close()
