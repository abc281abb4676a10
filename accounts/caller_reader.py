"""Reads callers from the database for the event loop: many at once, since busy workers ask for many each second.

    caller = await caller_reader.read((authorization, organization))

One reading is under way at a time, and all who ask meanwhile share the next one. It costs two statements for all API keys,
instead of one or two and a connection of the pool for each. Those that can wait for `patience` seconds are read after that
time, or earlier together with one that can't. A JWT is verified alone, so that nobody else waits for the issuer's keys,
which may have to be fetched.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextvars import Context
from dataclasses import replace
from uuid import UUID
from weakref import WeakKeyDictionary

from knox.crypto import hash_token

from accounts import oidc
from accounts.authentication import Caller, authenticate, bearer_secret, require_usable
from accounts.models import AccessToken, Membership
from aichat.core.database import executor
from aichat.core.database.batches import in_batches

Headers = tuple[str, str]  # Authorization and X-Organization


class Reader:
    """The readings of one event loop: those who wait for the next one, and the one under way."""

    def __init__(self) -> None:
        self.waiting: dict[Headers, asyncio.Future[Caller]] = {}
        self.reading: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def ask(self, headers: Headers, *, patience: float) -> "asyncio.Future[Caller]":
        loop = asyncio.get_running_loop()
        answer = self.waiting.get(headers)
        if answer is None or answer.done():
            answer = self.waiting[headers] = loop.create_future()
        if not patience:
            self.begin()
        elif self.timer is None:
            self.timer = loop.call_later(patience, self.begin)
        return answer

    def begin(self) -> None:
        """Read all who wait, now or when the reading under way has ended."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.reading is None and self.waiting:
            # In an empty context: what is bound for other callers must not stick to the request that happens to be first.
            self.reading = asyncio.get_running_loop().create_task(self.work(), context=Context())

    async def work(self) -> None:
        try:
            while self.waiting:
                asked, self.waiting = self.waiting, {}
                try:
                    found: Sequence[Caller | Exception] = await executor.run(read_all, list(asked))
                except Exception as error:
                    found = [error] * len(asked)
                for answer, one in zip(asked.values(), found, strict=True):
                    if answer.done():
                        continue  # whoever asked has left
                    if isinstance(one, Exception):
                        answer.set_exception(one)
                    else:
                        answer.set_result(one)
        finally:
            self.reading = None


_readers: "WeakKeyDictionary[asyncio.AbstractEventLoop, Reader]" = WeakKeyDictionary()


def reader() -> Reader:
    """Return the reader of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _readers.get(loop)
    if found is None:
        found = _readers[loop] = Reader()
    return found


async def read(headers: Headers, *, patience: float = 0.0) -> Caller:
    """Return the caller with these headers, and with their place in a team, read within about `patience` seconds.

    Raises what `authenticate` raises.
    """
    if oidc.looks_like_jwt(bearer_secret(headers[0]) or ""):
        [found] = await executor.run(read_all, [headers])
    else:
        return await reader().ask(headers, patience=patience)
    if isinstance(found, Exception):
        raise found
    return found


def read_all(asked: Sequence[Headers]) -> list[Caller | Exception]:
    """Return, for each pair of headers, the caller or the error that `authenticate` raises."""
    secrets = {bearer_secret(authorization) for authorization, _ in asked}
    tokens = _tokens(hash_token(secret) for secret in secrets if secret and not oidc.looks_like_jwt(secret))

    def find(secret: str) -> AccessToken:
        return require_usable(tokens.get(hash_token(secret)))

    found: list[Caller | Exception] = []
    for authorization, organization in asked:
        try:
            found.append(authenticate(authorization, organization, find))
        except Exception as error:
            found.append(error)
    places = _places(one for one in found if isinstance(one, Caller))
    return [_in_their_place(one, places) if isinstance(one, Caller) else one for one in found]


def _tokens(digests: Iterable[str]) -> dict[str, AccessToken]:
    rows = AccessToken.objects.select_related("user", "organization")
    return {token.digest: token for batch in in_batches(digests) for token in rows.filter(digest__in=batch)}


def _places(callers: Iterable[Caller]) -> dict[tuple[UUID, UUID], Membership]:
    in_teams = [caller for caller in callers if not caller.organization.is_personal]
    places: dict[tuple[UUID, UUID], Membership] = {}
    for batch in in_batches(in_teams):
        users, teams = {caller.user.pk for caller in batch}, {caller.organization.pk for caller in batch}
        rows = Membership.objects.filter(user__in=users, organization__in=teams)
        places.update({(row.user_id, row.organization_id): row for row in rows})
    return places


def _in_their_place(caller: Caller, places: dict[tuple[UUID, UUID], Membership]) -> Caller:
    place = places.get((caller.user.pk, caller.organization.pk))
    return caller if caller.organization.is_personal else replace(caller, membership=place)
