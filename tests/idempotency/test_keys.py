"""Idempotency-Key over HTTP: charged once, replayed as it was, freed when nothing was charged."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from unittest import mock

import httpx
import openai
import pytest
from django.utils import timezone

from aichat.core.database.models import uuid7
from aichat.core.money import CREDIT
from aichat.generation.charging import group_commit
from aichat.idempotency import keys, renewal
from aichat.idempotency.models import IdempotentRequest
from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry
from credits.services import Reserve
from tests.conftest import Actor

CHAT, COMPLETIONS = "/api/v1/chat", "/v1/chat/completions"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"message": "Hello"},
    COMPLETIONS: {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]},
}


def post(http: httpx.Client, actor: Actor, path: str = CHAT, key: str = "k", **extra: Any) -> httpx.Response:
    body = {**BODIES[path], **extra}
    return http.post(path, json=body, headers={**actor.headers, "Idempotency-Key": key})


def charges() -> int:
    return LedgerEntry.objects.filter(kind="CHARGE").count()


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("stream", [False, True])
def test_the_second_answer_is_the_first_one_again(http: httpx.Client, alice: Actor, path: str, stream: bool) -> None:
    first = post(http, alice, path, stream=stream)
    again = post(http, alice, path, stream=stream)
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert "Idempotent-Replayed" not in first.headers and again.headers["Idempotent-Replayed"] == "true"
    for name in ("Content-Type", "X-Model", "X-Provider"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert charges() == 1


def test_another_key_is_another_request(http: httpx.Client, alice: Actor) -> None:
    post(http, alice, key="one")
    assert "Idempotent-Replayed" not in post(http, alice, key="two").headers
    assert charges() == 2


def test_the_same_key_with_another_body_is_a_conflict(http: httpx.Client, alice: Actor) -> None:
    post(http, alice)
    answer = post(http, alice, message="Something else")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert answer.json()["error"]["param"] == "Idempotency-Key"
    assert charges() == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream": false,\n  "message":"Gr\\u00fc\\u00dfe",  "model": "demo", "temperature": 1.0, "max_tokens": 50}',
        '{"model":"demo","max_tokens":50,"temperature":1,"message":"Grüße","stream":false}'.encode(),
    ],
)
def test_a_retry_that_writes_its_json_otherwise_is_the_same_request(
    http: httpx.Client, alice: Actor, body: bytes
) -> None:
    headers = {**alice.headers, "Idempotency-Key": "k", "Content-Type": "application/json"}
    first = {"message": "Grüße", "model": "demo", "temperature": 1, "max_tokens": 50, "stream": False}
    answer = http.post(CHAT, json=first, headers=headers)
    again = http.post(CHAT, content=body, headers=headers)
    assert (again.status_code, again.content) == (200, answer.content)
    other = http.post(CHAT, content=body.replace(b"50", b"51"), headers=headers)
    assert other.json()["error"]["code"] == "idempotency_conflict"
    assert charges() == 1


def test_the_same_key_on_another_path_is_a_conflict(http: httpx.Client, alice: Actor) -> None:
    post(http, alice)
    assert post(http, alice, COMPLETIONS).json()["error"]["code"] == "idempotency_conflict"


def test_a_strangers_key_is_another_key(http: httpx.Client, alice: Actor, charlie: Actor) -> None:
    first = post(http, alice)
    other = post(http, charlie)
    assert "Idempotent-Replayed" not in other.headers
    assert other.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["", "with space", "é", "x" * 256])
def test_a_key_that_is_no_key_names_the_header(http: httpx.Client, alice: Actor, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode()), (b"Authorization", alice.headers["Authorization"].encode())]
    answer = http.post(CHAT, json=BODIES[CHAT], headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_a_failure_that_charged_nothing_frees_the_key(http: httpx.Client, alice: Actor) -> None:
    alice.set_credits(0)
    assert post(http, alice).status_code == 402
    assert post(http, alice, model="nonsense").status_code == 404
    assert not IdempotentRequest.objects.exists()
    alice.set_credits(5)
    assert post(http, alice).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_failed_frees_the_key(
    http: httpx.Client, openai_upstream: Any, alice: Actor, stream: bool
) -> None:
    openai_upstream.fail(500)
    failed = post(http, alice, COMPLETIONS, model="gpt-4o-mini", stream=stream)
    assert failed.status_code == 503
    assert post(http, alice, COMPLETIONS, model="gpt-4o-mini", stream=stream).status_code == 200
    assert charges() == 1


def test_twins_at_the_same_moment_are_charged_once(http: httpx.Client, alice: Actor) -> None:
    barrier = threading.Barrier(6)

    def one() -> int:
        barrier.wait()
        return post(http, alice).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = [task.result() for task in [pool.submit(one) for _ in range(6)]]
    assert set(statuses) <= {200, 409} and 200 in statuses
    assert charges() == 1
    assert post(http, alice).headers["Idempotent-Replayed"] == "true"


def claimed(actor: Actor, http: httpx.Client) -> IdempotentRequest:
    """A request that another process is working on."""
    post(http, actor)
    row = IdempotentRequest.objects.get()
    row.state, row.lease_until = "RUNNING", timezone.now() + timedelta(seconds=30)
    row.save()
    return row


def test_a_request_that_still_runs_says_when_to_ask_again(http: httpx.Client, alice: Actor) -> None:
    claimed(alice, http)
    answer = post(http, alice)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_in_progress")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_request_whose_process_died_can_be_retried(http: httpx.Client, alice: Actor) -> None:
    row = claimed(alice, http)
    row.lease_until = timezone.now() - timedelta(seconds=1)
    row.save()
    answer = post(http, alice)
    assert answer.status_code == 200 and "Idempotent-Replayed" not in answer.headers


def test_a_process_renews_only_the_claims_it_works_on(http: httpx.Client, alice: Actor) -> None:
    row = claimed(alice, http)
    renewal.renew()
    assert IdempotentRequest.objects.get().lease_until == row.lease_until
    renewal.held.add(keys.KeyClaim(row.id, row.attempt))
    renewal.renew()
    assert IdempotentRequest.objects.get().lease_until > row.lease_until
    renewal.held.clear()


@pytest.mark.parametrize("stream", [False, True])
def test_an_attempt_that_lost_its_key_is_not_charged(
    http: httpx.Client, alice: Actor, commits_by_threads: None, stream: bool
) -> None:
    """It was slower than its lease, and a later attempt took the key over while it was at work."""
    alice.set_credits(10)

    def reserve_then_lose(units: Any) -> Any:
        outcomes = commit(units)
        if isinstance(units[0].operation, Reserve):
            IdempotentRequest.objects.update(attempt=uuid7())
        return outcomes

    commit = group_commit.commit_together
    with mock.patch.object(group_commit, "commit_together", reserve_then_lose):
        answer = post(http, alice, stream=stream)
    assert "idempotency_in_progress" in answer.text
    assert alice.wallet.balance == 10 * CREDIT and charges() == 0
    assert Hold.objects.get().state == "RELEASED"


def test_a_stream_the_client_left_replays_what_was_delivered(
    http: httpx.Client, openai_upstream: Any, alice: Actor
) -> None:
    openai_upstream.stall(after_chunks=3, seconds=5)
    headers = {**alice.headers, "Idempotency-Key": "k"}
    body = {**BODIES[COMPLETIONS], "model": "gpt-4o-mini", "stream": True}
    delivered = b""
    with http.stream("POST", COMPLETIONS, json=body, headers=headers) as answer:
        for part in answer.iter_raw():
            delivered += part
            if delivered.count(b"data: ") >= 2:
                break
    until_settled()
    replayed = http.post(COMPLETIONS, json=body, headers=headers)
    assert replayed.headers["Idempotent-Replayed"] == "true"
    assert replayed.content.startswith(delivered)
    assert b'"code":"cancelled"' in replayed.content
    assert charges() == 1 and UsageRecord.objects.get().status == "cancelled"


def until_settled() -> None:
    for _ in range(100):
        if Hold.objects.filter(state="OPEN").exists():
            threading.Event().wait(0.05)
        else:
            return


def test_keys_are_forgotten_after_a_day(http: httpx.Client, alice: Actor) -> None:
    post(http, alice)
    assert keys.forget_expired() == 0
    IdempotentRequest.objects.update(expires_at=timezone.now())
    assert "Idempotent-Replayed" not in post(http, alice).headers
    IdempotentRequest.objects.update(expires_at=timezone.now())
    assert keys.forget_expired() == 1


def test_a_request_without_a_key_asks_the_table_nothing(http: httpx.Client, alice: Actor) -> None:
    with mock.patch.object(keys, "claim_key", side_effect=AssertionError):
        answer = http.post(CHAT, json=BODIES[CHAT], headers=alice.headers)
    assert answer.status_code == 200
    assert not IdempotentRequest.objects.exists()


def test_the_official_client_retries_with_its_key(server: str, alice: Actor) -> None:
    client = openai.OpenAI(base_url=f"{server}/v1", api_key=alice.key, default_headers={"Idempotency-Key": "sdk"})
    first, again = (client.chat.completions.create(**BODIES[COMPLETIONS]) for _ in range(2))
    assert first == again
    assert charges() == 1


def test_a_stream_that_broke_off_replays_its_error_too(http: httpx.Client, openai_upstream: Any, alice: Actor) -> None:
    openai_upstream.truncate(after_chunks=3)
    first = post(http, alice, COMPLETIONS, model="gpt-4o-mini", stream=True)
    again = post(http, alice, COMPLETIONS, model="gpt-4o-mini", stream=True)
    assert b'"error"' in first.content and charges() == 1
    assert again.headers["Idempotent-Replayed"] == "true"
    ours = first.headers["X-Request-ID"].encode()
    assert again.content.replace(ours, b"") == first.content.replace(ours, b"")
