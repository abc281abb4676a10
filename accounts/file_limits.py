"""Limits how much room a person's files take altogether (FILES_PER_USER_MB).

Parts that keep files (chat, images) stand above this one: they register how to count the room that theirs take (`counts`).
"""

from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext

from aichat.core.errors import ApiError

MB = 2**20

Room = Callable[[UUID], int]
_rooms: list[Room] = []


class NoRoom(ApiError):
    """The person's files take as much room as they may. The error object has `limit` and `used`, in bytes."""

    status, code = 413, "file_limit_exceeded"

    def __init__(self, used: int) -> None:
        text = gettext(
            "Your files take %(used)s of %(limit)s MB. Delete conversations with files, or pictures, that you no longer "
            "need; or ask your administrator for more room."
        )
        words = text % {"used": f"{used / MB:.1f}", "limit": settings.FILES_PER_USER_MB}
        super().__init__(words, limit=limit(), used=used)


def counts(room: Room) -> None:
    """Register a function that returns how many bytes a person's files of one kind take, once at the start of the process."""
    _rooms.append(room)


def limit() -> int | None:
    """Return how many bytes a person's files may take; None: any number."""
    return settings.FILES_PER_USER_MB * MB or None


def used(user_id: UUID) -> int:
    """Return how many bytes a person's files take."""
    return sum(room(user_id) for room in _rooms)


def check(user_id: UUID, more: int = 0) -> None:
    """Raise `NoRoom` unless there is room for `more` bytes; without `more`, unless there is any room."""
    most = limit()
    if most is None:
        return
    taken = used(user_id)
    if taken + more > most or taken >= most:
        raise NoRoom(taken)


def check_stored(user_id: UUID) -> None:
    """Raise `NoRoom` when a file that was just stored is too much: two at the same moment may both have passed `check`."""
    most = limit()
    if most is not None and (taken := used(user_id)) > most:
        raise NoRoom(taken)
