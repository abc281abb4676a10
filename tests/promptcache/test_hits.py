"""What is answered from the prompt cache, to whom, and what it costs; over HTTP, without Redis and with a real one."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import pytest
import redis
from django.db import OperationalError

from aichat.asgi import Application, Traced
from aichat.catalog.editing import set_price
from aichat.catalog.models import AIModel
from aichat.chat.models import Message
from aichat.core.database import transactions
from aichat.core.money import CREDIT
from aichat.core.redis import health
from aichat.flags import evaluation
from aichat.flags.models import Flag
from aichat.generation.charging import group_commit
from aichat.promptcache import invalidation, store
from aichat.promptcache.models import Invalidation
from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.engines import Valkey
from tests.generation.charging.test_bill import spent, with_fallback
from tests.generation.test_faults import MODELS, charge_of
from tests.logs import Logs, wait_for
from tests.trace import Request
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANSWER

MODEL = MODELS["openai"]


@pytest.fixture(params=["memory", "redis"])
def kept(request: pytest.FixtureRequest) -> None:
    """In this process, and in Redis."""
    if request.param == "redis":
        request.getfixturevalue("valkey")


def chat(http: httpx.Client, who: Actor, message: str = "Hi", headers: Any = None, **body: Any) -> httpx.Response:
    body = {"message": message, "model": MODEL, **body}
    return http.post("/api/v1/chat", json=body, headers={**who.headers, **(headers or {})})


def completion(http: httpx.Client, who: Actor, **body: Any) -> httpx.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **body}
    return http.post("/v1/chat/completions", json=body, headers=who.headers)


def word(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return response.headers["x-cache"]


def chunks(response: httpx.Response) -> Iterator[Any]:
    for line in response.text.split("\n\n"):
        if line.startswith("data: {"):
            chunk = json.loads(line.removeprefix("data: "))
            yield chunk["choices"], chunk.get("usage")


def test_the_second_time_no_provider_is_asked(kept: None, http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    first, second = chat(http, alice), chat(http, alice)
    assert [word(first), word(second)] == ["miss", "hit"]
    assert len(upstream.requests) == 1
    assert second.json()["message"]["content"] == ANSWER
    assert second.json()["cached"] is True
    assert second.json()["credits"]["charged"] == "0"
    assert second.json()["credits"]["available"] == first.json()["credits"]["available"]
    assert second.json()["usage"] == first.json()["usage"]
    assert int(second.headers["age"]) >= 0
    assert "age" not in first.headers
    assert Message.objects.count() == 4


def test_a_hit_is_recorded_with_what_it_saved(kept: None, http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    chat(http, alice)
    chat(http, alice)
    paid, hit = UsageRecord.objects.order_by("created_at")
    assert (hit.cached, hit.charged, hit.cost_nanousd, hit.status, hit.final) == (True, 0, 0, "ok", True)
    assert (hit.saved, hit.saved_nanousd) == (paid.charged, paid.cost_nanousd)
    assert (hit.input_tokens, hit.output_tokens) == (paid.input_tokens, paid.output_tokens)
    assert spent(alice) == paid.charged == charge_of(MODEL)


def test_a_hit_is_served_without_any_credits(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    chat(http, alice)
    alice.set_credits(0)
    assert word(chat(http, alice)) == "hit"
    assert chat(http, alice, "Something else").status_code == 402


@pytest.mark.parametrize("stream", [False, True])
def test_a_hit_may_have_a_price(
    stream: bool, http: httpx.Client, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    settings.CACHE_HIT_PRICE = Decimal("0.5")
    chat(http, alice)
    assert word(chat(http, alice, stream=stream)) == "hit"
    paid, hit = UsageRecord.objects.order_by("created_at")
    assert hit.charged == -(-paid.charged // 2)
    assert hit.saved == paid.charged - hit.charged
    assert spent(alice) == paid.charged + hit.charged
    alice.set_credits(0)
    assert chat(http, alice, stream=stream).status_code == 402


def test_a_free_hit_whose_commit_was_not_confirmed_is_not_recorded_twice(
    http: httpx.Client, upstream: Upstream, alice: Actor, commits_by_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat(http, alice)
    commit, tries = group_commit.commit_together, []
    monkeypatch.setattr(
        transactions, "is_unavailable", lambda error: isinstance(error, OperationalError)
    )  # as engines differ

    def committed_but_unanswered(units: Any) -> Any:
        outcomes = commit(units)
        tries.append(len(units))
        if len(tries) == 1:
            raise OperationalError("the connection broke off after COMMIT")
        return outcomes

    monkeypatch.setattr(group_commit, "commit_together", committed_but_unanswered)
    again = chat(http, alice)
    assert word(again) == "hit"
    assert again.json()["credits"]["charged"] == "0"
    assert Decimal(again.json()["credits"]["available"]) * CREDIT == alice.wallet.available
    assert tries == [1, 1]
    assert UsageRecord.objects.filter(cached=True).count() == 1
    assert Message.objects.count() == 4


def test_a_stream_is_replayed_as_the_same_events(
    kept: None, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    first, second = completion(http, alice, **options), completion(http, alice, **options)
    assert [word(first), word(second)] == ["miss", "hit"]
    assert list(chunks(first)) == list(chunks(second))
    assert "".join(choices[0]["delta"].get("content") or "" for choices, _ in chunks(second) if choices) == ANSWER
    assert word(completion(http, alice)) == "hit"
    assert len(upstream.requests) == 1


def test_a_stranger_is_never_given_it(
    kept: None, http: httpx.Client, upstream: Upstream, alice: Actor, charlie: Actor
) -> None:
    assert [word(chat(http, alice)), word(chat(http, charlie))] == ["miss", "miss"]


def test_the_scope_can_be_everybody(
    http: httpx.Client, upstream: Upstream, alice: Actor, charlie: Actor, settings: Any
) -> None:
    settings.PROMPT_CACHE_SCOPE = "global"
    assert [word(chat(http, alice)), word(chat(http, charlie))] == ["miss", "hit"]
    assert spent(charlie) == 0


def test_cache_control_is_obeyed(kept: None, http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    chat(http, alice)
    assert word(chat(http, alice, headers={"Cache-Control": "no-cache"})) == "bypass"
    assert word(chat(http, alice, headers={"Cache-Control": "no-store"})) == "bypass"
    assert len(upstream.requests) == 3
    chat(http, alice, "New", headers={"Cache-Control": "no-store"})
    assert word(chat(http, alice, "New")) == "miss"
    chat(http, alice, "Newer", headers={"Cache-Control": "no-cache"})
    assert word(chat(http, alice, "Newer")) == "hit"


@pytest.mark.parametrize("fault", ["unreported", "thinking_only"])
def test_only_whole_answers_are_kept(fault: str, http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    upstream.always("openai", Reply(fault))
    chat(http, alice)
    response = chat(http, alice)
    assert (response.status_code, response.headers.get("x-cache")) == (
        (200, "hit" if fault == "unreported" else "miss")
    )


def test_a_truncated_answer_is_not_kept(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hel"}, "finish_reason": "length"}
    upstream.always("openai", Reply("recorded", payload={"choices": [choice]}))
    assert [word(chat(http, alice)), word(chat(http, alice))] == ["miss", "miss"]


def test_a_fallbacks_answer_is_kept_under_its_own_model_alone(
    kept: None, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    model, other = with_fallback("openai"), MODELS["gemini"]
    upstream.always("openai", Reply("empty"))
    assert chat(http, alice, model=model).json()["model"] == other
    assert word(chat(http, alice, model=model)) == "miss"
    named = chat(http, alice, model=other)
    assert (word(named), named.json()["fallback"]) == ("hit", False)


def test_tools_and_images_are_passed_by_unless_allowed(
    http: httpx.Client, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    picture = [{"role": "user", "content": [{"type": "text", "text": "What?"}, image]}]
    for body in ({"tools": tools}, {"messages": picture}):
        assert [word(completion(http, alice, **body)) for _ in range(2)] == ["bypass", "bypass"]
        settings.PROMPT_CACHE_TOOLS = settings.PROMPT_CACHE_IMAGES = True
        assert [word(completion(http, alice, **body)) for _ in range(2)] == ["miss", "hit"]
        settings.PROMPT_CACHE_TOOLS = settings.PROMPT_CACHE_IMAGES = False


def test_it_can_be_switched_off(http: httpx.Client, upstream: Upstream, alice: Actor, settings: Any) -> None:
    Flag.objects.update_or_create(key="prompt_cache", defaults={"enabled": False})
    evaluation.forget()
    assert [word(chat(http, alice)) for _ in range(2)] == ["bypass", "bypass"]


def test_an_idempotency_key_is_replayed_first(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    key = {"Idempotency-Key": "once"}
    chat(http, alice)
    first, again = chat(http, alice, headers=key), chat(http, alice, headers=key)
    assert (word(first), again.headers["idempotent-replayed"]) == ("hit", "true")
    assert again.content == first.content
    assert UsageRecord.objects.count() == 2


def test_identical_requests_at_once_ask_one_provider(
    kept: None, http: httpx.Client, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    settings.CHAT_ATTEMPT_TIMEOUT = settings.CHAT_FIRST_TOKEN_TIMEOUT = 5.0
    upstream.always("openai", Reply("late"))
    with ThreadPoolExecutor(8) as pool:
        words = sorted(pool.map(lambda stream: word(chat(http, alice, stream=stream)), [False, True] * 4))
    assert words == ["hit"] * 7 + ["miss"]
    assert len(upstream.requests) == 1
    assert spent(alice) == charge_of(MODEL)


def test_when_the_one_that_asks_fails_another_does(
    kept: None, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    upstream.always("openai", Reply("drop"))
    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda _: chat(http, alice).status_code, range(6)))
    assert set(codes) <= {502, 503}
    assert len(upstream.requests) > 1


# --- Out of date ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", list(Invalidation.Scope))
def test_what_is_invalidated_is_never_served_again(
    kept: None, scope: str, http: httpx.Client, upstream: Upstream, alice: Actor, charlie: Actor
) -> None:
    from aichat.promptcache.key import prompt_version

    def ask(who: Actor) -> str:
        return word(chat(http, who, system="Be kind."))

    targets = {
        "all": "",
        "organization": str(alice.organization.pk),
        "user": str(alice.user.pk),
        "model": MODEL,
        "prompt": prompt_version("Be kind."),
    }
    assert [ask(alice), ask(charlie)] == ["miss", "miss"]
    invalidation.invalidate(scope, targets[scope])
    everybody = "miss" if scope in {"all", "model", "prompt"} else "hit"
    assert [ask(alice), ask(charlie), ask(alice)] == ["miss", everybody, "hit"]


def test_another_process_hears_of_it_with_its_next_look(
    valkey: Valkey, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    chat(http, alice)
    row = Invalidation.objects.create(scope="all")  # as another process would: nothing forgotten in this one
    store.announce(str(row.pk))
    assert word(chat(http, alice)) == "miss"


def test_another_price_leaves_the_answers_behind(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    chat(http, alice)
    set_price(AIModel.objects.get(slug=MODEL), {"input_price": 7_000_000})
    assert word(chat(http, alice)) == "miss"


def test_bytes_that_are_no_answer_are_a_miss_and_a_warning(
    valkey: Valkey, http: httpx.Client, upstream: Upstream, alice: Actor, logs: Logs
) -> None:
    client = redis.Redis(connection_pool=health.pool())
    for spoil in (lambda raw: b"foreign", lambda raw: raw[:-9], lambda raw: raw.replace(b"Hello", b"Jello")):
        chat(http, alice)
        (name,) = wait_for(lambda: client.keys("*:answer"))
        client.set(name, spoil(client.get(name)))
        assert word(chat(http, alice)) == "miss"
    assert logs.text.count("what is no answer") == 3


# --- Redis in trouble -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["stop", "pause"])
def test_chats_go_on_without_redis(
    trouble: str, valkey: Valkey, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    getattr(valkey, trouble)()
    assert [word(chat(http, alice)) for _ in range(3)] == ["miss"] * 3


def test_a_full_redis_keeps_nothing_new_and_serves_what_it_has(
    valkey: Valkey, http: httpx.Client, upstream: Upstream, alice: Actor, logs: Logs
) -> None:
    chat(http, alice)
    client = redis.Redis(connection_pool=health.pool())
    wait_for(lambda: client.keys("*:answer"))  # it is kept after it is given
    client.config_set("maxmemory", 1)
    try:
        assert word(chat(http, alice)) == "hit"
        assert [word(chat(http, alice, "New")) for _ in range(2)] == ["miss", "miss"]
    finally:
        client.config_set("maxmemory", 0)
    assert "does not keep answers" in logs.text


def test_no_prompt_can_be_read_from_a_key(valkey: Valkey, http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    chat(http, alice, "A secret")
    assert not any(b"secret" in key for key in redis.Redis(connection_pool=health.pool()).scan_iter())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("stream", "order"), [(False, ["answered", "stored"]), (True, ["stored", "answered"])])
def test_a_json_answer_is_stored_after_it_was_sent_and_a_stream_before_its_end(
    stream: bool, order: list[str], catalog: None, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, keep, pass_on = [], store.keep, Traced.send

    async def kept(*args: Any) -> bool:
        events.append("stored")
        return await keep(*args)

    async def sent(traced: Traced, message: Any) -> None:
        await pass_on(traced, message)
        if traced.finished:
            events.append("answered")

    monkeypatch.setattr(store, "keep", kept)
    monkeypatch.setattr(Traced, "send", sent)
    body = {"model": "demo", "messages": [{"role": "user", "content": "Once"}], "stream": stream}
    chat = Request("POST", "/v1/chat/completions", alice.headers, body)
    assert asyncio.run(chat.send(Application())) == 200
    assert events == order
