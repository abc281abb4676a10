"""Marks of changes, by which the other processes learn of a change.

They are in Redis, where they are read in a round trip that is made anyway; with SQLite, whose processes are all on one host,
in a file beside the database (`core/database/sqlite/marks.py`), whether or not there is Redis.

    change_marks.write("caller-changed:7f3c…")          # by whoever changes the rows, before and after the commit
    [mark] = await change_marks.read("caller-changed:7f3c…")

A mark is a random word that expires in Redis after `SECONDS`. A copy of rows is up to date while the mark is the same as
before the rows were read. That proves nothing about a copy that is older than `SECONDS`: a mark that it never saw may have
come and expired.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import redis
from django.conf import settings

from aichat.core.database import transactions
from aichat.core.redis import health, pipeline

if TYPE_CHECKING:
    from aichat.core.database.sqlite import marks

SECONDS = 120
Marks = Sequence[bytes | None]  # None: nobody has marked the name for a while


def are_shared() -> bool:
    """Whether marks reach the other processes, if Redis answers: there is a place for them."""
    return bool(settings.REDIS_URL) or _file() is not None


def write(*names: str) -> None:
    """Mark these names as changed now, in synchronous code. Does nothing without a place, or while Redis fails."""
    if (file := _file()) is not None:
        file.write(names)
    elif settings.REDIS_URL:
        with suppress(redis.RedisError), health.guarded():
            client = redis.Redis(connection_pool=health.pool())
            for name in names:
                client.set(name, uuid4().hex, ex=SECONDS)


def read(*names: str) -> "asyncio.Future[Marks]":
    """The marks of these names: at once, or from Redis in one round trip with whatever else is asked now.

    Errors are those of `pipeline.ask`.
    """
    file = _file()
    if file is None:
        return pipeline.ask("MGET", *names)
    answered: asyncio.Future[Marks] = asyncio.get_running_loop().create_future()
    answered.set_result(file.read(names))
    return answered


def _file() -> "marks.Marks | None":
    if transactions.vendor() != "sqlite":
        return None
    from aichat.core.database.sqlite import marks

    return marks.of_database()


async def answer(marks: "asyncio.Future[Marks] | None") -> Marks | None:
    """The marks that were asked for; None when Redis does not answer."""
    try:
        return await marks if marks is not None else None
    except redis.RedisError:
        return None
