"""An append-only journal on this host's disk, for work that a process has promised and not committed to the database yet.

Each process has a file of its own and locks it while it lives (`flock`). So another process of the host, or the next start,
recognizes the files of processes that died. When `write` returns, the kernel has the line, which survives the death of the
process; after `sync` it survives a crash of the machine. A file is emptied once all of its lines are done.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

logger = logging.getLogger(__name__)
SUFFIX = ".journal"
LARGEST_BYTES = 4 * 2**20  # of a file, before the next line goes into a new one


class _File:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.size = self.waiting = 0

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class Journal:
    """The journal of this process in `folder`. One thread may use it at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: _File | None = None
        self._is_broken = False

    def write(self, line: bytes) -> _File | None:
        """Append a line, and return its file, for `done`. Returns None when the disk refuses, which is logged once."""
        try:
            file = self._file or self._open()
            os.write(file.descriptor, line + b"\n")
        except OSError as error:
            if not self._is_broken:
                logger.error(
                    "the journal in %s can't be written (%s): settlements are in memory alone", self.folder, error
                )
            self._is_broken = True
            return None
        self._is_broken = False
        file.size += len(line) + 1
        file.waiting += 1
        return file

    def done(self, file: _File) -> None:
        """Say that a line of the file is committed."""
        file.waiting -= 1
        if file.waiting == 0 and file is not self._file:
            file.close()
        elif file.waiting == 0 and file.size > LARGEST_BYTES // 16:
            os.ftruncate(file.descriptor, 0)
            file.size = 0
        elif file.size > LARGEST_BYTES and file is self._file:
            self._file = None  # the next line opens another; this one closes with its last line

    @property
    def waiting(self) -> int:
        return self._file.waiting if self._file else 0

    def sync(self) -> None:
        """Wait until the disk has what was written."""
        if self._file:
            with suppress(OSError):  # it was closed meanwhile, and then all of its lines are done
                os.fsync(self._file.descriptor)

    def close(self) -> None:
        """Delete the file at the end of the process, unless lines are not done: another process takes those over."""
        if self._file and not self._file.waiting:
            self._file.close()
            self._file = None

    def _open(self) -> _File:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = _File(self.folder / f"{uuid4().hex}{SUFFIX}")
        return self._file


def lines(folder: Path) -> Iterator[bytes]:
    """All whole lines of all files, also of living processes. A line that its process did not finish is left out."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with suppress(FileNotFoundError):
            yield from _whole_lines(path)


@contextmanager
def orphan(path: Path) -> Iterator[list[bytes]]:
    """The lines of a file whose process died, locked for this process. The file is deleted when the block succeeds.

    Raises `BlockingIOError` when the file's process lives, or another process has the file.
    """
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield _whole_lines(path)
        path.unlink(missing_ok=True)


def _whole_lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().split(b"\n")[:-1] if line]
