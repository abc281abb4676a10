"""Every row of the billing table, over HTTP, from both providers, whole and streamed where it makes a difference."""

import ast
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import OperationalError

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel
from aichat.core.money import CREDIT
from aichat.generation.charging import group_commit, settlement, tokens
from aichat.providers.base import Usage
from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry
from credits.services import Release, Settle, expire_holds
from tests.conftest import Actor
from tests.generation.charging.bills import BILLS
from tests.generation.test_faults import MODELS, OTHER, REPORTED, ask, charge_of, delivered
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANSWER, TEXT

each_provider = pytest.mark.parametrize("provider", ["gemini", "openai"])
each_mode = pytest.mark.parametrize("mode", ["json", "stream"])
INPUT = tokens.estimate_text("Hi") + tokens.TOKENS_OF_A_FRAME


def with_fallback(provider: str) -> str:
    """The provider's model, with the other provider's behind it."""
    AIModel.objects.filter(slug=MODELS[provider]).update(fallbacks=[MODELS[OTHER[provider]]])
    snapshot.forget()
    return MODELS[provider]


def spent(actor: Actor) -> int:
    """Microcredits of all charges."""
    return -sum(LedgerEntry.objects.filter(kind="CHARGE", wallet=actor.wallet).values_list("amount", flat=True))


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)


def no_open_hold() -> bool:
    return Hold.objects.exists() and not Hold.objects.filter(state=Hold.State.OPEN).exists()


@each_provider
@each_mode
def test_success_costs_the_reported_usage(
    provider: str, mode: str, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    ask(http, alice, MODELS[provider], mode)
    record = UsageRecord.objects.get()
    assert record.charged == spent(alice) == charge_of(MODELS[provider], REPORTED)
    assert (record.input_tokens, record.output_tokens) == (11, 7)
    assert (record.cached_input_tokens, record.reasoning_tokens) == (3, 2)
    assert (record.status, record.source, record.final) == ("ok", "EXACT", True)
    assert record.cost_nanousd > 0


@each_provider
@each_mode
def test_unreported_usage_is_estimated(
    provider: str, mode: str, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    upstream.always(provider, Reply("unreported"))
    ask(http, alice, MODELS[provider], mode)
    record = UsageRecord.objects.get()
    assert (record.status, record.source) == ("ok", "ESTIMATED")
    assert (record.input_tokens, record.output_tokens) == (INPUT, tokens.estimate_text(ANSWER))
    assert spent(alice) == record.charged > 0


@each_mode
def test_a_refusal_before_the_provider_costs_nothing(
    mode: str, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    alice.set_credits(0)
    assert ask(http, alice, "auto", mode).status == 402
    alice.set_credits(100)
    too_many = {"message": "Hi", "max_tokens": 10**9, "stream": mode == "stream"}
    assert http.post("/api/v1/chat", json=too_many, headers=alice.headers).status_code == 400
    assert upstream.requests == []
    assert not Hold.objects.exists()
    assert not UsageRecord.objects.exists()


@each_mode
def test_failing_candidates_cost_nothing(mode: str, http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    upstream.always("gemini", Reply("refuse", 500))
    upstream.always("openai", Reply("empty"))
    seen = ask(http, alice, "auto", mode)
    assert (seen.status, seen.code) == (502, "provider_error")
    first, second = UsageRecord.objects.order_by("attempt")
    assert (first.status, first.cost_nanousd, first.final) == ("overloaded", 0, False)
    assert (second.status, second.final) == ("empty", True)
    assert second.cost_nanousd > 0
    assert spent(alice) == 0
    assert alice.wallet.held == 0


@each_provider
@each_mode
def test_a_timeout_before_the_first_token_costs_nothing(
    provider: str, mode: str, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    upstream.always(provider, Reply("hang_after_headers"))
    assert ask(http, alice, MODELS[provider], mode).status == 504
    record = UsageRecord.objects.get()
    assert record.status == {"json": "timeout_attempt", "stream": "timeout_first_token"}[mode]
    assert (record.source, record.input_tokens, record.charged) == ("ESTIMATED", INPUT, 0)
    assert record.cost_nanousd > 0
    assert alice.wallet.available == 100 * CREDIT
    eventually(lambda: upstream.closed_by_client == 1)


def test_open_breakers_cost_nothing(http: httpx.Client, upstream: Upstream, alice: Actor, settings: Any) -> None:
    settings.BREAKER_FAILURES = 1
    upstream.always("openai", Reply("refuse", 500))
    ask(http, alice, MODELS["openai"], "json")
    holds = Hold.objects.count()
    seen = ask(http, alice, MODELS["openai"], "json")
    assert (seen.status, seen.code) == (503, "provider_unavailable")
    assert 1 <= int(seen.headers["retry-after"]) <= 30
    assert len(upstream.requests) == 1
    assert Hold.objects.count() == holds
    assert spent(alice) == 0


@each_provider
@each_mode
def test_a_fallback_costs_what_the_serving_model_costs(
    provider: str, mode: str, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    upstream.always(provider, Reply("empty"))
    seen = ask(http, alice, with_fallback(provider), mode)
    serving = MODELS[OTHER[provider]]
    assert (seen.text, seen.body["model"], seen.body["fallback"]) == (ANSWER, serving, True)
    failed, served = UsageRecord.objects.order_by("attempt")
    assert (failed.status, failed.charged, failed.output_tokens) == ("empty", 0, 7)
    assert failed.cost_nanousd > 0
    assert served.charged == spent(alice) == charge_of(serving)
    assert served.fallback


@each_provider
@each_mode
def test_an_empty_answer_costs_nothing(
    provider: str, mode: str, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    upstream.always(provider, Reply("empty"))
    assert ask(http, alice, MODELS[provider], mode).code == "provider_error"
    assert spent(alice) == 0
    assert ask(http, alice, with_fallback(provider), mode).text == ANSWER
    assert spent(alice) == charge_of(MODELS[OTHER[provider]])


@each_provider
@each_mode
def test_blocked_content_costs_nothing(
    provider: str, mode: str, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    upstream.always(provider, Reply("blocked"))
    seen = ask(http, alice, with_fallback(provider), mode)
    assert (seen.status, seen.code) == (400, "content_blocked")
    record = UsageRecord.objects.get()
    assert (record.status, record.charged) == ("blocked", 0)
    assert record.cost_nanousd > 0
    assert spent(alice) == 0
    assert upstream.asked(OTHER[provider]) == []


@each_provider
@pytest.mark.parametrize("fault", ["truncate", "drop_midway", "stall", "garbage_midway", "error_midway"])
def test_a_stream_that_breaks_off_costs_what_was_delivered(
    provider: str, fault: str, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    upstream.always(provider, Reply(fault))
    seen = ask(http, alice, with_fallback(provider), "stream")
    assert (seen.last_event, seen.text) == ("error", TEXT[0])
    record = UsageRecord.objects.get()
    assert (record.status, record.source) == ("partial", "ESTIMATED")
    assert record.charged == spent(alice) == charge_of(MODELS[provider], delivered(provider, TEXT[0]))


@each_provider
def test_a_json_body_that_breaks_off_costs_nothing(
    provider: str, http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    upstream.always(provider, Reply("drop_midway"))
    assert ask(http, alice, MODELS[provider], "json").code == "provider_error"
    assert spent(alice) == 0
    assert ask(http, alice, with_fallback(provider), "json").text == ANSWER


# --- The client leaves ------------------------------------------------------------------------------------------------


def leave(server: str, upstream: Upstream, actor: Actor, model: str, *, stream: bool) -> None:
    """Ask, and go away without a word once the provider has been asked."""
    body = json.dumps({"message": "Hi", "model": model, "stream": stream})
    address, asked = httpx.URL(server), len(upstream.requests)
    with socket.create_connection((address.host, address.port or 80)) as client:
        head = {"Host": "localhost", **actor.headers, "Content-Type": "application/json", "Content-Length": len(body)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        client.sendall(f"POST /api/v1/chat HTTP/1.1\r\n{lines}\r\n{body}".encode())
        eventually(lambda: len(upstream.requests) > asked)
        time.sleep(0.1)  # for what the provider sends at once


@each_provider
def test_leaving_before_a_provider_accepted_costs_nothing(
    provider: str, server: str, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = 8
    upstream.always(provider, Reply("hang"))
    leave(server, upstream, alice, MODELS[provider], stream=True)
    eventually(no_open_hold)
    assert UsageRecord.objects.get().status == "cancelled"
    assert spent(alice) == 0
    eventually(lambda: upstream.closed_by_client == 1)


@each_provider
def test_leaving_an_accepted_stream_costs_its_input(
    provider: str, server: str, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = 8
    upstream.always(provider, Reply("hang_after_headers"))
    leave(server, upstream, alice, MODELS[provider], stream=True)
    eventually(no_open_hold)
    record = UsageRecord.objects.get()
    assert (record.status, record.source, record.output_tokens) == ("cancelled", "ESTIMATED", 0)
    assert record.charged == spent(alice) == charge_of(MODELS[provider], Usage(input_tokens=INPUT))


@each_provider
def test_leaving_a_stream_costs_what_was_delivered(
    provider: str, server: str, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    settings.CHAT_IDLE_TIMEOUT = 8
    upstream.always(provider, Reply("stall"))
    body = {"message": "Hi", "model": MODELS[provider], "stream": True}
    with (
        httpx.Client(base_url=server, timeout=10) as client,
        client.stream("POST", "/api/v1/chat", json=body, headers=alice.headers) as answer,
    ):
        assert "delta" in next(answer.iter_lines())
    eventually(no_open_hold)
    record = UsageRecord.objects.get()
    assert (record.status, record.source) == ("cancelled", "ESTIMATED")
    assert record.charged == spent(alice) == charge_of(MODELS[provider], delivered(provider, TEXT[0]))
    eventually(lambda: upstream.closed_by_client == 1)


def test_a_stream_that_was_left_is_replayed_as_one_that_did_not_finish(
    server: str, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    settings.CHAT_IDLE_TIMEOUT = 8
    upstream.always("gemini", Reply("stall"))
    body = {"message": "Hi", "model": MODELS["gemini"], "stream": True}
    headers = {**alice.headers, "Idempotency-Key": "left"}
    with httpx.Client(base_url=server, timeout=10) as client:
        with client.stream("POST", "/api/v1/chat", json=body, headers=headers) as answer:
            assert "delta" in next(answer.iter_lines())
        eventually(no_open_hold)
        paid = spent(alice)
        again = client.post("/api/v1/chat", json=body, headers=headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert TEXT[0] in again.text
    assert "event: error" in again.text
    assert "event: completed" not in again.text
    assert spent(alice) == paid > 0


@each_provider
def test_leaving_a_json_request_costs_the_whole_answer(
    provider: str, server: str, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    settings.CHAT_ATTEMPT_TIMEOUT = 8
    upstream.always(provider, Reply("late"))
    leave(server, upstream, alice, MODELS[provider], stream=False)
    eventually(no_open_hold)
    assert UsageRecord.objects.get().status == "ok"
    assert spent(alice) == charge_of(MODELS[provider])
    conversation = alice.get("/api/v1/conversations").json()["results"][0]
    messages = alice.get(f"/api/v1/conversations/{conversation['id']}/messages").json()["results"]
    assert [message["content"] for message in messages] == ["Hi", ANSWER]


# --- The database leaves ----------------------------------------------------------------------------------------------


def is_settling(units: Any) -> bool:
    return any(isinstance(unit.operation, Settle | Release) for unit in units)


async def by_threads(units: Any) -> list[None]:
    return [None for _ in units]


def settle_failing(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    left, commit = [times], group_commit.commit_together

    def flaky(units: Any) -> Any:
        if left[0] and is_settling(units):
            left[0] -= 1
            raise OperationalError("the database is away")
        return commit(units)

    monkeypatch.setattr(group_commit, "commit_together", flaky)
    monkeypatch.setattr(group_commit, "commit_at_once", by_threads)


@each_mode
def test_a_settlement_waits_for_the_database(
    mode: str, http: httpx.Client, upstream: Upstream, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_failing(monkeypatch, times=2)
    assert ask(http, alice, MODELS["gemini"], mode).text == ANSWER
    assert spent(alice) == charge_of(MODELS["gemini"])


def test_a_settlement_whose_answer_was_lost_is_not_done_twice(
    http: httpx.Client, upstream: Upstream, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    commit = group_commit.commit_together

    def committed_but_unanswered(units: Any) -> Any:
        outcomes = commit(units)
        if is_settling(units):
            calls.append(outcomes)
            if len(calls) == 1:
                raise OperationalError("the connection broke off after COMMIT")
        return outcomes

    monkeypatch.setattr(group_commit, "commit_together", committed_but_unanswered)
    monkeypatch.setattr(group_commit, "commit_at_once", by_threads)
    seen = ask(http, alice, MODELS["gemini"], "json")
    assert len(calls) == 2
    assert UsageRecord.objects.count() == 1
    assert spent(alice) == charge_of(MODELS["gemini"])
    assert float(seen.body["credits"]["charged"]) * CREDIT == pytest.approx(spent(alice))


@each_mode
def test_what_was_never_settled_is_given_back(
    mode: str, http: httpx.Client, upstream: Upstream, alice: Actor, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.HOLD_TTL = 0.001
    monkeypatch.setattr(settlement, "SETTLE_PATIENCE", 0.2)
    settle_failing(monkeypatch, times=100)
    seen = ask(http, alice, MODELS["gemini"], mode)
    assert seen.code == "database_unavailable"
    assert (seen.status, seen.last_event) == ((503, "") if mode == "json" else (200, "error"))
    expire_holds()
    assert Hold.objects.get().state == Hold.State.EXPIRED
    assert alice.wallet.available == 100 * CREDIT


# --- The page ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", BILLS, ids=lambda row: row.outcome)
def test_each_row_of_the_page_has_its_test(row: Any) -> None:
    path, name = row.test.split("::")
    tree = ast.parse((Path(__file__).parents[2] / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_of_a_bill_is_on_the_page() -> None:
    tree = ast.parse(Path(__file__).read_text())
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and "_cost" in node.name}
    assert tests <= {row.test.partition("::")[2] for row in BILLS}
