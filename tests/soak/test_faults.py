"""Many streams at once against providers that fail at random. `make soak` runs 500, the suite a few."""

import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

import httpx

from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry
from credits.verify import problems
from tests.conftest import Actor
from tests.generation.charging.test_bill import eventually
from tests.generation.faults import FAULTS
from tests.generation.test_faults import ask
from tests.upstream import Recorded, Reply, Upstream

STREAMS = int(os.environ.get("SOAK_STREAMS", "60"))
SHARE = float(os.environ.get("SOAK_FAULTS", "0.1" if STREAMS >= 500 else "0.4"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
KINDS = [
    fault.reply for fault in FAULTS if fault.stream and fault.reply.kind not in {"answer", "refused", "unconnected"}
]

FAILURES = {
    "400 invalid_request",
    "400 content_blocked",
    "502 provider_error",
    "503 provider_unavailable",
    "504 provider_timeout",
}


def test_no_credit_is_lost_and_no_stream_ends_in_silence(
    server: str, upstream: Upstream, alice: Actor, settings: Any, capsys: Any
) -> None:
    settings.RATE_LIMIT_USER = "1000000/sec"
    settings.BREAKER_COOLDOWN = 0.2
    settings.CHAT_TOTAL_TIMEOUT = 3.0
    alice.set_credits(1_000_000)
    chance, dealt = random.Random(SEED), Counter[str]()
    faults = cycle(chance.sample(KINDS, len(KINDS)))  # at random places, but every kind

    def choose(request: Recorded) -> Reply:
        reply = next(faults) if chance.random() < SHARE else Reply()
        dealt[f"{reply.kind} {reply.status}" if reply.kind == "refuse" else reply.kind] += 1
        return Reply(reply.kind, reply.status, reply.code)  # without Retry-After: it would close the road for all

    upstream.choose = choose

    def one(_: int) -> str:
        with httpx.Client(base_url=server, timeout=30) as client:
            seen = ask(client, alice, "auto", "stream")
        return seen.last_event if seen.status == 200 else f"HTTP {seen.status} {seen.code}"

    with ThreadPoolExecutor(10) as pool:
        ends = Counter(pool.map(one, range(STREAMS)))
    eventually(lambda: not Hold.objects.filter(state=Hold.State.OPEN).exists())

    with capsys.disabled():
        print(f"\n{STREAMS} streams\n  saw    {dict(ends)}\n  dealt  {dict(dealt)}")  # noqa: T201
    assert set(ends) <= {"completed", "error"} | {f"HTTP {end}" for end in FAILURES}
    assert ends["completed"] > STREAMS / 4
    assert list(problems()) == []
    charges = LedgerEntry.objects.filter(kind="CHARGE").values_list("amount", flat=True)
    assert -sum(charges) == sum(UsageRecord.objects.values_list("charged", flat=True))
    assert UsageRecord.objects.filter(final=True).count() == Hold.objects.count()
