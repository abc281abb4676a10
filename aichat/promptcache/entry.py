"""One stored answer, and its bytes: a mark, a checksum that also covers the key, and JSON."""

import zlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from aichat.providers.base import Delta, FinishReason, Usage

MARK = b"aichat3:"  # changes with the fields below: what an older version stored is then a miss
Pieces = list[Delta]
LISTS = ("tool_calls", "reasoning_details", "images", "annotations", "items")  # members of a piece, which are tuples


class Unreadable(ValueError):
    """Bytes that are not an answer to this question: cut off, damaged, foreign, or of another version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A whole answer, piece by piece as the provider sent it, and what it used.

    `created_at` is in seconds since 1970. `by` is the user it was made for, `by_version` that user's version then;
    `prompt` is the version of the system prompt it was given under.
    """

    pieces: Pieces
    model: str
    provider: str
    finish_reason: FinishReason
    usage: Usage
    source: str  # whether the provider reported the usage: UsageRecord.Source
    created_at: float
    prompt: str
    by: str
    by_version: str
    fallback: bool = field(default=False)
    dropped: tuple[str, ...] = ()  # parameters that were not sent to the model

    def encode(self, digest: str) -> bytes:
        """The bytes to store under the key `digest`. Raises `TypeError` for text that is no Unicode."""
        body = orjson.dumps(self)
        return MARK + _checksum(digest, body) + body

    @classmethod
    def decode(cls, digest: str, raw: bytes) -> "Entry":
        """The entry that `encode` made under the same key. Raises `Unreadable` for any other bytes."""
        head, checksum, body = raw[: len(MARK)], raw[len(MARK) : len(MARK) + 4], raw[len(MARK) + 4 :]
        if head != MARK or checksum != _checksum(digest, body):
            raise Unreadable("these bytes were not written under this key")
        try:
            facts = orjson.loads(body)
            facts["usage"] = Usage(**facts["usage"])
            facts["dropped"] = tuple(facts["dropped"])
            facts["pieces"] = [_piece(piece) for piece in facts["pieces"]]
            return cls(**facts)
        except (ValueError, TypeError, KeyError) as error:
            raise Unreadable(str(error)) from error


def _piece(members: dict[str, Any]) -> Delta:
    return Delta(**{**members, **{name: tuple(members[name]) for name in LISTS}})


def _checksum(digest: str, body: bytes) -> bytes:
    return zlib.crc32(body, zlib.crc32(digest.encode())).to_bytes(4)
