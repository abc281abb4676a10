"""The store of answers: Redis, shared by all processes, else this process's memory. It maps digests to bytes and locks.

A look that finds nothing takes the question's lock in the same step, so exactly one process asks a provider. The lock is
a lease: its holder renews it, and a holder that died loses it within `LEASE`. Its token is a fence: when a holder that was
taken for dead writes late, nothing changes. A failure of Redis is no error here: it is a miss without a lock.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings

from aichat.core.redis import health, pipeline
from aichat.core.redis.pipeline import Script

logger = logging.getLogger(__name__)

LEASE = 1.5  # seconds a lock outlives its holder
SHARED_FOR = 10.0  # seconds for which an answer that may not be stored is kept for those who wait for it
PREFIX = "aichat:prompt"
LATEST = f"{PREFIX}:latest"
WARN_EVERY = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Look:
    """The result of a look into the store.

    `raw` are the stored bytes. Without them `leader` is the token of the process that is asking a provider; an empty one
    means that this process must ask.

    `latest` is the newest invalidation that Redis knows of.
    """

    raw: bytes | None = None
    leader: str = ""
    is_locked: bool = False
    latest: str = ""


def announce(version: str) -> None:
    """Announce the latest invalidation to other processes, which else find it in the database within half a second."""
    if settings.REDIS_URL:
        try:
            with health.guarded():
                redis.Redis(connection_pool=health.pool()).set(LATEST, version)
        except redis.RedisError as error:
            _none(error)


async def look(digest: str, token: str, leader: str = "") -> Look:
    """Read the stored answer, or else take the lock. `leader`: the holder seen before, who may have left an answer."""
    if not settings.REDIS_URL:
        return Look(memory.get(digest))
    keys = [_answer(digest), _lock(digest), LATEST]
    found = await _run(LOOK, keys, [token, int(LEASE * 1000), leader])
    if found is None:
        return Look()
    raw, holder, is_locked, latest = found
    return Look(raw, holder.decode(), bool(is_locked), latest.decode())


async def keep(digest: str, raw: bytes, ttl: float, token: str = "") -> bool:
    """Store an answer for `ttl` seconds, and release the lock that `token` holds.

    Returns False when it could not be stored, or when another process holds the lock by now.
    """
    if not settings.REDIS_URL:
        return memory.set(digest, raw, ttl)
    if token:
        return bool(await _run(STORE, [_lock(digest), _answer(digest)], [token, raw, int(ttl * 1000)], hurry=False))
    return bool(await _answer_to("SET", _answer(digest), raw, "PX", int(ttl * 1000)))


async def get_many(digests: Sequence[str]) -> list[bytes | None]:
    """The stored answers of these digests, None for each that is missing; nothing is locked. Redis is asked in one trip."""
    if not settings.REDIS_URL:
        return [memory.get(digest) for digest in digests]
    return list(await asyncio.gather(*(_answer_to("GET", _answer(digest)) for digest in digests)))


async def hand_over(digest: str, raw: bytes, token: str) -> None:
    """Leave an answer only for those who saw `token` hold the lock; then release the lock."""
    if settings.REDIS_URL:
        keys = [_lock(digest), f"{_answer(digest)}:{token}"]
        await _run(STORE, keys, [token, raw, int(SHARED_FOR * 1000)])


async def release(digest: str, token: str) -> None:
    """Release the lock, so that another process asks."""
    await _run(RELEASE, [_lock(digest)], [token])


async def renew(held: Sequence[tuple[str, str]]) -> None:
    """Extend the locks of these digests and tokens by `LEASE` seconds."""
    await asyncio.gather(*(_run(RENEW, [_lock(digest)], [token, int(LEASE * 1000)]) for digest, token in held))


async def drop(digest: str) -> None:
    """Delete an answer that may not be served again."""
    if settings.REDIS_URL:
        await _answer_to("DEL", _answer(digest))
    else:
        memory.drop(digest)


def _answer(digest: str) -> str:
    return f"{PREFIX}:{{{digest}}}:answer"  # the braces keep a question's keys on one node of a cluster


def _lock(digest: str) -> str:
    return f"{PREFIX}:{{{digest}}}:lock"


# --- Redis ------------------------------------------------------------------------------------------------------------


async def _run(script: Script, keys: Sequence[str], args: Sequence[str | bytes | int], *, hurry: bool = True) -> Any:
    """Run a script and return its answer; None when Redis fails or refuses."""
    try:
        return await script.ask(keys, args, hurry=hurry)
    except redis.RedisError as error:
        return _none(error)


async def _answer_to(*command: str | bytes | int) -> Any:
    try:
        return await pipeline.ask(*command)
    except redis.RedisError as error:
        return _none(error)


def _none(error: redis.RedisError) -> None:
    """Return None; log a refusal at most once per `WARN_EVERY`. A Redis that does not answer was logged already."""
    global _next_warning
    if not isinstance(error, health.CacheUnavailable) and time.monotonic() >= _next_warning:
        _next_warning = time.monotonic() + WARN_EVERY
        logger.warning("Redis does not keep answers: %s", error)


_next_warning = 0.0


# Answers [the answer, or the token of who is asking a provider ("" once it is we), whether we hold the lock, the latest
# invalidation]. With maxmemory reached, SET fails: then we ask without a lock, and what is stored is still found.
LOOK = Script.of("""
local latest = redis.call('get', KEYS[3]) or ''
local found = redis.call('get', KEYS[1]) or (ARGV[3] ~= '' and redis.call('get', KEYS[1] .. ':' .. ARGV[3]))
if found then return {found, '', 0, latest} end
local set = redis.pcall('set', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
if set then return {false, '', set['ok'] and 1 or 0, latest} end
return {false, redis.call('get', KEYS[2]) or '', 0, latest}
""")
# Renew, give up, or store and give up, as long as the lock is ours.
RENEW = Script.of(
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
)
RELEASE = Script.of("if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0")
STORE = Script.of("""
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
local set = redis.pcall('set', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('del', KEYS[1])
if set['err'] then return redis.error_reply(set['err']) end
return 1
""")


# --- Without Redis ----------------------------------------------------------------------------------------------------


class Memory:
    """Keeps answers in this process. Beyond PROMPT_CACHE_MEMORY bytes the least recently used answers are dropped.

    Only one event loop may use it.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._size = 0

    def get(self, digest: str) -> bytes | None:
        found = self._kept.get(digest)
        if found is None:
            return None
        raw, until = found
        if until <= time.monotonic():
            self.drop(digest)
            return None
        self._kept.move_to_end(digest)
        return raw

    def set(self, digest: str, raw: bytes, ttl: float) -> bool:
        if digest in self._kept:
            self.drop(digest)
        self._kept[digest] = raw, time.monotonic() + ttl
        self._size += len(raw)
        while self._size > settings.PROMPT_CACHE_MEMORY:
            self.drop(next(iter(self._kept)))
        return digest in self._kept

    def drop(self, digest: str) -> None:
        if (found := self._kept.pop(digest, None)) is not None:
            self._size -= len(found[0])

    def clear(self) -> None:
        self._kept.clear()
        self._size = 0


memory = Memory()
