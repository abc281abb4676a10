"""The base of our own tables, and their time-ordered primary keys."""

import copy
import os
import struct
import threading
import time
import uuid
from functools import partial
from typing import Any, Self

from django.db import DatabaseError, models

from aichat.core.database import transactions
from aichat.core.errors import NotFound

_clock_lock = threading.Lock()
_clock = 0
_drawn: list[int] = []  # random numbers for the next IDs: asking the system for many costs less than making one ID


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


class SavesChanges(models.Model):
    """A model whose `save()` writes only the columns that were changed since the row was read.

    Django writes the whole row, and so undoes changes that others made meanwhile: a form that renames a person would give
    them back a role that they have lost. Columns that a caller names by `update_fields` are written in any case.
    """

    class Meta:
        abstract = True

    def save(self, *args: Any, **how: Any) -> None:
        """Insert a new row, or update the changed columns of one. Raises `NotFound` for a row deleted meanwhile."""
        transactions.on_rollback(partial(self._restore, self._state.adding, dict(self.__dict__.get("_stored", {}))))
        is_update = not (self._state.adding or args or how.get("force_insert"))
        if is_update and how.get("update_fields") is None and "_stored" in self.__dict__:
            how["update_fields"] = self.changed_columns()
        try:
            super().save(*args, **how)
        except DatabaseError as error:
            if is_update and "did not affect any rows" in str(error):  # Django's words, 5.2 to 6.1
                raise NotFound() from None
            raise
        written = how.get("update_fields")
        stored = self.__dict__.setdefault("_stored", {})
        for field in self._meta.concrete_fields:
            if field.attname in self.__dict__ and (
                written is None or field.name in written or field.attname in written
            ):
                stored[field.attname] = kept(self.__dict__[field.attname])

    def _restore(self, adding: bool, stored: dict[str, Any]) -> None:
        """Forget a save that was rolled back, so that the next one writes the same columns again."""
        self._state.adding, self.__dict__["_stored"] = adding, stored

    @classmethod
    def from_db(cls, db: str | None, field_names: Any, values: Any, **how: Any) -> Self:
        row = super().from_db(db, field_names, values, **how)
        stored = row.__dict__["_stored"] = dict(zip(field_names, values, strict=False))
        for name, value in zip(field_names, values, strict=False):
            if isinstance(value, dict | list):  # few columns are, so this spares a call for each of the others
                stored[name] = kept(value)
        return row

    def changed_columns(self) -> list[str]:
        """The names of the fields whose values differ from those that were read or written last."""
        stored, missing = self.__dict__["_stored"], object()
        return [
            field.name
            for field in self._meta.concrete_fields
            if not field.primary_key
            and field.attname in self.__dict__
            and stored.get(field.attname, missing) != self.__dict__[field.attname]
        ]

    def refresh_from_db(self, *args: Any, **how: Any) -> None:
        super().refresh_from_db(*args, **how)
        names = {field.attname for field in self._meta.concrete_fields} & set(self.__dict__)
        self.__dict__["_stored"] = {name: kept(self.__dict__[name]) for name in names}


def kept(value: Any) -> Any:
    """The value, or a copy of what could be changed in place."""
    return copy.deepcopy(value) if isinstance(value, dict | list) else value


class Row(SavesChanges):
    """The base of our own tables. The key's column is `_id` on every engine, because MongoDB has no other primary key."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, db_column="_id")

    class Meta:
        abstract = True


if hasattr(os, "register_at_fork"):
    # Parent and child must not hand out the same random bits.
    os.register_at_fork(after_in_child=_drawn.clear)
