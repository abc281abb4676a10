"""Event streams to the WHATWG specification, however the network cuts them."""

import re
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aichat.providers.event_stream import EventStreamParser, EventTooLarge

line_ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
lines = st.sampled_from(
    [b"", b"", b"data: one", b"data:two", b"data", b"data:  three", b": comment", b":", b"event: delta", b"id: 7",
     b"retry: 100", b"dates: no", b'data: {"a": "\xe2\x82\xac"}', b" data: no", b"data: [DONE]"]
)  # fmt: skip
# Drawing is slow on a busy machine, which says nothing of the parser.
unhurried = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
streams = st.lists(st.tuples(lines, line_ends), max_size=20)
cuts = st.lists(st.integers(0, 400), max_size=10)


def specification(raw: bytes) -> list[bytes]:
    """The interpretation of https://html.spec.whatwg.org/multipage/server-sent-events.html, as it is written there."""
    text = raw.removeprefix(b"\xef\xbb\xbf")
    whole = re.split(rb"\r\n|\r|\n", text)[:-1]  # what follows the last line end is no line
    found, data, is_set = [], b"", False
    for line in whole:
        if not line:
            if is_set:
                found.append(data.removesuffix(b"\n"))
            data, is_set = b"", False
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            if field == b"data":
                data, is_set = data + value.removeprefix(b" ") + b"\n", True
    return found


@unhurried
@given(streams, cuts, st.booleans())
def test_a_stream_cut_anywhere_has_the_events_of_the_specification(
    stream: list[tuple[bytes, bytes]], cuts: list[int], has_mark: bool
) -> None:
    raw = (b"\xef\xbb\xbf" if has_mark else b"") + b"".join(line + end for line, end in stream)
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    parser = EventStreamParser(10_000)
    events = [event for begin, end in pairwise(places) for event in parser.feed(raw[begin:end])]
    assert events == specification(raw)


@unhurried
@given(st.lists(st.binary(max_size=30), max_size=10))
def test_no_bytes_break_the_parser(pieces: list[bytes]) -> None:
    parser = EventStreamParser(10_000)
    events = [event for piece in pieces for event in parser.feed(piece)]
    assert events == specification(b"".join(pieces))
    parser.rest()


def test_an_event_without_its_blank_line_is_told_apart() -> None:
    parser = EventStreamParser(100)
    assert parser.feed(b"data: 1\n\ndata: 2") == [b"1"]
    assert parser.is_in_line
    assert parser.rest() == [b"2"]


@pytest.mark.parametrize("piece", [b"x" * 60, b"data: 12345678901234567890\n"])
def test_an_event_without_end_is_not_kept(piece: bytes) -> None:
    parser = EventStreamParser(100)
    with pytest.raises(EventTooLarge):
        for _ in range(10):
            parser.feed(piece)
