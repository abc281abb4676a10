"""What is done to the hosts while clients are served, one experiment after the other."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx

from tests.engines import ReplicaSet
from tests.soak.cluster.bed import Bed, Host
from tests.soak.cluster.clients import CHAT_MODEL, Load

FROZEN = 30.0  # seconds
CUT = 10.0  # seconds without an answer, and as many with refused connections
OFF = 300  # seconds
CLOCKS_OFF = 20.0  # seconds of load with these clocks
NO_VALKEY = 10.0  # seconds
RATE = 10  # requests in a minute of a limited key


@dataclass
class Run:
    """What an experiment may touch. `key` is a person's who has no part in the load; broken promises go to `broken`."""

    bed: Bed
    load: Load
    key: str
    scale: float
    broken: list[str]

    def expect(self, holds: bool, promise: str) -> None:
        if not holds:
            self.broken.append(f"{self.load.phase}: {promise}")

    async def rest(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self.scale)

    async def back(self, seconds: float = 20) -> None:
        """Until the balancer has all three hosts."""
        is_back = await asyncio.to_thread(becomes, lambda: len(self.bed.up()) == 3, seconds)
        self.expect(is_back, "a host that is well again is not in service")

    async def gone(self, host: Host, seconds: float = 8) -> None:
        """Expect the balancer to take the host out."""
        is_gone = await asyncio.to_thread(becomes, lambda: host.name not in self.bed.up(), seconds)
        self.expect(is_gone, f"host {host.name} is ill and still in service")


def becomes(question: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


async def rolling_restart(run: Run) -> int:
    """Replace every host, one after the other, while streams are open on it."""
    for host in run.bed.hosts:
        await asyncio.to_thread(host.replace)
        await run.back()
    return len(run.bed.hosts)


async def frozen(run: Run) -> int:
    """Freeze all processes of a host that holds work; it goes on after its leases have run out."""
    host = run.bed.hosts[0]
    host.signal(signal.SIGSTOP)
    await run.gone(host)
    await run.rest(FROZEN)
    host.signal(signal.SIGCONT)
    await run.back()
    await run.rest(5)
    return 1


async def cut_off(run: Run) -> int:
    """A host that can't reach database and Valkey: first nothing answers, late packets arrive all the same, then refused.

    MongoDB's members name themselves to their clients, so that no link can stand between: there Valkey alone is cut off,
    and then the primary is killed.
    """
    host = run.bed.hosts[1]
    host.link.signal(signal.SIGSTOP)
    if not isinstance(run.bed.database, ReplicaSet):  # a host that has lost Valkey alone serves on
        await run.gone(host)
    await run.rest(CUT)
    host.link.signal(signal.SIGCONT)
    await run.rest(4)
    await asyncio.to_thread(host.link.kill)
    await run.rest(CUT)
    host.link.start()
    await run.back()
    if isinstance(run.bed.database, ReplicaSet):
        member = run.bed.database.primary()
        await asyncio.to_thread(member.stop)
        await run.rest(CUT)
        await asyncio.to_thread(member.start)
        return 3
    return 2


async def clocks_off(run: Run) -> int:
    """One host is five minutes ahead, one as much behind, the third is right."""
    await set_clocks(run, OFF, -OFF)
    off = [await asyncio.to_thread(clock_off, host) for host in run.bed.hosts]
    run.expect(off[0] > OFF - 5 and off[1] < 5 - OFF and off[2] == 0, f"/readyz does not name the clocks: {off}")
    await asyncio.gather(asyncio.to_thread(times_are_right, run), run.rest(CLOCKS_OFF))
    await set_clocks(run, 0, 0)
    return 2


async def set_clocks(run: Run, *seconds: int) -> None:
    for host, off in zip(run.bed.hosts, seconds, strict=False):
        host.clock_off = off
        await asyncio.to_thread(host.replace)
    await run.back()


def clock_off(host: Host) -> float:
    return float(httpx.get(f"{host.address}/readyz", timeout=5).json().get("clock_off_seconds", 0.0))


def times_are_right(run: Run) -> None:
    """Keys end at their time, and limits and Idempotency-Keys are common, whichever host is asked."""
    ends = datetime.now(UTC) + timedelta(seconds=6)
    short = new_key(run, run.bed.hosts[2], expires_at=ends.isoformat())
    seen = [status(host, short) for host in run.bed.hosts]
    run.expect(seen == [200, 200, 200], f"a key is refused before its time: {seen}")
    limit_is_common(run, most=RATE)
    answers = [ask(host, run.key, "the same question") for host in run.bed.hosts]
    ids = {answer.json().get("id") for answer in answers}
    run.expect(len(ids) == 1, f"a repeated Idempotency-Key was answered anew: {[a.status_code for a in answers]}")
    time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()) + 1.5)
    seen = [status(host, short) for host in run.bed.hosts]
    run.expect(seen == [401, 401, 401], f"a key is taken after its time: {seen}")


def limit_is_common(run: Run, *, most: int) -> None:
    limited = new_key(run, run.bed.hosts[2], rate_limit=f"{RATE}/min")
    seen = Counter(status(host, limited) for _ in range(RATE) for host in run.bed.hosts)
    run.expect(RATE <= seen[200] <= most, f"{RATE} requests a minute: {dict(seen)}")


def new_key(run: Run, host: Host, **limits: str) -> str:
    headers = {"Authorization": f"Bearer {run.key}"}
    body = {"name": "short", **limits}
    answer = httpx.post(f"{host.address}/api/v1/api-keys", json=body, headers=headers, timeout=20)
    if answer.status_code != 201:
        raise RuntimeError(answer.text)
    return str(answer.json()["key"])


def status(host: Host, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{host.address}/v1/models", headers=headers, timeout=20).status_code


def ask(host: Host, key: str, question: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": question.replace(" ", "-")}
    body = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": question}], "max_tokens": 100}
    return httpx.post(f"{host.address}/v1/chat/completions", json=body, headers=headers, timeout=20)


async def valkey_lost(run: Run) -> int:
    """The primary is killed, there is none for a while, then the replica is promoted; the old one follows it."""
    primary, replica = run.bed.valkeys
    await asyncio.to_thread(primary.stop)
    await asyncio.sleep(2)
    await asyncio.to_thread(revocation_holds, run, 1.5)
    await asyncio.to_thread(limit_is_common, run, most=RATE * len(run.bed.hosts))
    await run.rest(NO_VALKEY)
    await asyncio.to_thread(run.bed.promote, replica)
    await asyncio.sleep(3)
    await asyncio.to_thread(revocation_holds, run, 5.0)
    await asyncio.to_thread(limit_is_common, run, most=RATE)
    await run.back()
    return 2


def revocation_holds(run: Run, seconds: float) -> None:
    """A key that is revoked on one host is refused by all within `seconds`."""
    headers = {"Authorization": f"Bearer {run.key}"}
    host, *others = run.bed.hosts
    made = httpx.post(f"{host.address}/api/v1/api-keys", json={"name": "lost"}, headers=headers, timeout=20).json()
    seen = [status(one, made["key"]) for one in run.bed.hosts]
    run.expect(seen == [200, 200, 200], f"a new key is refused: {seen}")
    httpx.delete(f"{host.address}/api/v1/api-keys/{made['id']}", headers=headers, timeout=20).raise_for_status()
    run.expect(status(host, made["key"]) == 401, "a revoked key is taken by the host that revoked it")
    time.sleep(seconds)
    seen = [status(one, made["key"]) for one in others]
    run.expect(seen == [401, 401], f"a revoked key is taken after {seconds} seconds: {seen}")


EXPERIMENTS: dict[str, Callable[[Run], Awaitable[int]]] = {
    "rolling restart of all hosts": rolling_restart,
    "a host frozen for 30 s": frozen,
    "a host cut off, twice": cut_off,
    "clocks 5 min ahead, behind": clocks_off,
    "Valkey killed, replica promoted": valkey_lost,
}
