"""The event streams that this process has open, and the check that ends those of callers who may no longer call.

One check serves all streams of a process, so that its cost does not grow with each stream. A stream that is shorter than
`CHECK_SECONDS` is never checked.
"""

import asyncio
from typing import Protocol
from weakref import WeakSet

from accounts.authentication import Caller
from accounts.revocations import find_revoked
from aichat.core.background import lifecycle
from aichat.core.background.repeating import Repeating
from aichat.core.database import executor
from aichat.core.errors import ApiError
from aichat.generation.errors import ServerStopping

CHECK_SECONDS = 2.0


class OpenStream(Protocol):
    """A stream that can be ended from outside. `begun` is the event loop's time at its begin, in seconds."""

    caller: Caller
    loop: asyncio.AbstractEventLoop
    begun: float

    @property
    def is_running(self) -> bool:
        """Whether ending the stream would still change something."""

    def end(self, reason: ApiError) -> None:
        """End the stream: what was delivered is settled, and the client is told `reason` as its last event."""


_open: WeakSet[OpenStream] = WeakSet()


def add(stream: OpenStream) -> None:
    """Have `stream` ended when its caller's access ends or the server stops. The stream is forgotten with its last use."""
    _open.add(stream)


def _running() -> list[OpenStream]:
    """The running streams of this event loop: those of another loop can't be ended from here."""
    loop = asyncio.get_running_loop()
    return [stream for stream in list(_open) if stream.loop is loop and stream.is_running]


@lifecycle.on_interrupt
def _end_all() -> None:
    for stream in _running():
        stream.end(ServerStopping())


async def end_revoked() -> None:
    """End the streams whose caller's access was taken away since they began."""
    before = asyncio.get_running_loop().time() - CHECK_SECONDS
    streams = [stream for stream in _running() if stream.begun <= before]
    if not streams:
        return
    revoked = await executor.run(find_revoked, {stream.caller for stream in streams})
    for stream in streams:
        if (reason := revoked.get(stream.caller)) and stream.is_running:
            stream.end(reason)


loop = Repeating("the check of open streams", end_revoked, every=lambda: CHECK_SECONDS)
