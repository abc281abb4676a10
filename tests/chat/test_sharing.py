"""Alice shares a conversation with Bob, to read or to go on with; Charlie sees nothing of it."""

from typing import Any

import pytest

from accounts import teams
from aichat.chat import services
from aichat.chat.models import Conversation, Message
from aichat.chat.turns import Turn
from aichat.core.database.models import uuid7
from aichat.core.money import CREDIT
from aichat.generation.request import Result
from tests.conftest import Actor, in_team, join


@pytest.fixture
def conversation(alice: Actor) -> str:
    row = Conversation.objects.create(organization=alice.organization, user=alice.user, title="Tea")
    Message.objects.create(conversation=row, role=Message.Role.ASSISTANT, content="More tea?")
    return f"/api/v1/conversations/{row.pk}"


def share(by: Actor, conversation: str, who: Actor, access: str, **extra: Any) -> Any:
    return by.post(f"{conversation}/shares", {"email": who.user.email, "access": access}, **extra)


def titles(who: Actor) -> list[str]:
    return [row["title"] for row in who.get("/api/v1/conversations?shared=true").json()["results"]]


def test_one_to_read_is_read_and_nothing_else(
    transactional_db: None, catalog: None, alice: Actor, bob: Actor, charlie: Actor, conversation: str
) -> None:
    assert share(alice, conversation, bob, "read").status_code == 201
    assert bob.get(conversation).json()["title"] == "Tea"
    message = bob.get(f"{conversation}/messages").json()["results"][0]
    assert message["content"] == "More tea?"
    rated = [who.post(f"/api/v1/messages/{message['id']}/feedback", {"rating": -1}).status_code for who in (alice, bob)]
    seen = [who.get(f"{conversation}/messages").json()["results"][0]["rating"] for who in (alice, bob)]
    assert (rated, seen) == ([201, 404], [-1, None])
    assert (titles(bob), titles(charlie)) == (["Tea"], [])
    assert bob.get("/api/v1/conversations").json()["results"] == []
    turn = {"message": "Yes", "conversation_id": conversation.rpartition("/")[2]}
    refused = bob.post("/api/v1/chat", turn)
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "conversation_id")
    assert [bob.patch(conversation, {"title": "Coffee"}).status_code, bob.delete(conversation).status_code] == [404] * 2
    assert bob.get(f"{conversation}/shares").status_code == 404
    assert charlie.get(conversation).status_code == 404


def test_one_to_write_is_gone_on_with_for_ones_own_credits(
    transactional_db: None, catalog: None, alice: Actor, bob: Actor, charlie: Actor, conversation: str
) -> None:
    share(alice, conversation, bob, "write")
    turn = {"message": "Yes", "conversation_id": conversation.rpartition("/")[2]}
    assert bob.post("/api/v1/chat", turn).status_code == 200
    assert (bob.wallet.balance, alice.wallet.balance) == (99 * CREDIT, 100 * CREDIT)
    assert len(alice.get(f"{conversation}/messages").json()["results"]) == 3
    assert charlie.post("/api/v1/chat", turn).status_code == 404


def test_a_share_can_be_changed_and_ended(alice: Actor, bob: Actor, conversation: str) -> None:
    share(alice, conversation, bob, "write")
    share(alice, conversation, bob, "read")
    assert alice.get(f"{conversation}/shares").json() == [
        {"id": str(bob.user.pk), "email": bob.user.email, "access": "read"}
    ]
    assert alice.delete(f"{conversation}/shares/{bob.user.pk}").status_code == 204
    assert bob.get(conversation).status_code == 404
    assert alice.delete(f"{conversation}/shares/{bob.user.pk}").status_code == 404


def test_a_teams_conversation_stays_in_the_team(alice: Actor, bob: Actor, charlie: Actor) -> None:
    owner = teams.create_team(alice.user, "Wonderland")
    join(owner.organization, bob)
    row = Conversation.objects.create(organization=owner.organization, user=alice.user, title="Plans")
    path, acting = f"/api/v1/conversations/{row.pk}", {"headers": in_team(str(owner.organization_id))}
    alice.with_login()
    bob.with_login()
    assert share(alice, path, charlie, "read", **acting).json()["error"]["param"] == "email"
    assert share(alice, path, bob, "read", **acting).status_code == 201
    assert bob.get(path, **acting).status_code == 200
    assert bob.get(path).status_code == 404
    teams.remove_member(owner, bob.user.pk)
    assert [bob.get(path, **acting).status_code, bob.get(path).status_code] == [404, 404]
    assert titles(bob) == []


@pytest.mark.parametrize(
    "body, param",
    [
        ({"email": "nobody@example.com"}, "email"),
        ({"email": "alice@example.com"}, "email"),
        ({"email": "bob@example.com", "access": "own"}, "access"),
        ({}, "email"),
    ],
)
def test_only_somebody_else_who_is_known_gets_a_known_access(
    alice: Actor, bob: Actor, conversation: str, body: dict[str, str], param: str
) -> None:
    response = alice.post(f"{conversation}/shares", body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_whoever_may_write_can_t_replace_the_owner_s_system_prompt(
    transactional_db: None, catalog: None, alice: Actor, bob: Actor, conversation: str
) -> None:
    share(alice, conversation, bob, "write")
    row = conversation.rpartition("/")[2]
    assert alice.patch(conversation, {"system": "Be kind."}).status_code == 200
    refused = bob.post("/api/v1/chat", {"message": "Yes", "conversation_id": row, "system": "Be rude."})
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "system")
    assert bob.post("/api/v1/chat", {"message": "Yes", "conversation_id": row}).status_code == 200
    assert Conversation.objects.get(pk=row).system == "Be kind."


def test_a_turn_does_not_undo_a_system_prompt_changed_while_it_was_answered(
    transactional_db: None, catalog: None, alice: Actor, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Conversation.objects.get(pk=conversation.rpartition("/")[2])
    save = services.turn_saver(Turn(conversation=row, question="Hi", parent_id=row.pk), None)
    assert alice.patch(conversation, {"system": "Be kind."}).status_code == 200
    assert len(save(Result(id=uuid7(), request_id="r"))) == 2
    assert Conversation.objects.get(pk=row.pk).system == "Be kind."


def test_whoever_got_a_share_can_leave_it(alice: Actor, bob: Actor, charlie: Actor, conversation: str) -> None:
    share(alice, conversation, bob, "read")
    share(alice, conversation, charlie, "read")
    assert bob.with_login().delete(f"{conversation}/shares/{charlie.user.pk}").status_code == 404
    assert bob.delete(f"{conversation}/shares/{bob.user.pk}").status_code == 204
    assert (titles(bob), titles(charlie)) == ([], ["Tea"])
    assert bob.delete(f"{conversation}/shares/{bob.user.pk}").status_code == 404


def test_a_system_prompt_is_bounded_and_lists_leave_it_out(alice: Actor, conversation: str) -> None:
    refused = alice.patch(conversation, {"system": "x" * 100_001})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "system")
    assert alice.patch(conversation, {"system": "x" * 100_000}).status_code == 200
    assert len(alice.get("/api/v1/conversations").content) < 1000
    assert len(alice.get(conversation).json()["system"]) == 100_000
