"""Turns that the processes of a host take with their transactions, so that busy ones don't run into each other all the time.

MongoDB has no lock that a transaction waits for: of two that change the same wallet one fails at once, and all of it runs
again. Processes whose batches have wallets in common did much of their work twice. So each transaction holds a lock on a file
of the host: together with the others while none of them conflicts, and alone for a second after one did. This saves work
and keeps nothing right: who doesn't get the lock in time goes on without it, as do the processes of other hosts.
"""

import fcntl
import os
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.db import connection
from django_mongodb_backend import transaction

from aichat.core.database.mongodb import errors

PEACE = 1.0  # seconds without a conflict, after which transactions run side by side again
LONGEST_WAIT = 0.5  # seconds: a process that is frozen with the lock in hand holds nobody up for longer
PAUSE = 0.0005  # seconds between two looks for the lock
REST = 10.0  # seconds for which nobody in this process waits, after one waited in vain

_in_vain = float("-inf")  # monotonic: when a thread last waited in vain
_thread = threading.local()  # `file`: each thread has its own, because a lock belongs to an opened file


@contextmanager
def atomic() -> Iterator[None]:
    """A transaction that waits for its turn; after a conflict in it, the next ones of the host run alone."""
    file = _file()
    has_lock = file is not None and _lock(file)
    try:
        with transaction.atomic():
            yield
    except Exception as error:
        if file is not None and errors.is_transient(error):
            os.utime(file)  # the time of the last conflict, which all processes see
        raise
    finally:
        if file is not None and has_lock:
            fcntl.flock(file, fcntl.LOCK_UN)


def _lock(file: int) -> bool:
    """Take the lock, alone if there was a conflict lately. Returns False when it can't be had in `LONGEST_WAIT`."""
    global _in_vain
    now = time.monotonic()
    deadline = now if now < _in_vain + REST else now + LONGEST_WAIT
    is_peaceful = time.time() - os.fstat(file).st_mtime > PEACE
    kind = fcntl.LOCK_SH if is_peaceful else fcntl.LOCK_EX
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                _in_vain = now if deadline > now else _in_vain
                return False
            time.sleep(PAUSE)
        else:
            return True


def _file() -> int | None:
    """The file of this host's turns at the configured database, open for this thread; None where there can't be one."""
    if not hasattr(_thread, "file"):
        _thread.file = None
        servers = connection.settings_dict["HOST"].rpartition("@")[2]  # without the password
        address = f"{servers} {connection.settings_dict['NAME']}"
        path = Path(tempfile.gettempdir()) / f"aichat-turns-{os.getuid()}-{zlib.crc32(address.encode()):08x}"
        with suppress(OSError):
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "rb")
            if os.fstat(file.fileno()).st_uid == os.getuid():  # else somebody could keep it locked
                _thread.file = file
    return _thread.file.fileno() if _thread.file else None


def _forget() -> None:
    """Open the file anew in a forked child, which would share its parent's lock."""
    _thread.__dict__.clear()


os.register_at_fork(after_in_child=_forget)
