"""The base of our own tables, and their time-ordered primary keys."""

import os
import struct
import threading
import time
import uuid

from django.db import (
    models,
)

_clock_lock = threading.Lock()
_clock = 0
_drawn: list[int] = []  # from the system's generator: asking it once for many IDs is cheaper than making one of them


def uuid7() -> uuid.UUID:
    """A time-ordered UUID (RFC 9562, version 7): new rows stay together in an index, and IDs sort by creation.

    The 12 bits after the milliseconds carry the fraction of the millisecond and never go back within a process, so two
    rows of one process are always in order.
    """
    global _clock
    now = time.time_ns() * 4096 // 1_000_000  # milliseconds with a 12-bit fraction
    with _clock_lock:
        _clock = now = max(now, _clock + 1)
        if not _drawn:
            _drawn.extend(struct.unpack("256Q", os.urandom(2048)))
        bits = _drawn.pop() >> 2
    value = (now >> 12) << 80 | 0x7 << 76 | (now & 0xFFF) << 64 | 0b10 << 62 | bits
    return uuid.UUID(int=value)


class Row(models.Model):
    """The base of our own tables. The key's column is `_id` on every engine, because MongoDB has no other primary key."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, db_column="_id")

    class Meta:
        abstract = True


if hasattr(os, "register_at_fork"):
    # Parent and child must not hand out the same random bits.
    os.register_at_fork(after_in_child=_drawn.clear)
