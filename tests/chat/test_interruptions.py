"""Chats that fail, break, are stopped, or whose client leaves: what is told, stored and paid."""

import json
from typing import Any

import httpx
import pytest

from accounts import services
from aichat.api.models import StopRequest
from aichat.chat.models import Message
from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from credits.models import LedgerEntry
from tests.chat.asking import CHAT, COMPLETIONS, MINI, events, nothing_is_held
from tests.conftest import Actor
from tests.logs import wait_for

# --- Streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (lambda upstream: upstream.fail(500), 503, "provider_unavailable"),
        (lambda upstream: upstream.fail(429, retry_after=7), 503, "provider_unavailable"),
        (lambda upstream: upstream.fail(401), 502, "provider_error"),
        (lambda upstream: upstream.fail(400, message="no such thing"), 400, "invalid_request"),
        (lambda upstream: upstream.delay(3), 504, "provider_timeout"),
    ],
    ids=["500", "429", "401", "400", "silence"],
)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_failure_before_the_first_event_is_a_real_status_and_free(
    http: httpx.Client,
    openai_upstream: Any,
    alice: Actor,
    settings: Any,
    path: str,
    stream: bool,
    fault: Any,
    status: int,
    code: str,
) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_ATTEMPT_TIMEOUT = 0.3
    fault(openai_upstream)
    content = {"message": "Hi"} if path == CHAT else {"messages": [{"role": "user", "content": "Hi"}]}
    response = http.post(path, json={**content, "model": MINI, "stream": stream}, headers=alice.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.headers["content-type"] == "application/json"
    if status == 503:
        assert int(response.headers["retry-after"]) >= 1
    assert (alice.wallet.available, alice.wallet.held) == (100 * CREDIT, 0)
    assert not Message.objects.exists()


def test_comments_keep_a_waiting_stream_alive(
    http: httpx.Client, openai_upstream: Any, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aichat.api.async_views.KEEP_ALIVE_SECONDS", 0.1)
    openai_upstream.delay(0.6)
    got = list(events(http, alice, "Hi", model=MINI))
    waiting = [index for index, (name, _) in enumerate(got) if not name]
    assert 2 <= len(waiting) <= 8 and waiting == list(range(len(waiting)))
    assert got[-1][0] == "completed"


def test_a_failure_after_the_first_comment_is_an_error_event(
    http: httpx.Client, openai_upstream: Any, alice: Actor, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aichat.api.async_views.KEEP_ALIVE_SECONDS", 0.1)
    settings.CHAT_FIRST_TOKEN_TIMEOUT = 0.4
    openai_upstream.delay(2)
    name, data = list(events(http, alice, "Hi", model=MINI))[-1]
    assert (name, data["error"]["code"]) == ("error", "provider_timeout")
    assert data["error"]["request_id"]
    assert alice.wallet.available == 100 * CREDIT


@pytest.mark.parametrize("fault", ["disconnect", "truncate", "corrupt", "stall"])
def test_a_stream_that_breaks_says_so_and_costs_what_was_delivered(
    http: httpx.Client, openai_upstream: Any, alice: Actor, settings: Any, fault: str
) -> None:
    settings.CHAT_IDLE_TIMEOUT = 0.3
    openai_upstream.reply("one two three four five six seven eight nine ten")
    getattr(openai_upstream, fault)(after_chunks=4)
    got = list(events(http, alice, "Count", model=MINI))
    text = "".join(data["content"] for name, data in got if name == "delta")
    assert text and got[-1][0] == "error"
    record, message = UsageRecord.objects.get(), Message.objects.get(role="assistant")
    assert (record.status, record.source, message.content, message.finish_reason) == ("partial", "ESTIMATED", text, "")
    assert record.charged == record.input_tokens * 150 + record.output_tokens * 600 > 0
    assert LedgerEntry.objects.get(kind="CHARGE").amount == -record.charged
    assert alice.wallet.held == 0


def test_a_client_that_leaves_a_stream_pays_what_was_delivered(http: httpx.Client, alice: Actor) -> None:
    stream = events(http, alice, "word " * 200)
    for _ in range(3):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    wait_for(nothing_is_held)
    record = UsageRecord.objects.get()
    assert (record.status, record.source) == ("cancelled", "ESTIMATED")
    assert 0 < record.output_tokens < 100
    assert Message.objects.get(role="assistant").content.startswith("This is the ")


def test_an_answer_that_is_to_be_finished_is_when_the_client_leaves(http: httpx.Client, alice: Actor) -> None:
    stream = events(http, alice, "word " * 40 + "end", finish=True)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    record = wait_for(UsageRecord.objects.first)
    assert (record.status, record.charged) == ("ok", CREDIT)
    assert Message.objects.get(role="assistant").content.endswith("word end")
    assert nothing_is_held()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_answer_that_is_to_be_finished_is_stopped_by_its_owner(
    server: str, alice: Actor, bob: Actor, elsewhere: bool
) -> None:
    body = {"message": "word " * 400, "stream": True, "finish": True}
    with httpx.stream("POST", server + CHAT, json=body, headers=alice.headers) as response:
        lines = response.iter_lines()
        next(lines)
        wish = {"message_id": response.headers["x-message-id"]}
        assert httpx.post(f"{server}{CHAT}/stop", json=wish, headers=bob.headers).status_code == 202
        if elsewhere:  # as another process would find it
            StopRequest.objects.create(answer_id=wish["message_id"], user=alice.user)
        else:
            assert httpx.post(f"{server}{CHAT}/stop", json=wish, headers=alice.headers).status_code == 202
        *_, last = [line for line in lines if line.startswith("data: ")]
    assert json.loads(last[6:])["error"]["code"] == "cancelled"
    assert UsageRecord.objects.get().status == "partial"
    assert 0 < len(Message.objects.get(role="assistant").content) < 2000
    assert nothing_is_held()


def test_a_limited_key_stops_the_answer_that_it_began(server: str, alice: Actor) -> None:
    _, key = services.create_api_key(user=alice.user, organization=alice.organization, name="limited", scopes=["chat"])
    headers = {"Authorization": f"Bearer {key}"}
    body = {"message": "word " * 400, "stream": True, "finish": True}
    with httpx.stream("POST", server + CHAT, json=body, headers=headers) as response:
        lines = response.iter_lines()
        next(lines)
        wish = {"message_id": response.headers["x-message-id"]}
        assert httpx.post(f"{server}{CHAT}/stop", json=wish, headers=headers).status_code == 202
        *_, last = [line for line in lines if line.startswith("data: ")]
    assert json.loads(last[6:])["error"]["code"] == "cancelled"


@pytest.mark.parametrize("accepted", [False, True])
def test_a_client_that_leaves_before_the_first_token_pays_the_input_once_a_provider_had_it(
    server: str, openai_upstream: Any, alice: Actor, accepted: bool
) -> None:
    if accepted:
        openai_upstream.slow_first_token(5)
    else:
        openai_upstream.delay(5)
    with pytest.raises(httpx.ReadTimeout):
        body = {"message": "A question of some length", "stream": True, "model": MINI}
        httpx.post(server + CHAT, json=body, headers=alice.headers, timeout=0.6)
    wait_for(nothing_is_held)
    record = wait_for(UsageRecord.objects.first)
    assert record.status == "cancelled"
    assert record.charged == (record.input_tokens * 150 if accepted else 0)
    assert (record.charged > 0, record.output_tokens) == (accepted, 0)
    assert not Message.objects.exists()


def test_a_client_that_leaves_a_json_chat_still_gets_it_stored_and_pays(
    server: str, openai_upstream: Any, alice: Actor
) -> None:
    openai_upstream.delay(0.8)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            server + CHAT, json={"message": "What is the weather?", "model": MINI}, headers=alice.headers, timeout=0.4
        )
    record = wait_for(UsageRecord.objects.first)
    assert (record.status, record.source) == ("ok", "EXACT")
    assert record.charged > 0
    assert Message.objects.filter(role="assistant").count() == 1
    assert nothing_is_held()
