"""`POST /api/v1/chat` and its conversations over HTTP: what is sent upstream, answered, stored and paid."""

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel
from aichat.chat.models import Conversation, Message
from aichat.core.database.statements import Statement, on_loop
from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from credits.models import Hold
from tests.chat.asking import CHAT, MINI, events, nothing_is_held, say
from tests.conftest import Actor
from tests.logs import wait_for

# --- The answer -------------------------------------------------------------------------------------------------------


def test_the_answer_has_the_contracts_fields(http: httpx.Client, alice: Actor) -> None:
    response = say(http, alice, "Grüße 🌊 to the wörld")
    body = response.json()
    record = UsageRecord.objects.get()
    assert set(body) >= {
        "id", "conversation_id", "message", "model", "provider", "finish_reason", "usage", "credits",
        "cached", "fallback", "experiment", "request_id",
    }  # fmt: skip
    assert body["message"]["role"] == "assistant"
    assert body["message"]["content"].endswith("Grüße 🌊 to the wörld")
    assert body["usage"] == {"input_tokens": record.input_tokens, "output_tokens": record.output_tokens}
    assert body["credits"] == {"charged": "1", "available": "99", "low": False}
    assert (body["model"], body["provider"], body["finish_reason"]) == ("demo", "demo", "stop")
    assert (body["cached"], body["fallback"]) == (False, False)
    assert response.headers["x-model"] == response.headers["x-provider"] == "demo"
    assert response.headers["x-credits-charged"] == "1"
    stored = Message.objects.get(id=body["message"]["id"])
    assert (stored.content, stored.request_id) == (body["message"]["content"], body["request_id"])


def test_a_stream_is_deltas_and_then_the_same_object(http: httpx.Client, alice: Actor) -> None:
    got = list(events(http, alice, "one two"))
    names = [name for name, _ in got]
    assert names == ["delta"] * (len(got) - 1) + ["completed"]
    completed = got[-1][1]
    assert "".join(data["content"] for _, data in got[:-1]) == completed["message"]["content"]
    whole = say(http, alice, "one two").json()
    assert set(completed) == set(whole)
    assert completed["usage"] == whole["usage"]
    assert completed["credits"]["available"] == "99"


@pytest.mark.parametrize(
    "text", ["🌊" * 2000, "x" * 20_000, "نص من اليمين\u200f إلى", "e\u0301\u202e", "</s>\r\n\r\ndata: x"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_any_text_survives_the_way_there_and_back(http: httpx.Client, alice: Actor, text: str, stream: bool) -> None:
    answer = list(events(http, alice, text))[-1][1] if stream else say(http, alice, text).json()
    pages = http.get(f"/api/v1/conversations/{answer['conversation_id']}/messages", headers=alice.headers).json()
    question, reply = [message["content"] for message in pages["results"]]
    assert question == text
    assert reply == answer["message"]["content"]
    assert reply.endswith(text.strip().split()[-1])


def test_a_max_tokens_cuts_the_answer_and_says_so(http: httpx.Client, alice: Actor) -> None:
    answer = say(http, alice, "Hello", max_tokens=3).json()
    assert (answer["message"]["content"].split(), answer["finish_reason"]) == (["This", "is", "the"], "length")
    assert answer["usage"]["output_tokens"] == 3


# --- Conversations ----------------------------------------------------------------------------------------------------


def test_history_and_system_prompt_go_upstream(http: httpx.Client, openai_upstream: Any, alice: Actor) -> None:
    openai_upstream.reply("Blue.").reply("Because.")
    first = say(http, alice, "Which colour?", system="Be brief.", model=MINI).json()
    second = say(http, alice, "Why?", conversation_id=first["conversation_id"], model=MINI, temperature=0.5).json()
    assert second["conversation_id"] == first["conversation_id"]
    sent = openai_upstream.last_request.body
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Which colour?"},
        {"role": "assistant", "content": "Blue."},
        {"role": "user", "content": "Why?"},
    ]
    assert (sent["temperature"], sent["max_completion_tokens"]) == (0.5, 4096)
    say(http, alice, "Again", conversation_id=first["conversation_id"], model=MINI, system="Be long.")
    assert openai_upstream.last_request.body["messages"][0] == {"role": "system", "content": "Be long."}
    assert Conversation.objects.get().system == "Be long."


def test_the_oldest_turns_are_dropped_first_and_the_system_prompt_is_kept(
    http: httpx.Client, openai_upstream: Any, alice: Actor
) -> None:
    AIModel.objects.filter(slug=MINI).update(context_window=400, max_output_tokens=50)
    snapshot.forget()
    conversation = say(http, alice, "turn 0 " + "x" * 100, system="Stay.", model=MINI).json()["conversation_id"]
    for number in range(1, 8):
        openai_upstream.reply("y" * 100)
        message = f"turn {number} " + "x" * 100
        assert say(http, alice, message, conversation_id=conversation, model=MINI).status_code == 200
    sent = openai_upstream.last_request.body["messages"]
    assert sent[0] == {"role": "system", "content": "Stay."}
    assert sent[1]["role"] == "user"
    turns = [message["content"].split()[1] for message in sent if message["content"].startswith("turn")]
    assert turns[-1] == "7" and 1 < len(turns) < 8
    assert turns == [str(number) for number in range(8 - len(turns), 8)]
    assert Message.objects.count() == 16


def test_conversations_are_listed_renamed_and_deleted(http: httpx.Client, alice: Actor, bob: Actor) -> None:
    first = say(http, alice, "  About\n  sailing " + "on " * 50).json()["conversation_id"]
    second = say(http, alice, "About cooking").json()["conversation_id"]
    say(http, bob, "Something else")
    say(http, alice, "More", conversation_id=first)
    listed = http.get("/api/v1/conversations", headers=alice.headers).json()["results"]
    assert [row["id"] for row in listed] == [first, second]  # the latest used first
    assert listed[0]["title"].startswith("About sailing on") and len(listed[0]["title"]) == 80
    path = f"/api/v1/conversations/{first}"
    assert http.patch(path, json={"title": "Boats"}, headers=alice.headers).json()["title"] == "Boats"
    messages = http.get(f"{path}/messages", headers=alice.headers).json()["results"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert http.delete(path, headers=alice.headers).status_code == 204
    assert http.get(path, headers=alice.headers).status_code == 404
    assert Message.objects.filter(conversation_id=first).count() == 0


def test_a_conversation_deleted_while_its_answer_is_written_stays_deleted(http: httpx.Client, alice: Actor) -> None:
    conversation = say(http, alice, "Hello").json()["conversation_id"]
    stream = events(http, alice, "word " * 60, conversation_id=conversation)
    next(stream)
    assert (
        httpx.delete(f"{http.base_url}/api/v1/conversations/{conversation}", headers=alice.headers).status_code == 204
    )
    *_, (name, completed) = stream
    assert (name, completed["credits"]["charged"]) == ("completed", "1")
    assert not Conversation.objects.exists() and not Message.objects.exists()


# --- Commits and connections ------------------------------------------------------------------------------------------


WRITTEN = re.compile(r'(?:INSERT INTO|(?<!FOR )UPDATE|DELETE FROM) "?(\w+)')


@pytest.mark.skipif(connection.vendor == "mongodb", reason="it reads SQL; on MongoDB see tests/databases")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_a_chat_is_two_commits_and_nothing_is_written_outside_them(
    http: httpx.Client, alice: Actor, monkeypatch: pytest.MonkeyPatch, stream: bool, again: bool
) -> None:
    first = say(http, alice, "Hello").json()
    body = {"conversation_id": first["conversation_id"]} if again else {}
    commits: list[set[str]] = []
    open_writes: dict[int, set[str]] = {}
    commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]

    def counted_commit(self: Any) -> Any:
        commits.append(open_writes.pop(threading.get_ident(), set()))
        return commit(self)

    def watch(owner: type, name: str, text_of: Callable[..., str]) -> None:
        send = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            sql = text_of(*args)
            if tables := WRITTEN.findall(sql):
                assert connection.in_atomic_block, sql
                open_writes.setdefault(threading.get_ident(), set()).update(tables)
            return send(*args, **options)

        monkeypatch.setattr(owner, name, watched)

    monkeypatch.setattr(BaseDatabaseWrapper, "_commit", counted_commit)
    watch(CursorWrapper, "execute", lambda cursor, sql, *_: sql)
    watch(CursorWrapper, "executemany", lambda cursor, sql, *_: sql)
    watch(Statement, "many", lambda statement, rows: statement.text)
    watch(Statement, "together", lambda pairs: "; ".join(statement.text for statement, _ in pairs))
    if connection.vendor == "postgresql":  # the event loop sends whole transactions
        at_once = on_loop.commit

        async def counted_at_once(statements: Any, **options: Any) -> Any:
            commits.append({table for statement, _ in statements for table in WRITTEN.findall(statement.text)})
            return await at_once(statements, **options)

        monkeypatch.setattr(on_loop, "commit", counted_at_once)
    if stream:
        assert list(events(http, alice, "Hello again", **body))[-1][0] == "completed"
    else:
        assert say(http, alice, "Hello again", **body).status_code == 200
    assert len(commits) == 2
    reserved, settled = commits
    assert reserved == {"credits_wallet", "credits_hold"}
    assert settled >= {"credits_wallet", "credits_hold", "credits_ledgerentry", "usage_usagerecord", "chat_message"}


def test_no_database_thread_is_held_while_providers_are_waited_for(
    server: str, openai_upstream: Any, alice: Actor, settings: Any
) -> None:
    many = settings.DATABASE_THREADS + 4
    openai_upstream.delay(1.5, times=many)

    def ask() -> int:
        return httpx.post(
            server + CHAT, json={"message": "Hi", "model": MINI}, headers=alice.headers, timeout=30
        ).status_code

    with ThreadPoolExecutor(many) as pool:
        waiting = [pool.submit(ask) for _ in range(many)]
        wait_for(lambda: Hold.objects.filter(state="OPEN").count() == many)
        started = time.monotonic()
        assert (
            httpx.post(server + CHAT, json={"message": "Hi", "model": "demo"}, headers=alice.headers).status_code == 200
        )
        assert time.monotonic() - started < 1
        assert [future.result() for future in waiting] == [200] * many
    assert nothing_is_held()


def test_two_settlements_of_one_hold_are_one(server: str, alice: Actor) -> None:
    from time import monotonic

    from accounts.authentication import authenticate
    from aichat.generation.charging.group_commit import commit_together
    from aichat.generation.charging.settlement import Attempt, reservation, settlement
    from aichat.generation.request import GenerationRequest, Result
    from aichat.providers.base import Usage

    caller = authenticate(f"Bearer {alice.key}")
    call = GenerationRequest(caller=caller, model="demo", messages=[], stream=False, request_id="twice")
    model = snapshot.current()["demo"]
    for charge in (CREDIT, 0):
        hold, unit = reservation(
            GenerationRequest(caller=caller, model="demo", messages=[], stream=False, request_id="twice"), CREDIT
        )
        commit_together([unit])
        attempt = Attempt(model, 1, started=monotonic(), status="ok", usage=Usage(1, 1))
        for _ in range(2):
            commit_together([settlement(call, hold, [attempt], Result(call.id, "twice"), charge)])
    assert [record.charged for record in UsageRecord.objects.order_by("id")] == [CREDIT, 0]
    assert (alice.wallet.available, alice.wallet.held) == (99 * CREDIT, 0)
