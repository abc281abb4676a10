"""A cache of authenticated callers in this process, so that a busy key is not looked up for every request.

A change of anything an entry contains (a revoked key, a role, a limit, a membership) writes a mark for its user or
organization, in this process and for the others (`core/redis/change_marks.py`). An entry is used only while the marks equal
those that were read before the database was: a look-up that was under way during a revocation can't bring the revoked key
back. Marks are read with each request: with Redis in the round trip of the rate limit, with SQLite from memory. So a change
holds for the next request everywhere. Without them it holds at once in the process that made it and within a second in the
others. Failed authentications are not cached.

| age of an entry, in seconds | while marks can be read | without marks |
| --- | --- | --- |
| up to `FRESH_SECONDS` | is used | – |
| up to `SHARED_SECONDS` | is used, and looked up again beside the request | – |
| up to `AHEAD` of `ALONE_SECONDS` | – | is used |
| up to `ALONE_SECONDS` | – | is used, and looked up again beside the request |
| beyond | the request waits for a look-up | the request waits for a look-up |

So a mark that was never written (Redis was full, or unreachable for that process alone), or that Redis has lost, is made up
for by the look-up beside the next request, a minute later at most: in that process a revoked key can make this request, and
others for `SHARED_PATIENCE` seconds.
"""

import asyncio
import hashlib
import math
import threading
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from accounts import caller_reader, oidc
from accounts.authentication import Caller
from accounts.models import AccessToken, ExternalIdentity, Membership, Organization, User
from aichat.core.database import clock
from aichat.core.errors import ApiError
from aichat.core.redis import change_marks
from aichat.core.telemetry import tracing

FRESH_SECONDS = 5.0
SHARED_SECONDS = 60.0  # less than a mark lives in Redis: no mark comes and goes in the lifetime of an entry
ALONE_SECONDS = 1.0
AHEAD = 0.7  # of `ALONE_SECONDS`, after which an entry in use is looked up again
# Seconds for which such a look-up waits for others: one statement reads all. Without marks the entry would be too old then.
SHARED_PATIENCE, ALONE_PATIENCE = 1.0, 0.1
MOST = 10_000  # entries, and marks of this process


@dataclass(frozen=True, slots=True)
class CachedCaller:
    """A caller as read from the database at the monotonic time `at`.

    `changes` is the count of this process's changes at that time, and `marks` are the shared marks (None: nobody could
    tell). `owners` are the IDs of the user and the organization; `ends` is when the token or JWT expires, in seconds
    since 1970.
    """

    caller: Caller
    owners: tuple[str, str]
    at: float
    changes: int
    marks: change_marks.Marks | None
    ends: float

    @property
    def is_valid(self) -> bool:
        """Return whether this process knows of nothing that outdates the entry."""
        user, organization = self.owners
        latest = max(_forgotten, _latest.get(user, 0), _latest.get(organization, 0))
        is_young = time.monotonic() - self.at < SHARED_SECONDS
        return (
            is_young
            and self.changes >= latest
            and (self.ends == math.inf or clock.shared_now().timestamp() < self.ends)
        )


@dataclass(frozen=True, slots=True)
class LookUp:
    """A look-up under way, which requests with the same headers share.

    `changes` is the count of this process's changes, and `marks` are the shared marks, from before the database was asked.
    """

    changes: int
    marks: change_marks.Marks | None
    task: "asyncio.Task[Caller]"

    def may_be_joined(self, marks: change_marks.Marks | None) -> bool:
        """Return whether a request that has seen these marks may use the look-up: nothing has changed since it began."""
        is_unmarked = marks is None or marks == self.marks
        return is_unmarked and self.changes == _changes and self.task.get_loop() is asyncio.get_running_loop()


_known: dict[bytes, CachedCaller] = {}
_under_way: dict[bytes, LookUp] = {}


class Recognition:
    """The authentication of one request, on the event loop; its questions to Redis share one round trip with others.

    `found` is the cached caller, if this process knows of nothing that outdates the entry.
    """

    def __init__(self, authorization: str, organization: str) -> None:
        self.headers = authorization, organization
        self.key = hashlib.sha256("\n".join(self.headers).encode()).digest()
        self.latest = _known.get(self.key)
        self.found = self.latest if self.latest and self.latest.is_valid else None
        self.marks: asyncio.Future[change_marks.Marks] | None = None
        if self.latest and change_marks.are_shared():
            self.marks = change_marks.read(*map(_mark_name, self.latest.owners))

    async def caller(self) -> Caller:
        """Return the cached caller if nothing has changed, else look the caller up. Raises what `authenticate` raises."""
        seen = await change_marks.answer(self.marks) if self.marks is not None else None
        if found := self.found:
            age, is_alone = time.monotonic() - found.at, seen is None
            if age < (ALONE_SECONDS if is_alone else SHARED_SECONDS) and (is_alone or seen == found.marks):
                if age > (ALONE_SECONDS * AHEAD if is_alone else FRESH_SECONDS):
                    self.begin_look_up(seen, patience=ALONE_PATIENCE if is_alone else SHARED_PATIENCE)
                user, organization = found.owners
                tracing.bind(user=user, organization=organization)
                return found.caller
        caller = await self.look_up(seen)
        tracing.bind(user=caller.user.pk, organization=caller.organization.pk)
        return caller

    async def look_up(self, seen: change_marks.Marks | None) -> Caller:
        return await asyncio.shield(
            self.begin_look_up(seen)
        )  # a cancelled request must not stop the look-up for others

    def begin_look_up(self, seen: change_marks.Marks | None, *, patience: float = 0.0) -> "asyncio.Task[Caller]":
        """Return the look-up under way, or begin a new one that may wait `patience` seconds for others to read with it."""
        one = _under_way.get(self.key)
        if one is None or not one.may_be_joined(seen):
            task = asyncio.create_task(self.look_up_alone(seen, patience))
            one = _under_way[self.key] = LookUp(_changes, seen, task)
            one.task.add_done_callback(self.looked_up)
        elif not patience:
            caller_reader.reader().begin()  # the reading may be waiting for others to join it
        return one.task

    def looked_up(self, task: "asyncio.Task[Caller]") -> None:
        """Note that the look-up has ended; when it found nobody, the cached caller is dropped."""
        if (one := _under_way.get(self.key)) and one.task is task:
            del _under_way[self.key]
        error = None if task.cancelled() else task.exception()  # asked for, because all who waited may have left
        if isinstance(error, ApiError):
            _known.pop(self.key, None)  # these headers are nobody's any more

    async def look_up_alone(self, seen: change_marks.Marks | None, patience: float) -> Caller:
        """Read the caller from the database and cache it, with marks that were read before the database was."""
        at, changes = time.monotonic(), _changes
        caller = await caller_reader.read(self.headers, patience=patience)
        owners = _owners_of(caller)
        if change_marks.are_shared() and (self.latest is None or self.latest.owners != owners):
            # Only now it is known whose marks matter. Where there is no mark, nothing changed during the look-up.
            seen = await change_marks.answer(change_marks.read(*map(_mark_name, owners)))
            if seen and any(seen):
                at, changes = time.monotonic(), _changes
                caller = await caller_reader.read(self.headers, patience=patience)
        if owners == _owners_of(caller):
            if len(_known) >= MOST:
                _known.clear()
            _known[self.key] = CachedCaller(caller, owners, at, changes, seen, _end(caller, self.headers[0]))
        return caller


def _owners_of(caller: Caller) -> tuple[str, str]:
    return str(caller.user.pk), str(caller.organization.pk)


def _end(caller: Caller, authorization: str) -> float:
    if caller.token is not None:
        return caller.token.expiry.timestamp() if caller.token.expiry else float("inf")
    claims = jwt.decode(authorization.partition(" ")[2].strip(), options={"verify_signature": False})
    return float(claims["exp"]) + oidc.LEEWAY


# --- Marks ------------------------------------------------------------------------------------------------------------


_lock = threading.Lock()
_changes = 0  # how many changes this process has made
_latest: dict[str, int] = {}  # by the owner's ID: the number of the last change of the owner
_forgotten = 0  # the number of the last change before `_latest` was emptied: it may have been of any owner


def changed(*owners: UUID | None) -> None:
    """Outdate cached callers of these users or organizations. Call it in the transaction of the change, or after."""
    ids = [str(owner) for owner in owners if owner is not None]
    _mark(ids)
    transaction.on_commit(lambda: _mark(ids), robust=True)


def _mark(owners: list[str]) -> None:
    global _changes, _forgotten
    with _lock:
        _changes += 1
        if len(_latest) >= MOST:
            _latest.clear()
            _forgotten = _changes
        _latest.update(dict.fromkeys(owners, _changes))
    change_marks.write(*map(_mark_name, owners))


def _mark_name(owner: str) -> str:
    return f"caller-changed:{owner}"


def _row_changed(sender: type[Any], instance: Any, created: bool = False, **_: Any) -> None:
    if created and sender in {User, Organization, AccessToken}:
        return  # no cached caller can hold a row that was made just now
    match instance:
        case User() | Organization():
            changed(instance.pk)
        case AccessToken() | Membership():
            changed(instance.user_id, instance.organization_id)
        case ExternalIdentity():
            changed(instance.user_id)


def watch() -> None:
    """Connect the signals that mark saved and deleted rows. Code that calls `update()` must call `changed` itself."""
    for model in (User, Organization, AccessToken, Membership, ExternalIdentity):
        for signal in (post_save, post_delete):
            signal.connect(_row_changed, sender=model, dispatch_uid=f"known:{model.__name__}")


def forget() -> None:
    """Empty the cache and this process's marks (for tests)."""
    _known.clear()
    _latest.clear()
