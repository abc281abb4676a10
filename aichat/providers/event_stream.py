"""A parser of server-sent events, to the WHATWG specification.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation: a byte order mark at the
start, lines that end in LF, CR or CRLF, comments, several `data` lines of one event, and pieces of the network cut
anywhere. Only the data of events is of use here; `event`, `id` and `retry` are read over.
"""

import re

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LINE_END = re.compile(rb"\r\n|\r|\n")


class EventTooLarge(ValueError):
    """An event, or a line of one, is longer than the parser was allowed to keep."""


class EventStreamParser:
    """Cuts the bytes of a stream into the data of its events. Keeps at most `largest` bytes of an unfinished event."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.line: list[bytes] = []  # pieces of the line that has not ended
        self.data: list[bytes] = []  # `data` lines of the event that has not ended
        self.size = 0  # bytes in both
        self.is_first_line = True
        self.ended_in_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that `chunk` completes. Raises `EventTooLarge`."""
        if self.ended_in_cr and chunk:
            self.ended_in_cr = False
            if chunk.startswith(b"\n"):  # the second half of a CRLF
                chunk = chunk[1:]
        if b"\r" in chunk:
            self.ended_in_cr = chunk.endswith(b"\r")
            first, *others = LINE_END.split(chunk)
        else:
            first, *others = chunk.split(b"\n")
        if not others:
            self.keep(self.line, first)
            return []
        *lines, last = (b"".join([*self.line, first]), *others)
        self.size -= sum(map(len, self.line))
        self.line = []
        events = [event for line in lines if (event := self.end_line(line)) is not None]
        self.keep(self.line, last)
        return events

    def rest(self) -> list[bytes]:
        """The data of the event that the stream's end cut off before its blank line, if there is one.

        The specification drops such an event; whoever knows whether its data is whole may use it.
        """
        line, self.line = b"".join(self.line), []
        events = [event for event in (self.end_line(line), self.end_line(b"")) if event is not None]
        self.size = 0
        return events

    @property
    def is_in_line(self) -> bool:
        """Whether the line that was fed last has not ended."""
        return any(self.line)

    def end_line(self, line: bytes) -> bytes | None:
        """Take one whole line. The data of an event, when the line is the blank one that ends it."""
        if self.is_first_line:
            self.is_first_line = False
            line = line.removeprefix(BYTE_ORDER_MARK)
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self.keep(self.data, value.removeprefix(b" "))
        elif self.data:
            data, self.data, self.size = b"\n".join(self.data), [], 0  # no line is unfinished here
            return data
        return None

    def keep(self, pieces: list[bytes], piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self.largest:
            raise EventTooLarge("an event without end")
        pieces.append(piece)
