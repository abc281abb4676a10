"""A chat begins before Redis has confirmed its caller: one round trip, and nothing spent, stored or shown before."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from accounts import caller_cache, caller_reader, key_limits, rate_limits
from accounts.models import AccessToken
from aichat.api import async_views
from aichat.core import snapshot
from aichat.core.redis import pipeline
from aichat.core.telemetry import prometheus
from aichat.generation import prompt_cache
from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.engines import Valkey
from tests.generation.charging.test_bill import eventually
from tests.upstream import Recorded, Reply, Upstream

COMPLETIONS = "/v1/chat/completions"
WAYS = [
    (COMPLETIONS, {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}),
    (COMPLETIONS, {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "stream": True}),
    ("/v1/completions", {"model": "auto", "prompt": "Hello"}),
    ("/v1/responses", {"model": "auto", "input": "Hello"}),
    ("/v1/messages", {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}),
    ("/api/v1/chat", {"model": "auto", "message": "Hello"}),
]


@pytest.fixture(autouse=True)
def known(valkey: Valkey, http: httpx.Client, alice: Actor, upstream: Upstream, settings: Any) -> Iterator[redis.Redis]:
    """This process knows alice, and nothing of hers has changed for a while."""
    settings.PROMPT_CACHE_TTL = 86_400
    client = redis.Redis.from_url(valkey.url)
    client.flushall()
    caller_cache.forget()
    assert http.get("/v1/models", headers=alice.headers).status_code == 200
    ask(http, alice, {"model": "demo", "messages": [{"role": "user", "content": "Who am I?"}]})
    assert caller_cache._known
    yield client
    client.close()


def ask(http: httpx.Client, alice: Actor, body: Any, path: str = COMPLETIONS) -> httpx.Response:
    return http.post(path, json=body, headers=alice.headers)


def by_another_process(act: Any) -> None:
    """Change something of a caller as another process does: this one learns of it from Redis alone."""
    entries = dict(caller_cache._known)
    act()
    caller_cache._latest.clear()
    caller_cache._known.update(entries)


def revoke(alice: Actor) -> None:
    AccessToken.objects.get(user=alice.user, kind=AccessToken.Kind.API_KEY).revoke()


def test_a_known_callers_chat_asks_redis_once_before_it_asks_a_provider(
    http: httpx.Client, alice: Actor, upstream: Upstream, known: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    eventually(lambda: bool(known.keys("*:answer")))  # of `known`
    for limit in ("REFRESH", "LIMIT"):
        monkeypatch.setattr(snapshot, limit, 3600.0)  # what is refreshed beside requests is not counted
    events: list[Any] = []
    send, asked = pipeline._Line.send, upstream.reply_to

    def noted(line: Any) -> None:
        events.append([one.packed.split(b"\r\n")[2] for one in line.to_send])
        send(line)

    def replied(request: Recorded) -> Reply:
        events.append("provider")
        return asked(request)

    monkeypatch.setattr(pipeline._Line, "send", noted)
    monkeypatch.setattr(upstream, "reply_to", replied)
    assert ask(http, alice, WAYS[0][1]).status_code == 200
    before = events[: events.index("provider")]
    assert len(before) == 1 and {b"MGET", b"EVALSHA"} <= {*before[0]}, before


@pytest.mark.parametrize(("path", "body"), WAYS)
def test_a_key_that_another_process_revoked_gets_nothing(
    path: str, body: Any, http: httpx.Client, alice: Actor, upstream: Upstream, known: redis.Redis
) -> None:
    credits = alice.wallet.available
    by_another_process(lambda: revoke(alice))
    answer = ask(http, alice, body, path)
    assert answer.status_code == 401, answer.text
    assert not upstream.requests and UsageRecord.objects.count() == 1  # of `known`
    assert (alice.wallet.available, alice.wallet.held) == (credits, 0)
    eventually(lambda: not [*known.scan_iter("aichat:prompt:*:lock")])


@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_answer_is_not_shown_to_a_revoked_key(stream: bool, http: httpx.Client, alice: Actor) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Keep this"}], "stream": stream}
    first, second = ask(http, alice, body), ask(http, alice, body)
    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("miss", "hit")
    by_another_process(lambda: revoke(alice))
    assert ask(http, alice, body).status_code == 401


def test_a_wrong_body_of_a_revoked_key_is_refused_for_the_key(http: httpx.Client, alice: Actor) -> None:
    by_another_process(lambda: revoke(alice))
    assert ask(http, alice, {"model": "auto", "messages": "no list"}).status_code == 401


@pytest.mark.parametrize(("models", "status"), [(["demo"], 403), (["demo", "gpt-4o-mini"], 200)])
@pytest.mark.parametrize("stream", [False, True])
def test_limits_that_another_process_gave_a_key_hold_for_the_next_chat(
    models: list[str], status: int, stream: bool, http: httpx.Client, alice: Actor
) -> None:
    def limit(models: list[str]) -> None:
        key = AccessToken.objects.get(user=alice.user, kind=AccessToken.Kind.API_KEY)
        key.allowed_models = models
        key.save()

    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    if status == 200:
        limit(["demo"])
    assert ask(http, alice, body).status_code == {200: 403, 403: 200}[status]
    by_another_process(lambda: limit(models))
    body["messages"] = [{"role": "user", "content": "And now?"}]
    assert ask(http, alice, body).status_code == status


def test_a_chat_beyond_the_rate_is_refused_whatever_its_body_and_is_not_begun_again_at_once(
    http: httpx.Client, alice: Actor, settings: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RATE_LIMIT_USER = "2/hour"
    begun, look = [], prompt_cache.look

    async def counted(*args: Any) -> Any:
        begun.append(1)
        return await look(*args)

    monkeypatch.setattr(prompt_cache, "look", counted)
    statuses = [ask(http, alice, WAYS[0][1]).status_code for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    assert ask(http, alice, {"model": 5}).status_code == 429
    assert len(begun) == 3 and len(upstream.requests) == 1
    assert rate_limits._refused


def test_one_chat_is_one_hit(http: httpx.Client, alice: Actor) -> None:
    left = [int(ask(http, alice, body, path).headers["RateLimit-Remaining"]) for path, body in WAYS * 2]
    assert left == [*range(left[0], left[0] - len(left), -1)]


def test_a_refused_chat_is_no_use_of_its_key_and_any_other_is(http: httpx.Client, alice: Actor, settings: Any) -> None:
    key_limits.forget()
    assert ask(http, alice, {"model": 5}).status_code == 400
    assert key_limits._noted
    key_limits.forget()
    settings.RATE_LIMIT_USER = "1/hour"
    statuses = [ask(http, alice, WAYS[0][1]).status_code for _ in range(2)]
    assert statuses == [200, 429]
    assert key_limits._noted
    key_limits.forget()
    rate_limits._refused.clear()
    assert ask(http, alice, WAYS[0][1]).status_code == 429
    by_another_process(lambda: revoke(alice))
    assert ask(http, alice, WAYS[0][1]).status_code == 401
    assert not key_limits._noted


@pytest.mark.parametrize("is_revoked", [True, False])
def test_a_stream_that_waited_for_its_caller_to_be_looked_up_is_closed_when_the_caller_changed(
    is_revoked: bool, http: httpx.Client, alice: Actor, monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    def limit() -> None:
        key = AccessToken.objects.get(user=alice.user, kind=AccessToken.Kind.API_KEY)
        key.allowed_models = ["demo"]
        key.save()

    read = caller_reader.read

    async def slowly(*args: Any, **options: Any) -> Any:
        await asyncio.sleep(0.3)
        return await read(*args, **options)

    monkeypatch.setattr(async_views, "KEEP_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(caller_reader, "read", slowly)
    by_another_process(lambda: revoke(alice) if is_revoked else limit())
    answer = ask(http, alice, {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "stream": True})
    assert answer.status_code == (401 if is_revoked else 200)
    eventually(lambda: prometheus.open_streams._value.get() == 0)
    assert not upstream.requests
