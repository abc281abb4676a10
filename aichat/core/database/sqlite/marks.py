"""Marks of changes in a file beside the database, which all processes that use the database have in their memory.

    marks.write(["caller-changed:7f3c…"])
    [mark] = marks.read(["caller-changed:7f3c…"])

SQLite's write-ahead log works only where all processes share memory (https://www.sqlite.org/wal.html), so this does too, and
with SQLite nobody needs Redis to learn of changes: to read a mark takes a microsecond. A name has one of `SLOTS` places of
eight random bytes. Two names may have the same place: then a change of one counts as a change of both.
"""

import logging
import mmap
import os
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from django.db import DEFAULT_DB_ALIAS, connections

logger = logging.getLogger(__name__)
SUFFIX = "-marks"  # as SQLite's own -wal and -shm
SLOTS, WIDTH = 4096, 8
EMPTY = bytes(WIDTH)


class Marks:
    """The marks in one file. They live as long as the file."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it, for its owner alone. Raises `OSError` where a file can't be shared like this."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):  # else a full disk would end the process that writes the first mark
                os.posix_fallocate(file, 0, SLOTS * WIDTH)
            elif os.fstat(file).st_size < SLOTS * WIDTH:
                os.truncate(file, SLOTS * WIDTH)
            self.memory = mmap.mmap(file, SLOTS * WIDTH)
        finally:
            os.close(file)

    def write(self, names: Iterable[str]) -> None:
        """Mark these names as changed now."""
        for at in _places(names):
            self.memory[at : at + WIDTH] = os.urandom(WIDTH)

    def read(self, names: Iterable[str]) -> list[bytes | None]:
        """Return the mark of each name; None: nobody has marked it since the file was made."""
        return [mark if (mark := self.memory[at : at + WIDTH]) != EMPTY else None for at in _places(names)]


def _places(names: Iterable[str]) -> list[int]:
    return [zlib.crc32(name.encode()) % SLOTS * WIDTH for name in names]


def of_database() -> Marks | None:
    """Return the marks beside the configured database; None when it is not in a file, or the file system can't share one."""
    return _beside(str(connections[DEFAULT_DB_ALIAS].settings_dict["NAME"]))


@cache
def _beside(database: str) -> Marks | None:
    if not Path(database).exists():
        return None
    try:
        return Marks(Path(database + SUFFIX))
    except OSError as error:
        logger.warning("processes can't tell each other of changes by %s%s: %s", database, SUFFIX, error)
        return None
