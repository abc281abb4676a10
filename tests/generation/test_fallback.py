"""From one candidate to the next: how fast, in which order, and how the deadline is shared."""

import time
from typing import Any

import httpx
import pytest

from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.generation.test_faults import ask
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANSWER

each_mode = pytest.mark.parametrize("mode", ["json", "stream"])


@each_mode
def test_gemini_comes_first_and_openai_second(mode: str, http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    first = ask(http, alice, "auto", mode)
    assert (first.body["provider"], first.body["fallback"]) == ("gemini", False)
    upstream.always("gemini", Reply("refuse", 503))
    second = ask(http, alice, "auto", mode)
    assert (second.body["provider"], second.body["fallback"]) == ("openai", True)
    assert second.headers["x-provider"] == "openai"
    assert second.headers["x-model"] == second.body["model"]


@each_mode
def test_a_hanging_primary_costs_its_own_limit_and_no_more(
    mode: str, http: httpx.Client, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_ATTEMPT_TIMEOUT = 1.0
    ask(http, alice, "auto", mode)
    upstream.always("gemini", Reply("hang"))
    began = time.monotonic()
    assert ask(http, alice, "auto", mode).text == ANSWER
    assert 1.0 <= time.monotonic() - began < 2.0


@each_mode
def test_the_total_is_one_deadline_for_all_candidates(
    mode: str, http: httpx.Client, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_ATTEMPT_TIMEOUT = 1.0
    settings.CHAT_TOTAL_TIMEOUT = 1.5
    for provider in ("gemini", "openai"):
        upstream.always(provider, Reply("hang"))
    began = time.monotonic()
    seen = ask(http, alice, "auto", mode)
    assert (seen.status, seen.code) == (504, "provider_timeout")
    assert 1.5 <= time.monotonic() - began < 2.5
    statuses = [record.status for record in UsageRecord.objects.order_by("attempt")]
    assert statuses == [f"timeout_{'attempt' if mode == 'json' else 'first_token'}", "timeout_total"]


@each_mode
def test_a_slow_reader_is_not_a_slow_provider(mode: str, upstream: Upstream, alice: Actor, server: str) -> None:
    body = {"message": "Hi", "model": "auto", "stream": mode == "stream"}
    with (
        httpx.Client(base_url=server, timeout=10) as client,
        client.stream("POST", "/api/v1/chat", json=body, headers=alice.headers) as answer,
    ):
        time.sleep(1)  # longer than every limit between the tokens
        text = answer.read().decode()
    assert ANSWER in text or "event: completed" in text


def test_the_request_id_reaches_the_provider(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    upstream.always("gemini", Reply("refuse", 500))
    answer = http.post("/api/v1/chat", json={"message": "Hi"}, headers={**alice.headers, "X-Request-ID": "trace-me"})
    assert answer.headers["X-Request-ID"] == "trace-me"
    assert [request.headers["x-request-id"] for request in upstream.requests] == ["trace-me", "trace-me"]


def test_the_limit_is_always_sent_upstream(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    upstream.always("gemini", Reply("refuse", 500))
    ask(http, alice, "auto", "json")
    assert upstream.asked("gemini")[0].body["generationConfig"]["maxOutputTokens"] == 4096
    assert upstream.asked("openai")[0].body["max_completion_tokens"] == 4096


@pytest.mark.parametrize("said", ["1e999", "soon", "-3", "99999999999999"])
def test_a_senseless_retry_after_is_harmless(said: str, http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    upstream.always("openai", Reply("refuse", 429, headers={"Retry-After": said}))
    assert ask(http, alice, "gpt-4.1-mini", "json").status == 503


def test_the_errors_of_a_provider_name_no_key(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    for provider in ("gemini", "openai"):
        upstream.always(provider, Reply("refuse", 401))
    seen = ask(http, alice, "auto", "json")
    assert "key" not in seen.body["error"]["message"].lower()
    assert seen.body["error"]["outcome"] == "auth_failure"
