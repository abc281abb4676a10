"""Measures what a request's body gives a model to read. The hold, the window check and every estimate use this measure.

Each vendor's folder has a function that measures a body of its format with an `Outgoing`. It names the members that are
pictures, sound or documents; every other member counts as text, so a field nobody has thought of is counted too.
"""

import base64
import binascii
import io
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

BYTES_OF_A_HEAD = 256 * 1024  # base64 characters that are decoded to find a picture's size
SECOND_OF_SOUND = {"wav": 32_000, "pcm": 32_000}  # bytes, at 16 kHz with 16 bits; compressed formats:
SECOND_OF_COMPRESSED_SOUND = 8_000
BYTES_OF_A_PAGE = 50_000  # of a PDF whose pages can't be counted
PAGES = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Medium:
    """A picture, sound or document: about how many tokens it counts as, and the most tokens where that is known."""

    tokens: int
    most: int | None = None


@dataclass(slots=True)
class Outgoing:
    """What a body gives its model to read: texts, media, and how many messages and tools frame them."""

    texts: list[str] = field(default_factory=list)
    media: list[Medium] = field(default_factory=list)
    frames: int = 0

    def add(self, value: Any, without: Collection[str] = ()) -> None:
        """Count a JSON value as text: names and values, but for the members named in `without`."""
        if isinstance(value, str):
            self.texts.append(value)
        elif isinstance(value, Mapping):
            self.texts.append(json_text({name: part for name, part in value.items() if name not in without}))
        elif value is not None:
            self.texts.append(json_text(value))


def json_text(value: Any) -> str:
    """The JSON of a value, with keys of any type; Python's own text for what JSON can't express."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        return repr(value)


# --- Media ------------------------------------------------------------------------------------------------------------


def of_data_url(url: str) -> tuple[str, str] | None:
    """The media type and the base64 text of a `data:` address; None for any other address."""
    found = DATA_URL.match(url[:200])
    return ((found[1] or "").lower(), url[found.end() :]) if found else None


def picture_size(data: str) -> Size | None:
    """Width and height in pixels of a base64 picture, read from its head; None when they can't be told."""
    from PIL import Image  # an installation without pictures need not load it

    try:
        raw = base64.b64decode(data[:BYTES_OF_A_HEAD] + "=" * (-min(len(data), BYTES_OF_A_HEAD) % 4))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw)) as image:
                return image.size
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        return None


def bytes_of(data: str) -> int:
    """The size of what a base64 text encodes."""
    return len(data) * 3 // 4


def pages_of(data: str) -> int:
    """About how many pages a base64 PDF has."""
    try:
        counted = len(PAGES.findall(base64.b64decode(data + "=" * (-len(data) % 4))))
    except (binascii.Error, ValueError):
        counted = 0
    return counted or 1 + bytes_of(data) // BYTES_OF_A_PAGE


def seconds_of(data: str, kind: str) -> int:
    """About how many seconds of sound a base64 text of a format ("wav", "mp3") holds, rounded up."""
    return 1 + bytes_of(data) // SECOND_OF_SOUND.get(kind, SECOND_OF_COMPRESSED_SOUND)
