"""Marks of changes in Redis, by which the other processes learn of a change, in a round trip that they make anyway.

    change_marks.write("caller-changed:7f3c…")          # by whoever changes the rows, before and after the commit
    [mark] = await change_marks.read("caller-changed:7f3c…")

A mark is a random word that expires after `SECONDS`. A copy of rows is up to date while Redis has the same mark as before the
rows were read. That proves nothing about a copy that is older than `SECONDS`: a mark that it never saw may have come and
expired.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

import redis
from django.conf import settings

from aichat.core.redis import health, pipeline

SECONDS = 120
Marks = Sequence[bytes | None]  # None: nobody has marked the name for a while


def write(*names: str) -> None:
    """Mark these names as changed now, in synchronous code. Without Redis, or while it fails, nothing is written."""
    if not settings.REDIS_URL:
        return
    with suppress(redis.RedisError), health.guarded():
        client = redis.Redis(connection_pool=health.pool())
        for name in names:
            client.set(name, uuid4().hex, ex=SECONDS)


def read(*names: str) -> "asyncio.Future[Marks]":
    """The marks of these names, in one round trip with whatever else is asked now; errors are those of `pipeline.ask`."""
    return pipeline.ask("MGET", *names)


async def answer(marks: "asyncio.Future[Marks] | None") -> Marks | None:
    """The marks that were asked for; None when Redis does not answer."""
    try:
        return await marks if marks is not None else None
    except redis.RedisError:
        return None
