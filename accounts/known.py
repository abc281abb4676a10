"""Callers recognized a moment ago, kept in this process so that a busy key is not looked up for every request.

An entry lives `SHARED_SECONDS` while Redis answers, `ALONE_SECONDS` otherwise. Whatever changes what an entry says (a key
revoked, a role, a limit, a membership) marks its user or organization in Redis for `MARK_SECONDS`, and while a mark is there
nothing of them is taken from memory or kept. A mark outlives every entry made before it, so no look-up that was under way can
bring back what was revoked. The marks are read in the round trip of the rate limit: with Redis a change holds for the next
request everywhere; without it at once in the process that made it, and within a second in the others. (If Redis can't be
reached by the process that makes a change, but by others, it takes them `SHARED_SECONDS`.) Failures are not kept.
"""

import asyncio
import hashlib
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt
import redis
from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from accounts import oidc
from accounts.authentication import Caller, authenticate
from accounts.models import AccessToken, ExternalIdentity, Membership, Organization, User
from aichat import cache, db, tracing

SHARED_SECONDS = 5.0
ALONE_SECONDS = 1.0
MARK_SECONDS = 12
MOST = 10_000  # entries, and marks of this process


@dataclass(frozen=True, slots=True)
class Known:
    """A caller as they were `at` (monotonic seconds); `expires_at` is a JWT's own end (seconds since 1970)."""

    caller: Caller
    at: float
    expires_at: float

    def is_younger_than(self, seconds: float) -> bool:
        return time.monotonic() - self.at < seconds

    @property
    def is_valid(self) -> bool:
        token = self.caller.token
        return (token is None or token.is_usable(timezone.now())) and time.time() < self.expires_at

    @property
    def owners(self) -> tuple[UUID, UUID]:
        return self.caller.user.pk, self.caller.organization.pk


_known: dict[bytes, Known] = {}
_marks: dict[UUID, float] = {}  # until when, in monotonic seconds


class Recognition:
    """Who sends a request. Made and awaited on the event loop; what it asks Redis shares others' round trip."""

    def __init__(self, authorization: str, organization: str) -> None:
        self.headers = authorization, organization
        self.key = hashlib.sha256("\n".join(self.headers).encode()).digest()
        self.marks: asyncio.Future[Any] | None = None
        found = _known.get(self.key)
        if found and not (found.is_younger_than(SHARED_SECONDS) and found.is_valid and not is_marked(found.owners)):
            found = None
        self.found = found
        if found and settings.REDIS_URL:
            self.marks = cache.ask("MGET", *(_mark_name(owner) for owner in found.owners))

    async def caller(self) -> Caller:
        """From memory if nothing has changed, else looked up. Raises what `authenticate` raises."""
        if self.found and await self.is_unchanged(self.found):
            caller = self.found.caller
            tracing.bind(user=caller.user.pk, organization=caller.organization.pk)
            return caller
        return await self.look_up()

    async def is_unchanged(self, found: Known) -> bool:
        if self.marks is None:
            return found.is_younger_than(ALONE_SECONDS)
        try:
            return not any(await self.marks)
        except redis.RedisError:
            return found.is_younger_than(ALONE_SECONDS)

    async def look_up(self) -> Caller:
        at = time.monotonic()  # before the database is read: what changes from here on is newer than the entry
        caller = await db.run(authenticate, *self.headers)
        if len(_known) >= MOST:
            _known.clear()
        _known[self.key] = Known(caller, at, _expires_at(caller, self.headers[0]))
        return caller


def _expires_at(caller: Caller, authorization: str) -> float:
    if caller.token is not None:
        return float("inf")
    claims = jwt.decode(authorization.partition(" ")[2].strip(), options={"verify_signature": False})
    return float(claims["exp"]) + oidc.LEEWAY


# --- Marks ------------------------------------------------------------------------------------------------------------


def is_marked(owners: Iterable[UUID]) -> bool:
    """Whether this process changed something of theirs just now."""
    return bool(_marks) and any(_marks.get(owner, 0.0) > time.monotonic() for owner in owners)


def changed(*owners: UUID | None) -> None:
    """Something of these users or organizations changed: call it in the transaction of the change, or after it."""
    ids = [owner for owner in owners if owner is not None]
    _mark(ids)
    transaction.on_commit(lambda: _mark(ids), robust=True)


def _mark(owners: list[UUID]) -> None:
    now = time.monotonic()
    if len(_marks) >= MOST:
        for owner in [owner for owner, until in _marks.items() if until <= now]:
            del _marks[owner]
    _marks.update(dict.fromkeys(owners, now + MARK_SECONDS))
    if settings.REDIS_URL:
        with suppress(redis.RedisError), cache.guarded():
            client = redis.Redis(connection_pool=cache.pool())
            for owner in owners:
                client.set(_mark_name(owner), 1, ex=MARK_SECONDS)


def _mark_name(owner: UUID) -> str:
    return f"caller-changed:{owner}"


def _row_changed(sender: type[Any], instance: Any, **_: Any) -> None:
    match instance:
        case User() | Organization():
            changed(instance.pk)
        case AccessToken() | Membership():
            changed(instance.user_id, instance.organization_id)
        case ExternalIdentity():
            changed(instance.user_id)


def watch() -> None:
    """Mark what is saved or deleted, wherever that happens. An `update()` of many rows says `changed` itself."""
    for model in (User, Organization, AccessToken, Membership, ExternalIdentity):
        for signal in (post_save, post_delete):
            signal.connect(_row_changed, sender=model, dispatch_uid=f"known:{model.__name__}")


def forget() -> None:
    """Nothing known, nothing marked (for tests)."""
    _known.clear()
    _marks.clear()
