"""The encoded events of one stream, made by one task of their own and read with a limit to each wait."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aichat import lifecycle
from aichat.generation.call import Event, Form

READ_AHEAD = 16 * 1024  # bytes that may be encoded before the reader has taken them


class Feed:
    """What came since the reader last asked goes out as one piece: many events cost a fast stream one turn, not each.

    A reader that does not ask stops the generator, and with it the provider, after `READ_AHEAD`. Events are encoded
    here, before the next one is made, because the settlement of a repeatable request stores what was encoded until then.
    """

    def __init__(self, events: AsyncGenerator[Event, None], form: Form) -> None:
        self.events, self.form = events, form
        self.headers: dict[str, str] = {}  # what the first event says of the answer
        self.over = False
        self.error: Exception | None = None
        self.pieces: list[bytes] = []
        self.size = 0
        self.news, self.taken = asyncio.Event(), asyncio.Event()
        self.task = lifecycle.spawn(self.fill())

    async def fill(self) -> None:
        is_first = True
        try:
            async with aclosing(self.events):
                async for event in self.events:
                    if is_first:
                        self.headers, is_first = self.form.headers(event), False
                    await self.offer(b"".join(self.form.encode(event)))
        except Exception as error:
            self.error = error
        finally:
            self.over = True
            self.news.set()

    async def offer(self, data: bytes) -> None:
        self.pieces.append(data)
        self.size += len(data)
        self.news.set()
        while self.size > READ_AHEAD:
            self.taken.clear()
            await self.taken.wait()

    async def next(self, timeout: float) -> bytes | None:
        """What is there, or None when nothing came in `timeout` seconds; empty once the stream is `over`.

        Raises what the generator raised, after everything before it was taken.
        """
        if not self.news.is_set():
            try:
                async with asyncio.timeout(timeout):
                    await self.news.wait()
            except TimeoutError:
                return None
        if not self.pieces and self.error:
            raise self.error
        data, self.pieces, self.size = b"".join(self.pieces), [], 0
        self.taken.set()
        if not self.over:
            self.news.clear()
        return data

    @property
    def ended(self) -> bool:
        """Whether everything was taken."""
        return self.over and not self.pieces and self.error is None

    async def close(self) -> None:
        """Tell the generator that nobody listens any more, and wait until it has settled."""
        self.task.cancel()
        await asyncio.wait({self.task})
