"""Bounds on the structure of a JSON body, checked before it is parsed.

Parsers hold Python's interpreter lock from the first byte to the last. A text of ten megabytes takes them milliseconds, but
ten megabytes of `[],[],[]` take seconds, in which the process answers nobody. So the values are counted first, in slices,
between which other threads can run.
"""

import re

from aichat.core.errors import InvalidRequest

MOST_VALUES = 50_000  # JSON values of a body: objects, lists, texts, numbers
MOST_ESCAPES = 2_500_000  # backslashes of a body: each takes a parser fifteen times as long as another character
SLICE = 64 * 1024  # bytes looked at between two chances for other threads
# Each looks at a byte twice at most, whatever the body: nothing but a backslash continues a string after an escape, so there
# is one way to match, and they are never tried at a quote that nothing closes. A plain search for strings would begin again
# behind each of the `\"` of an unclosed one: seconds for a slice. No group is possessive: Python 3.11.2 errs with those.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*"', re.DOTALL)
REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*"', re.DOTALL)
UP_TO_AN_UNCLOSED_STRING = re.compile(rb'(?:[^"]++|"[^"\\]*+(?:\\.[^"\\]*+)*")*', re.DOTALL)


def check_structure(body: bytes, most: int = MOST_VALUES) -> None:
    """Raise `InvalidRequest` for a JSON text of more than `most` values or of very many escapes.

    Malformed JSON is left to the parser.
    """
    if body.count(b"\\") > MOST_ESCAPES:
        raise InvalidRequest(
            f"The body's texts have more than {MOST_ESCAPES} escapes (backslashes): send less at a time."
        )
    if separators(body) >= most and not has_at_most(body, most):
        raise InvalidRequest(f"The body has more than {most} JSON values: send less at a time.")


def separators(text: bytes) -> int:
    """An upper bound of the values in `text`: its commas and opening brackets, also those inside of strings."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def has_at_most(body: bytes, most: int) -> bool:
    """Whether the commas and opening brackets outside of strings are fewer than `most`."""
    found, start, is_inside = 0, 0, False
    while start < len(body) and found < most:
        piece = body[start : start + SLICE]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # a slice does not end between a backslash and its character
            piece = body[start : start + SLICE + 1]
        start += len(piece)
        if is_inside:
            rest = REST_OF_STRING.match(piece)
            if rest is None:
                continue
            piece = piece[rest.end() :]
        closed = UP_TO_AN_UNCLOSED_STRING.match(piece)
        end = closed.end() if closed else 0
        is_inside = end < len(piece)
        found += separators(STRING.sub(b"", piece[:end]))
    return found < most
