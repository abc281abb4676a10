"""The circuit breaker, over HTTP and with many at once; in process and on a real Redis."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from django.core.cache.backends.locmem import LocMemCache

from aichat.catalog import snapshot
from aichat.generation import circuit_breaker
from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.generation.test_faults import ask
from tests.upstream import Reply, Upstream

FIRST = "gemini-3.8-flash"


@pytest.fixture(params=["process", "redis"])
def state(request: pytest.FixtureRequest) -> str:
    """Where the breakers are kept: each test runs in both places."""
    if request.param == "redis":
        request.getfixturevalue("valkey")
    return str(request.param)


@pytest.fixture
def breaking(upstream: Upstream, settings: Any) -> Upstream:
    settings.BREAKER_FAILURES, settings.BREAKER_COOLDOWN = 3, 0.8
    upstream.always("gemini", Reply("refuse", 500))
    return upstream


@pytest.fixture
def opened(breaking: Upstream, http: httpx.Client, alice: Actor, state: str) -> Upstream:
    """Gemini's breaker is open, after exactly as many failures as it takes."""
    for _ in range(3):
        ask(http, alice, "auto", "json")
    assert len(breaking.asked("gemini")) == 3
    return breaking


def circuit() -> circuit_breaker.Breaker:
    return circuit_breaker.states([snapshot.current()[FIRST]])[0]


def test_it_opens_after_so_many_failures_and_the_candidate_is_skipped(
    opened: Upstream, http: httpx.Client, alice: Actor
) -> None:
    for mode in ("json", "stream"):
        seen = ask(http, alice, "auto", mode)
        assert (seen.body["provider"], seen.body["fallback"]) == ("openai", True)
    assert len(opened.asked("gemini")) == 3
    last = UsageRecord.objects.order_by("-created_at", "-attempt")[0]
    assert (last.provider, last.attempt, last.fallback) == ("openai", 2, True)


def test_a_success_starts_the_count_anew(breaking: Upstream, http: httpx.Client, alice: Actor, state: str) -> None:
    for _ in range(3):
        breaking.always("gemini", Reply("refuse", 500))
        ask(http, alice, "auto", "json")
        ask(http, alice, "auto", "json")
        breaking.always("gemini", Reply())
        assert ask(http, alice, "auto", "json").body["provider"] == "gemini"
        until = time.monotonic() + 2
        while circuit().failures and time.monotonic() < until:
            time.sleep(0.01)
    assert circuit().state == circuit_breaker.CLOSED


@pytest.mark.parametrize("reply", [Reply("blocked"), Reply("refuse", 400), Reply("thinking_only")])
def test_what_the_client_caused_does_not_count(
    reply: Reply, breaking: Upstream, http: httpx.Client, alice: Actor
) -> None:
    breaking.always("gemini", reply)
    for _ in range(4):
        ask(http, alice, "auto", "json")
    assert len(breaking.asked("gemini")) == 4
    assert circuit().state == circuit_breaker.CLOSED


def test_a_stream_that_breaks_off_counts(breaking: Upstream, http: httpx.Client, alice: Actor) -> None:
    breaking.always("gemini", Reply("truncate"))
    for _ in range(3):
        ask(http, alice, "auto", "stream")
    assert circuit().state == circuit_breaker.OPEN


def test_a_429_is_left_alone_for_as_long_as_it_asks(
    breaking: Upstream, http: httpx.Client, alice: Actor, state: str
) -> None:
    breaking.plan("gemini", Reply("refuse", 429, headers={"Retry-After": "60"}))
    ask(http, alice, "auto", "json")
    ask(http, alice, "auto", "json")
    assert len(breaking.asked("gemini")) == 1
    assert 55 < circuit().wait <= 60


def test_the_longer_cooldown_wins(breaking: Upstream, http: httpx.Client, alice: Actor, settings: Any) -> None:
    settings.BREAKER_FAILURES, settings.BREAKER_COOLDOWN = 1, 100
    breaking.plan("gemini", Reply("refuse", 429, headers={"Retry-After": "7"}))
    ask(http, alice, "auto", "json")
    assert 95 < circuit().wait <= 100


def test_after_the_cooldown_a_success_closes_it(opened: Upstream, http: httpx.Client, alice: Actor) -> None:
    opened.always("gemini", Reply())
    time.sleep(0.9)
    assert circuit().state == circuit_breaker.HALF_OPEN
    assert ask(http, alice, "auto", "json").body["provider"] == "gemini"
    until = time.monotonic() + 2
    while circuit().state != circuit_breaker.CLOSED:
        assert time.monotonic() < until
    assert ask(http, alice, "auto", "json").body["fallback"] is False


def test_after_the_cooldown_a_failure_opens_it_again(opened: Upstream, http: httpx.Client, alice: Actor) -> None:
    time.sleep(0.9)
    ask(http, alice, "auto", "json")
    assert len(opened.asked("gemini")) == 4
    assert circuit().state == circuit_breaker.OPEN
    ask(http, alice, "auto", "json")
    assert len(opened.asked("gemini")) == 4


def test_of_many_at_once_exactly_one_probes(opened: Upstream, server: str, alice: Actor, settings: Any) -> None:
    alice.set_credits(100_000)
    settings.CHAT_ATTEMPT_TIMEOUT = 5
    opened.always("gemini", Reply("late"))
    time.sleep(0.9)

    def one(_: int) -> Any:
        with httpx.Client(base_url=server, timeout=20) as client:
            return ask(client, alice, "auto", "json").body["provider"]

    with ThreadPoolExecutor(12) as pool:
        served = list(pool.map(one, range(12)))
    assert sorted(served) == ["gemini"] + ["openai"] * 11
    assert len(opened.asked("gemini")) == 4


def test_a_probe_whose_client_left_lets_another_try(
    opened: Upstream, server: str, http: httpx.Client, alice: Actor, settings: Any
) -> None:
    from tests.generation.charging.test_bill import eventually, leave, no_open_hold

    settings.CHAT_FIRST_TOKEN_TIMEOUT = 8
    opened.plan("gemini", Reply("hang"))
    time.sleep(0.9)
    leave(server, opened, alice, "auto", stream=True)
    eventually(no_open_hold)
    opened.always("gemini", Reply())
    eventually(lambda: ask(http, alice, "auto", "json").body["provider"] == "gemini")


def test_a_cache_that_fails_never_breaks_a_chat(
    breaking: Upstream, http: httpx.Client, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("no cache")

    for name in ("get", "get_many", "set", "add", "incr", "delete", "delete_many"):
        monkeypatch.setattr(LocMemCache, name, fail)
    for _ in range(5):
        assert ask(http, alice, "auto", "json").body["provider"] == "openai"
    assert len(breaking.asked("gemini")) == 5


def test_a_redis_that_is_gone_never_breaks_a_chat(
    valkey: Any, breaking: Upstream, http: httpx.Client, alice: Actor
) -> None:
    valkey.stop()
    for _ in range(5):
        assert ask(http, alice, "auto", "json").body["provider"] == "openai"


def test_readyz_shows_what_is_left_alone(opened: Upstream, http: httpx.Client) -> None:
    answer = http.get("/readyz")
    (shown,) = answer.json()["breakers"]
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert (shown["provider"], shown["model"], shown["state"]) == ("gemini", FIRST, "open")
    assert 0 < shown["retry_after"] <= 0.8


def test_readyz_shows_nothing_when_all_is_well(http: httpx.Client) -> None:
    assert "breakers" not in http.get("/readyz").json()


@pytest.fixture(autouse=True)
def _enough_credits(alice: Actor) -> Iterator[None]:
    alice.set_credits(10_000)
    yield
