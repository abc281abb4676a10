"""Single flight: of identical requests one asks a provider, and the others wait for its answer.

Within a process the others wait for a future. Between processes and hosts one request of each process looks at the lock of
`store.py` again and again. When the request that asks fails, leaves or dies, another takes its place: at once in the same
process, after at most `store.LEASE` in another. A request that has seen two others fail asks for itself, so that requests
do not try a failing provider one after the other. No request waits longer than its own deadline.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aichat.core.background import lifecycle
from aichat.core.database.models import uuid7
from aichat.promptcache import store
from aichat.promptcache.entry import Entry, Unreadable

FOLLOWED_AT_MOST = 2
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.15  # seconds between two looks at what another process is doing
BEAT = store.LEASE / 6  # seconds: a busy event loop may be late by more than four of them
# A reader that takes nothing for so many seconds keeps nobody else waiting.
READER_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """A stored or shared answer; `is_coalesced`: another request was generating it when this one came."""

    entry: Entry
    is_coalesced: bool


class Flight:
    """A question that one request, the leader, asks a provider. The leader calls `land`, `hand_over` or `give_up`."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.token = uuid7().hex
        self.landed: asyncio.Future[Entry | None] = asyncio.get_running_loop().create_future()
        self.is_locked = False
        self.renewed_at = time.monotonic()
        self.is_asking = False  # a provider, here or in another process
        self.reader_since: float | None = None  # since when its client has something to read

    @property
    def is_under_way(self) -> bool:
        return not self.landed.done() and self.landed.get_loop() is asyncio.get_running_loop()

    async def land(self, entry: Entry, raw: bytes, ttl: float) -> bool:
        """Give the answer to those who wait, and store it; returns whether it was stored."""
        is_locked = self.end(entry)
        return await store.keep(self.digest, raw, ttl, self.token if is_locked else "")

    async def hand_over(self, entry: Entry, raw: bytes) -> None:
        """Give the answer to those who wait, without storing it."""
        if self.end(entry):
            await store.hand_over(self.digest, raw, self.token)

    def give_up(self) -> None:
        """End without an answer: one of those who wait asks next. Does nothing after the end."""
        if self.end(None):
            lifecycle.spawn(store.release(self.digest, self.token))

    def end(self, entry: Entry | None) -> bool:
        """End the flight in this process; returns whether its lock must still be released."""
        was_locked, self.is_locked = self.is_locked, False
        if _under_way.get(self.digest) is self:
            del _under_way[self.digest]
        if not self.landed.done():
            self.landed.set_result(entry)
        return was_locked


_under_way: dict[str, Flight] = {}
_beating: asyncio.TimerHandle | None = None

Read = Callable[[str, bytes], Entry]
Notice = Callable[[str], None]
Confirm = Callable[[], Awaitable[None]]


async def confirmed() -> None:
    """The `Confirm` of a request whose caller is confirmed."""


async def find(
    digest: str, read: Read, notice: Notice, deadline: float, confirm: Confirm = confirmed
) -> Found | Flight:
    """Return the stored answer, or that of a request under way; else a flight that the caller leads.

    `read` makes an entry of a digest and its bytes, or raises `Unreadable` for what can't be served; `notice` is told the
    latest invalidation that the store knows of, and may raise. Raises `TimeoutError` at `deadline` (monotonic seconds).
    `confirm` is awaited with the first look, and raises when the request may not go on.
    """
    for _ in range(FOLLOWED_AT_MOST):
        flight = _under_way.get(digest)
        if flight is None or not flight.is_under_way:
            return await _lead(Flight(digest), read, notice, deadline, confirm)
        await confirm()
        done, _pending = await asyncio.wait({flight.landed}, timeout=deadline - time.monotonic())
        if not done:
            raise TimeoutError
        if entry := flight.landed.result():
            return Found(entry, is_coalesced=flight.is_asking)
    return Flight(digest)  # alone


async def _lead(flight: Flight, read: Read, notice: Notice, deadline: float, confirm: Confirm) -> Found | Flight:
    """Look into the store for this process, wait for another process that is asking, or take the lock."""
    _under_way[flight.digest] = flight
    try:
        found = await _look(flight, read, notice, deadline, confirm)
    except BaseException:
        flight.give_up()
        raise
    if found is None:
        flight.is_asking = True
        _keep_beating()
        return flight
    flight.end(found.entry)
    return found


async def _look(flight: Flight, read: Read, notice: Notice, deadline: float, confirm: Confirm) -> Found | None:
    """Wait for the answer that another process makes. Returns None when this process must ask."""
    leader, leaders, pause = "", 0, SHORTEST_PAUSE
    while True:
        flight.is_locked = True  # perhaps: a request that is cancelled while it looks must release what it took
        seen = await store.look(flight.digest, flight.token, leader)
        flight.is_locked = seen.is_locked
        await confirm()
        notice(seen.latest)
        if seen.raw is not None:
            try:
                return Found(read(flight.digest, seen.raw), is_coalesced=flight.is_asking)
            except Unreadable:
                await store.drop(flight.digest)
                continue
        if not seen.leader:
            return None
        leaders += seen.leader != leader
        if leaders > FOLLOWED_AT_MOST:
            return None
        leader, flight.is_asking = seen.leader, True
        if time.monotonic() + pause >= deadline:
            raise TimeoutError
        await asyncio.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE)


# --- While it is under way --------------------------------------------------------------------------------------------


def _keep_beating() -> None:
    global _beating
    loop = asyncio.get_running_loop()
    if _beating is None or _beating.when() < loop.time() - BEAT:  # overdue: the timer of an event loop that has ended
        _beating = loop.call_later(BEAT, _beat)


def _beat() -> None:
    """Renew the locks of this process, and end flights whose client does not read the answer."""
    global _beating
    _beating = None
    now = time.monotonic()
    for flight in list(_under_way.values()):
        if flight.reader_since is not None and now - flight.reader_since > READER_PATIENCE:
            flight.give_up()
    held = [flight for flight in _under_way.values() if flight.is_locked and now - flight.renewed_at >= BEAT / 2]
    for flight in held:  # seldom one: most chats are over before
        flight.renewed_at = now
    if held:
        lifecycle.spawn(store.renew([(flight.digest, flight.token) for flight in held]))
    if _under_way:
        _keep_beating()
