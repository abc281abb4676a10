"""A real Valkey that is stopped, started and frozen: the cache may always be lost, and nothing else with it."""

import asyncio
import gc
import logging
import os
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
import redis
from asgiref.sync import sync_to_async
from django.core.cache import cache as django_cache
from django.core.checks import run_checks
from django.test import Client

from accounts import rate_limits
from aichat.core.errors import RateLimited
from aichat.core.redis import health, pipeline
from tests.conftest import Actor
from tests.engines import Valkey, free_port
from tests.other_servers import use_redis

CHAT = {"message": "Hello"}


@pytest.fixture
def quick_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a Redis that failed again after 50 ms instead of seconds."""
    monkeypatch.setattr(health, "PAUSE", 0.05)


def chat(http: httpx.Client, who: Actor) -> float:
    """One chat that must succeed; answers how many seconds it took."""
    started = time.monotonic()
    response = http.post("/api/v1/chat", json=CHAT, headers=who.headers)
    assert response.status_code == 200, response.text
    return time.monotonic() - started


def warnings_about_redis(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and "Redis" in r.getMessage()]


def test_values_are_shared_and_kept_as_json(valkey: Valkey) -> None:
    django_cache.set("answer", {"text": "42"}, timeout=60)
    assert django_cache.get("answer") == {"text": "42"}
    assert redis.Redis(connection_pool=health.pool()).get("aichat:1:answer") == b'{"text": "42"}'


def test_a_redis_that_is_gone_is_a_miss(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    django_cache.set("answer", 42)
    valkey.stop()
    assert django_cache.get("answer", "nothing") == "nothing"
    assert django_cache.get_many(["answer"]) == {}
    django_cache.set("answer", 43)
    django_cache.set_many({"answer": 43})
    assert len(warnings_about_redis(caplog)) == 1


def test_a_redis_that_comes_back_is_used_again(valkey: Valkey, quick_retry: None) -> None:
    valkey.stop()
    django_cache.set("answer", 42)
    valkey.start()
    time.sleep(0.06)
    django_cache.set("answer", 42)
    assert django_cache.get("answer") == 42


def test_a_frozen_redis_costs_one_timeout_and_not_one_for_each_command(valkey: Valkey, settings: Any) -> None:
    django_cache.set("answer", 42)
    valkey.pause()
    started = time.monotonic()
    for _ in range(20):
        assert django_cache.get("answer") is None
    assert settings.CACHE_TIMEOUT <= time.monotonic() - started < 2 * settings.CACHE_TIMEOUT


def test_the_warning_comes_once_a_minute(valkey: Valkey, quick_retry: None, caplog: pytest.LogCaptureFixture) -> None:
    valkey.stop()
    for _ in range(5):
        django_cache.get("answer")
        time.sleep(0.06)
    assert len(warnings_about_redis(caplog)) == 1
    health.health.next_warning = 0.0
    django_cache.get("answer")
    assert len(warnings_about_redis(caplog)) == 2


@pytest.mark.parametrize("fault", ["stop", "pause"])
def test_chats_go_on_while_redis_fails(
    valkey: Valkey, http: httpx.Client, alice: Actor, settings: Any, fault: str
) -> None:
    usual = chat(http, alice)
    getattr(valkey, fault)()
    took = [chat(http, alice) for _ in range(5)]
    assert sum(took) < 5 * usual + settings.CACHE_TIMEOUT + 1.0


def test_chats_work_when_redis_was_never_there(http: httpx.Client, alice: Actor, settings: Any) -> None:
    use_redis(settings, f"redis://127.0.0.1:{free_port()}/0")
    chat(http, alice)


# --- On the event loop ------------------------------------------------------------------------------------------------


async def test_what_is_asked_together_is_answered_in_order(valkey: Valkey) -> None:
    asked = [pipeline.ask("SET", f"k{n}", n) for n in range(50)] + [pipeline.ask("GET", f"k{n}") for n in range(50)]
    answers = await asyncio.gather(*asked)
    assert answers == [b"OK"] * 50 + [str(n).encode() for n in range(50)]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many commands each system call took."""
    found: list[int] = []
    send = pipeline._Line.send

    def noted(line: pipeline._Line) -> None:
        found.append(len(line.to_send))
        send(line)

    monkeypatch.setattr(pipeline._Line, "send", noted)
    return found


async def test_what_a_task_asks_goes_with_what_its_maker_asked(valkey: Valkey, sent: list[int]) -> None:
    async def another() -> Any:
        return await pipeline.ask("ECHO", "b")

    await pipeline.ask("PING")
    first, second = pipeline.ask("ECHO", "a"), asyncio.create_task(another())
    assert [*await asyncio.gather(first, second)] == [b"a", b"b"]
    assert sent == [1, 2]


async def test_a_command_without_hurry_goes_with_the_next_one_or_soon(valkey: Valkey, sent: list[int]) -> None:
    count = pipeline.Script.of("return redis.call('incr', KEYS[1])")
    assert await count.ask(["k"], []) == 1
    sent.clear()
    lazy = count.ask(["k"], [], hurry=False)
    await asyncio.sleep(0)
    assert await pipeline.ask("GET", "k") == b"2" and await lazy == 2
    assert sent == [2]
    assert await count.ask(["k"], [], hurry=False) == 3
    assert sent == [2, 1]


async def test_a_script_is_sent_whole_once_and_its_answer_is_not_another_commands(valkey: Valkey) -> None:
    echo = pipeline.Script.of("return redis.call('incrby', KEYS[1], ARGV[1])")
    for total in (2, 4):
        asked = [echo.ask(["k"], [2]), pipeline.ask("ECHO", "other")]
        assert await asyncio.gather(*asked) == [total, b"other"]
    assert await pipeline.ask("SCRIPT", "EXISTS", echo.digest) == [1]
    with pytest.raises(redis.ResponseError):
        await pipeline.Script.of("return redis.call('incrby', KEYS[1], 'x')").ask(["k"], [])


async def test_a_wrong_command_fails_alone(valkey: Valkey) -> None:
    wrong, right = pipeline.ask("LPOP", "a", "b", "c"), pipeline.ask("SET", "k", 1)
    with pytest.raises(redis.ResponseError):
        await wrong
    assert await right == b"OK"


@pytest.mark.parametrize("fault", ["stop", "pause"])
async def test_asking_a_redis_that_fails_costs_one_timeout_and_the_next_nothing(
    valkey: Valkey, settings: Any, fault: str
) -> None:
    assert await pipeline.ask("PING") == b"PONG"
    getattr(valkey, fault)()
    started = time.monotonic()
    for _ in range(20):
        with pytest.raises(health.CacheUnavailable):
            await pipeline.ask("PING")
    assert time.monotonic() - started < 2 * settings.CACHE_TIMEOUT
    assert health.health.failing


async def test_an_answer_that_came_while_the_event_loop_was_busy_is_in_time(valkey: Valkey, settings: Any) -> None:
    settings.CACHE_TIMEOUT = 0.02
    asked = pipeline.ask("PING")  # not even connected yet
    for _ in range(8):
        asyncio.get_running_loop().call_soon(time.sleep, 0.03)
        await asyncio.sleep(0)
    assert await asked == b"PONG"
    assert not health.health.failing


async def test_a_redis_that_was_restarted_is_asked_again_without_a_failure(valkey: Valkey) -> None:
    assert await pipeline.ask("PING") == b"PONG"
    valkey.stop()
    valkey.start()
    assert await pipeline.ask("PING") == b"PONG"


async def test_what_was_asked_over_a_connection_that_redis_closed_is_asked_again(valkey: Valkey) -> None:
    assert await pipeline.ask("SET", "k", 1) == b"OK"
    other = redis.Redis(connection_pool=health.pool())
    asked = [pipeline.ask("BLPOP", "list", 5), pipeline.ask("GET", "k")]
    await asyncio.sleep(0.05)  # Redis has them, and answers neither
    await sync_to_async(other.client_kill_filter)(_type="normal", skipme=True)
    await sync_to_async(other.rpush)("list", "x")
    assert await asyncio.gather(*asked) == [[b"list", b"x"], b"1"]
    assert not health.health.failing


async def test_an_error_that_nobody_waits_for_is_not_logged(valkey: Valkey, settings: Any) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    pipeline.ask("LPOP", "a", "b", "c")
    assert await pipeline.ask("PING") == b"PONG"
    settings.REDIS_URL = ""
    pipeline.ask("PING")
    gc.collect()
    assert not told


async def test_who_leaves_takes_nobodys_answer_with_them(valkey: Valkey) -> None:
    first, second, third = (pipeline.ask("ECHO", word) for word in ("a", "b", "c"))
    second.cancel()
    assert (await first, await third) == (b"a", b"c")


async def test_an_answer_that_came_too_late_is_not_taken_for_the_next(valkey: Valkey, quick_retry: None) -> None:
    await pipeline.ask("SET", "k", "old")
    valkey.pause()
    with pytest.raises(health.CacheUnavailable):
        await pipeline.ask("GET", "k")
    valkey.resume()
    await asyncio.sleep(0.06)
    assert await pipeline.ask("PING") == b"PONG"


async def test_without_redis_whoever_asks_is_told_so() -> None:
    with pytest.raises(health.CacheUnavailable):
        await pipeline.ask("PING")


async def test_a_key_is_the_one_that_the_cache_uses(valkey: Valkey) -> None:
    await sync_to_async(django_cache.set)("answer", 42)
    assert await pipeline.ask("GET", pipeline.cache_key("answer")) == b"42"


# --- Rate limits ------------------------------------------------------------------------------------------------------

HIT_THIRTY_TIMES = """
import django; django.setup()
from accounts import rate_limits
from aichat.core.errors import RateLimited
passed = 0
for _ in range(30):
    try:
        rate_limits.hit("20/min", "somebody")
        passed += 1
    except RateLimited:
        pass
print(passed)
"""


def test_processes_share_a_rate_limit(valkey: Valkey) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "aichat.settings", "REDIS_URL": valkey.url}
    processes = [
        subprocess.Popen([sys.executable, "-c", HIT_THIRTY_TIMES], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert sum(int(process.communicate(timeout=60)[0]) for process in processes) == 20


@pytest.mark.parametrize("fault", ["stop", "pause"])
def test_without_redis_each_process_limits_for_itself(valkey: Valkey, fault: str) -> None:
    getattr(valkey, fault)()
    for _ in range(3):
        rate_limits.hit("3/min", "somebody")
    with pytest.raises(RateLimited) as caught:
        rate_limits.hit("3/min", "somebody")
    assert caught.value.retry_after and 0 < caught.value.retry_after <= 60


def test_a_refused_attempt_is_no_fault_of_redis(valkey: Valkey) -> None:
    rate_limits.hit("1/min", "somebody")
    with pytest.raises(RateLimited):
        rate_limits.hit("1/min", "somebody")
    assert not health.health.failing


# --- What operators are told ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["stop", "pause"])
def test_readiness_is_degraded_without_redis(valkey: Valkey, http: httpx.Client, fault: str) -> None:
    assert http.get("/readyz").json() == {"status": "ok", "failing": []}
    getattr(valkey, fault)()
    response = http.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "degraded", "failing": ["cache"]}


@pytest.mark.parametrize(("workers", "redis_url", "warned"), [(4, "", True), (1, "", False), (4, "redis://r/0", False)])
def test_workers_that_share_nothing_are_warned_of(settings: Any, workers: int, redis_url: str, warned: bool) -> None:
    settings.WEB_CONCURRENCY, settings.REDIS_URL = workers, redis_url
    assert ("aichat.W001" in [problem.id for problem in run_checks(tags=["aichat"])]) == warned


@pytest.mark.django_db
def test_readiness_without_redis_configured_is_ok() -> None:
    assert Client().get("/readyz").json() == {"status": "ok", "failing": []}
