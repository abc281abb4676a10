"""Server-sent events: how one is written, and the response that streams them."""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

from django.http import StreamingHttpResponse

from aichat.core.web.responses import json_bytes

EVENT_STREAM = "text/event-stream; charset=utf-8"


class Events(Protocol):
    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None: ...


class EventStream(StreamingHttpResponse):
    """A response of encoded server-sent events, from an async generator or an object that can be closed like one.

    Iterating the response returns the events object itself, so that closing the iterator closes the events at once: what
    must be settled when the client leaves does not wait for garbage collection.
    """

    def __init__(self, events: Events, **headers: str) -> None:
        # Without X-Accel-Buffering nginx would collect the events.
        own = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, content_type=EVENT_STREAM, headers={**own, **headers})
        self.events = events

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.events


async def in_turn(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Turn a plain iterator into an async one: under ASGI Django would read a plain one whole, with a warning."""
    for part in parts:
        yield part


def server_sent_event(data: Any, event: str = "") -> bytes:
    """One event of https://html.spec.whatwg.org/multipage/server-sent-events.html; `data` is JSON or ready bytes."""
    payload = data if isinstance(data, bytes) else json_bytes(data)
    name = b"event: " + event.encode() + b"\n" if event else b""
    return name + b"data: " + payload + b"\n\n"


KEEP_ALIVE = b": waiting\n\n"
