"""The encoded events of one stream: a task makes them, the response reads them with a limit to each wait."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from accounts import stream_limits
from accounts.authentication import Caller
from aichat.api import open_streams, stops
from aichat.core.background import lifecycle
from aichat.core.errors import ApiError
from aichat.core.telemetry import prometheus
from aichat.core.web import responses, sse
from aichat.generation.request import Ending, EventSink, GenerationEvent, ResponseFormat

READ_AHEAD = 16 * 1024  # bytes that may be encoded before the reader has taken them


class Feed:
    """A queue of encoded events between a generation and its response.

    All events since the last read go out as one piece, so a fast stream costs one turn of the event loop for many events.
    `work` passes its events to the sink it is given and returns the last; until then the stream counts as one of those the
    caller may have open at once. A reader that does not read stops `work`, and with it the provider, after `READ_AHEAD`
    bytes. Events are encoded as they come, because the settlement of a repeatable request stores what was encoded until
    then.
    """

    def __init__(
        self,
        caller: Caller,
        work: Callable[[EventSink], Awaitable[Ending]],
        response_format: ResponseFormat,
        patience: float,
        goes_on_as: UUID | None = None,
    ) -> None:
        self.caller, self.response_format, self.patience = caller, response_format, patience
        self.headers: dict[str, str] | None = None  # what the first event says of the answer
        self.over = self.is_ending = False
        self.error: Exception | None = None
        self.pieces: list[bytes] = []
        self.size = 0
        self.loop = asyncio.get_running_loop()
        self.reader: asyncio.Future[None] | None = None  # who waits for the next piece, since when
        self.begun = self.since = self.loop.time()
        self.taken: asyncio.Future[None] | None = None  # the listener, who waits for the reader
        self.timer = self.loop.call_later(patience, self.look)
        self.task = lifecycle.spawn(self.fill(work))
        open_streams.add(self)
        self.goes_on, self.is_left = goes_on_as is not None, False
        if goes_on_as is not None:
            stops.add(goes_on_as, self)

    async def fill(self, work: Callable[[EventSink], Awaitable[Ending]]) -> None:
        try:
            async with stream_limits.counted(self.caller.user.pk):
                ending = await work(self.put)
            await self.put(ending)
        except asyncio.CancelledError:
            self.error = lifecycle.cancellation_reason()
            if self.error is None:
                raise
        except Exception as error:
            self.error = error
        finally:
            self.over = True
            self.wake()

    async def put(self, event: GenerationEvent) -> None:
        if self.headers is None:
            self.headers = self.response_format.headers(event)
        data = self.response_format.encode(event)
        if self.is_left:
            return
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
        """Wake a reader that has waited for `patience` seconds. One timer serves all waits of a stream."""
        waited = self.loop.time() - self.since if self.reader is not None else 0.0
        if waited >= self.patience:
            self.wake()
            waited = 0.0
        self.timer = self.loop.call_later(self.patience - waited, self.look)

    async def next(self) -> bytes | None:
        """The bytes encoded since the last call; None when nothing came in `patience` seconds; empty at the end.

        Raises what `work` raised, after everything before that was read.
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
        """Whether everything was read."""
        return self.over and not self.pieces and self.error is None

    @property
    def is_running(self) -> bool:
        """Whether `work` goes on and was not told to end."""
        return not self.over and not self.is_ending

    def end(self, reason: ApiError) -> None:
        """Cancel `work`: what was delivered is settled, and `reason` is the last event."""
        self.is_ending = True
        lifecycle.cancel(self.task, reason)

    async def close(self) -> None:
        """Cancel `work`, because nobody reads any more, and wait until it has settled; or let it go on, once it has begun."""
        self.timer.cancel()
        if self.goes_on and self.headers is not None and not self.task.done():
            self.leave()
            return
        if not self.task.done():
            self.task.cancel()
            await asyncio.wait({self.task})

    def leave(self) -> None:
        """Let `work` go on without a reader: its answer is stored for who asks for it later."""
        self.is_left = True
        self.pieces, self.size = [], 0
        if self.taken is not None and not self.taken.done():
            self.taken.set_result(None)


class Body:
    """The body of a streaming response: a feed's pieces, a comment line while nothing comes, an error as an event.

    The owner must call `aclose`, also without having read: a stream that nobody reads must be settled too.
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
