"""Reads an answer as it comes over the network: one JSON body, or an event stream.

Some servers answer `stream: true` with one JSON body, others answer a plain request with a stream. So the first bytes decide
how an answer is read, not what was asked for.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Protocol

import aiohttp

from aichat.providers import http
from aichat.providers.base import Accepted, Delta, Finished, PartSink
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.event_stream import BYTE_ORDER_MARK, EventStreamParser, EventTooLarge
from aichat.providers.json import as_object, from_json

AFTER_THE_END = 5.0  # seconds that usage and `[DONE]` may take behind the finish reason
BLANK = b" \t\r\n"
LIKE_EVENTS = re.compile(rb"\s*[:a-zA-Z]")  # a comment, or the name of a field


class AnswerReader(Protocol):
    """Turns the objects of one answer into deltas. Each vendor's folder has one for its format."""

    @property
    def is_over(self) -> bool:
        """Whether the end was seen, so that nothing more is needed."""
        ...

    def read_whole(self, answer: dict[str, Any]) -> Iterable[Delta]:
        """The deltas of a whole answer."""
        ...

    def read_event(self, event: bytes) -> Iterable[Delta] | None:
        """The deltas of one event of a stream; None for the mark behind the last one."""
        ...

    def finished(self) -> Finished:
        """How the answer ended. Raises `ProviderError` when no end was seen."""
        ...


async def read_answer(
    response: aiohttp.ClientResponse, reader: AnswerReader, sink: PartSink, dropped: tuple[str, ...] = ()
) -> Finished:
    """Give `sink` an `Accepted` that names the `dropped` parameters, then the answer's deltas; return how it ended.

    Raises `ProviderError`. A JSON body that did not come to its end gives `sink` nothing, nor does one of thoughts alone:
    then there is no answer, and another candidate may be asked.
    """
    await sink(Accepted(dropped))
    first = await _first_bytes(response, sink)
    if first.startswith((b"{", b"[")):
        deltas = understood_whole(reader, await _rest_of_body(response, first))
        finished = reader.finished()
        if finished.reason == "length" or any(delta.is_answer for delta in deltas):
            for delta in joined(deltas):
                await sink(delta)
        return finished
    if first and not LIKE_EVENTS.match(first.removeprefix(BYTE_ORDER_MARK)):
        raise ProviderError(AttemptOutcome.MALFORMED, "an answer that is neither JSON nor an event stream")
    await _read_events(response, first, reader, sink)
    return reader.finished()


async def _first_bytes(response: aiohttp.ClientResponse, sink: PartSink) -> bytes:
    """Read until the bytes say what the answer is. Blank lines before it are signs of life. Empty for an empty body."""
    first = b""
    while chunk := await response.content.readany():
        first += chunk
        plain = first.removeprefix(BYTE_ORDER_MARK).lstrip(BLANK)
        if plain.startswith((b"{", b"[")):
            return plain
        if plain and not BYTE_ORDER_MARK.startswith(first):
            break
        if not plain:
            first = b""
            await sink(Delta())
    return first


async def _rest_of_body(response: aiohttp.ClientResponse, first: bytes) -> bytearray:
    raw = bytearray()
    chunk = first
    while chunk:
        raw += chunk
        if len(raw) > http.LARGEST_ANSWER:
            raise ProviderError(AttemptOutcome.MALFORMED, "an answer without end")
        chunk = await response.content.readany()
    return raw


def understood_whole(reader: AnswerReader, raw: bytearray) -> list[Delta]:
    """The deltas of a JSON body: an answer, or a list of a stream's objects (Gemini's without `alt=sse`)."""
    try:
        if raw.startswith(b"["):
            return [delta for item in from_json(raw) for delta in reader.read_whole(item)]
        return list(reader.read_whole(as_object(raw)))
    except http.STRANGE as error:
        raise http.strange(error) from error


async def _read_events(response: aiohttp.ClientResponse, first: bytes, reader: AnswerReader, sink: PartSink) -> None:
    """Give `sink` a stream's deltas.

    The texts that came in one piece over the network are joined, so that a fast stream costs each layer one step for many
    tokens. A piece without deltas (a comment, a role) is a sign of life. Raises the reader's error, after the deltas that
    came before it.
    """
    parser = EventStreamParser(http.LARGEST_ANSWER)
    chunk = first
    is_over = False
    while not is_over:
        batch = _events(parser, chunk)
        deltas: list[Delta] = []
        problem: Exception | None = None
        for event in batch:
            try:
                found = understood(reader, event)
            except Exception as error:
                problem = error
                break
            if found is None:
                is_over = True
                break
            deltas += found
        for delta in joined(deltas) if len(deltas) > 1 else deltas:
            await sink(delta)
        if problem:
            raise problem
        if not chunk:
            return
        if not deltas:
            await sink(Delta())
        if not is_over:
            chunk = await _next_bytes(response, reader)


async def _next_bytes(response: aiohttp.ClientResponse, reader: AnswerReader) -> bytes:
    """The next bytes; empty at the end of the body.

    After the finish reason only usage and `[DONE]` may come. A connection that breaks or hangs there does no harm.
    """
    if not reader.is_over:
        return await response.content.readany()
    try:
        async with asyncio.timeout(AFTER_THE_END):
            return await response.content.readany()
    except (TimeoutError, aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, OSError):
        return b""


def _events(parser: EventStreamParser, chunk: bytes) -> list[bytes]:
    """The events that a piece completes. An empty piece is the end: then an event without its blank line counts too."""
    try:
        if chunk:
            events = parser.feed(chunk)
        else:  # without its blank line an event counts if it is whole; its last line may have been cut off
            is_cut = parser.is_in_line
            events = [event for event in parser.rest() if not is_cut or _is_whole(event)]
    except EventTooLarge as error:
        raise ProviderError(AttemptOutcome.MALFORMED, str(error)) from error
    return [part for event in events for part in _separated(event)]


def _separated(event: bytes) -> list[bytes]:
    """The event, or several events of a server that forgets the blank lines between them."""
    if b"\n" not in event or _is_whole(event):
        return [event] if event.strip() else []
    lines = [line for line in event.split(b"\n") if line.strip()]
    return lines if all(map(_is_whole, lines)) else [event]


def _is_whole(data: bytes) -> bool:
    if data.strip() == b"[DONE]":
        return True
    try:
        as_object(data)
    except ProviderError:
        return False
    return True


def understood(reader: AnswerReader, event: bytes) -> Iterable[Delta] | None:
    """The deltas of an event. Raises `ProviderError`, also for an event of a shape that nobody could expect."""
    try:
        return reader.read_event(event)
    except http.STRANGE as error:
        raise http.strange(error) from error


def joined(deltas: Iterable[Delta]) -> list[Delta]:
    """The deltas, with neighbours of text alone joined to one."""
    found: list[Delta] = []
    was_text = False
    for delta in deltas:
        is_text = delta.is_text
        if was_text and is_text:
            found[-1] = Delta(found[-1].text + delta.text)
        else:
            found.append(delta)
        was_text = is_text
    return found
