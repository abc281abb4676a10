"""Branches: a question asked anew, another answer to the same question, and going on from either."""

from typing import Any

import httpx

from aichat.chat.models import Message
from aichat.core.database.models import uuid7
from tests.chat.asking import CHAT, MINI, say
from tests.conftest import Actor


def ask(http: httpx.Client, actor: Actor, conversation: str, **body: Any) -> httpx.Response:
    body = {"model": MINI, "conversation_id": conversation, **body}
    return http.post(CHAT, json=body, headers=actor.headers)


def sent(upstream: Any) -> list[str]:
    return [message["content"] for message in upstream.last_request.body["messages"]]


def test_each_branch_has_its_own_history_and_is_paid_by_itself(
    http: httpx.Client, openai_upstream: Any, alice: Actor
) -> None:
    for text in ("Blue.", "Green.", "Two.", "Why not?", "Old."):
        openai_upstream.reply(text)
    begun = say(http, alice, "Which colour?", model=MINI)
    first, conversation = begun.json(), begun.json()["conversation_id"]
    assert begun.headers["x-conversation-id"] == conversation
    blue = first["message"]
    assert begun.headers["x-message-id"] == blue["id"]

    again = ask(http, alice, conversation, replaces=blue["id"]).json()
    assert sent(openai_upstream) == ["Which colour?"]
    assert (again["message"]["content"], again["cached"]) == ("Green.", False)
    assert again["message"]["parent_id"] == blue["parent_id"]
    assert float(again["credits"]["available"]) < float(first["credits"]["available"])

    edited = ask(http, alice, conversation, replaces=blue["parent_id"], message="Which number?").json()
    assert sent(openai_upstream) == ["Which number?"]

    ask(http, alice, conversation, message="Sure?")  # after the latest, as ever
    assert sent(openai_upstream) == ["Which number?", "Two.", "Sure?"]
    ask(http, alice, conversation, message="And before?", parent_id=blue["id"])
    assert sent(openai_upstream) == ["Which colour?", "Blue.", "And before?"]

    listed = http.get(f"/api/v1/conversations/{conversation}/messages", headers=alice.headers).json()["results"]
    follows = {row["content"]: row["parent_id"] for row in listed}
    assert follows["Which colour?"] == follows["Which number?"] == conversation
    assert follows["Blue."] == follows["Green."] == blue["parent_id"]
    assert follows["Two."] == edited["message"]["parent_id"]
    assert listed[1]["credits"] == first["credits"]["charged"] and listed[0]["credits"] is None
    assert [row["role"] for row in listed].count("user") == 4 and len(listed) == 9

    Message.objects.update(parent_id=None)  # written by the version before: each follows the one before it
    ask(http, alice, conversation, replaces=blue["id"])
    assert sent(openai_upstream) == ["Which colour?"]


def test_a_place_that_is_not_there_is_refused_by_name(http: httpx.Client, alice: Actor, bob: Actor) -> None:
    mine, his = say(http, alice, "Hello").json(), say(http, bob, "Secret").json()
    conversation, answer = mine["conversation_id"], mine["message"]["id"]
    question = mine["message"]["parent_id"]
    for body, param in (
        ({"message": "x", "parent_id": his["message"]["id"]}, "parent_id"),
        ({"replaces": his["message"]["id"]}, "replaces"),
        ({"replaces": str(uuid7())}, "replaces"),
        ({"replaces": answer, "message": "x"}, "message"),
        ({"replaces": question}, "message"),
        ({"replaces": answer, "parent_id": answer}, "replaces"),
        ({}, "message"),
        ({"replaces": answer, "conversation_id": None}, "conversation_id"),
    ):
        refused = ask(http, alice, **{"conversation": conversation, "model": "demo", **body})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), body
    assert ask(http, bob, conversation, replaces=answer).status_code == 404
    assert (Message.objects.count(), alice.wallet.held) == (4, 0)
