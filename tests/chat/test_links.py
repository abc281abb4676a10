"""Links that show a conversation to everybody who has them; and conversations pinned and searched."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.db import connection
from guardian.models import UserObjectPermission

from aichat.chat import links, sharing
from aichat.chat.models import Conversation, ConversationLink, Message
from tests.conftest import Actor


@pytest.fixture
def conversation(alice: Actor) -> Conversation:
    row = Conversation.objects.create(
        user=alice.user, organization=alice.organization, title="About sailing", system="The secret prompt"
    )
    for role, text in (("user", "How?"), ("assistant", "So."), ("assistant", "Or so."), ("user", "Later")):
        Message.objects.create(conversation=row, role=role, content=text, reasoning="Secret thoughts")
    question, first, other, _ = Message.objects.filter(conversation=row).order_by("id")
    Message.objects.filter(pk__in=[first.pk, other.pk]).update(parent_id=question.pk)
    return row


def test_a_link_shows_one_branch_up_to_its_message_and_nothing_else(
    alice: Actor, bob: Actor, anonymous: object, conversation: Conversation
) -> None:
    path = f"/api/v1/conversations/{conversation.pk}/links"
    until = Message.objects.get(content="Or so.").pk
    made = alice.post(path, {"message_id": str(until)})
    assert made.status_code == 201
    again = alice.post(path, {"message_id": str(until)})
    assert (again.status_code, again.json()["token"]) == (200, made.json()["token"])
    assert alice.get(path).json() == [again.json()]

    page = anonymous.get(f"/api/v1/shared/{made.json()['token']}")  # type: ignore[attr-defined]
    assert page["X-Robots-Tag"] == "noindex"
    assert set(page.json()) == {"title", "created_at", "messages"}
    assert page.json()["messages"] == [
        {"role": "user", "content": "How?"},
        {"role": "assistant", "content": "Or so."},
    ]
    assert "ecret" not in page.text

    alice.user.is_active = False
    alice.user.save()
    assert anonymous.get(f"/api/v1/shared/{made.json()['token']}").status_code == 404  # type: ignore[attr-defined]


def test_a_credential_that_has_ended_does_not_hide_a_shared_page(
    alice: Actor, anonymous: object, conversation: Conversation
) -> None:
    link = alice.post(f"/api/v1/conversations/{conversation.pk}/links").json()
    ended = {"Authorization": "Bearer sk-ended"}
    assert anonymous.get(f"/api/v1/shared/{link['token']}", headers=ended).status_code == 200  # type: ignore[attr-defined]


@pytest.mark.django_db(transaction=True)
def test_two_requests_at_the_same_moment_make_one_link_and_keep_one_share(
    alice: Actor, bob: Actor, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_are_connected, both_are_here = threading.Barrier(2, timeout=20), threading.Barrier(2, timeout=1)

    def meet(work: Callable[..., Any]) -> Callable[..., Any]:
        """The work, begun when the other request is about to do it too, if it gets there."""

        def met(*args: Any, **named: Any) -> Any:
            with suppress(threading.BrokenBarrierError):
                both_are_here.wait()
            return work(*args, **named)

        return met

    def at_once(*asked: Callable[[], Any]) -> None:
        both_are_here.reset()
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(alone, one) for one in asked]:
                done.result()

    def alone(work: Callable[[], Any]) -> None:
        try:
            connection.ensure_connection()
            both_are_connected.wait()
            work()
        finally:
            connection.close()

    monkeypatch.setattr(ConversationLink.objects, "create", meet(ConversationLink.objects.create))
    at_once(*[lambda: links.make(conversation, None)] * 2)
    assert ConversationLink.objects.count() == 1

    monkeypatch.setattr(UserObjectPermission.objects, "assign_perm", meet(UserObjectPermission.objects.assign_perm))
    at_once(*[partial(sharing.share, conversation, email=bob.user.email, access=access) for access in sharing.Access])
    assert len(sharing.all_shares()) == 1


def test_a_link_ends_at_once_and_is_never_guessed(alice: Actor, anonymous: object, conversation: Conversation) -> None:
    path = f"/api/v1/conversations/{conversation.pk}/links"
    assert alice.post(path, {"message_id": str(conversation.pk)}).json()["error"]["param"] == "message_id"
    link = alice.post(path).json()
    get = anonymous.get  # type: ignore[attr-defined]
    assert len(get(f"/api/v1/shared/{link['token']}").json()["messages"]) == 3
    for wrong in (link["id"], link["token"][:-1], f"{conversation.pk.hex}.x", "x", "%00"):
        assert get(f"/api/v1/shared/{wrong}").status_code == 404
    assert alice.delete(f"{path}/{link['id']}").status_code == 204
    assert alice.delete(f"{path}/{link['id']}").status_code == 404
    assert get(f"/api/v1/shared/{link['token']}").status_code == 404
    alice.post(path)
    assert alice.delete(f"/api/v1/conversations/{conversation.pk}").status_code == 204
    assert not ConversationLink.objects.exists()


def test_conversations_are_pinned_and_searched(alice: Actor, conversation: Conversation) -> None:
    Conversation.objects.create(user=alice.user, organization=alice.organization, title="About 100%_cooking")
    path = f"/api/v1/conversations/{conversation.pk}"
    changed = conversation.updated_at.isoformat()
    pinned = alice.patch(path, {"pinned": True}).json()
    assert pinned["pinned"] is True and pinned["updated_at"][:19] == changed[:19]

    def titles(query: str) -> list[str]:
        return [row["title"] for row in alice.get(f"/api/v1/conversations?{query}").json()["results"]]

    assert titles("pinned=true") == ["About sailing"] == titles("search=SAIL")
    assert titles("pinned=false") == ["About 100%_cooking"] == titles("search=100%25_c")
    assert len(titles("")) == 2
    assert alice.get("/api/v1/conversations?pinned=perhaps").json()["error"]["param"] == "pinned"
    assert alice.patch(path, {"pinned": False}).json()["pinned"] is False
    assert titles("pinned=true") == []
