"""Search in conversations: by their titles, and by the words of their messages."""

from typing import Any

import pytest

from aichat.chat import retention, search
from aichat.chat.models import Conversation, Message
from aichat.chat.sharing import Access, share
from aichat.core.database.statements import insert
from tests.conftest import Actor


def said(who: Actor, *texts: str, title: str = "Untitled", **fields: Any) -> Conversation:
    """A conversation with these messages, of which each follows the one before."""
    conversation = Conversation.objects.create(organization=who.organization, user=who.user, title=title)
    fields = {"owner_id": who.user.pk} | fields
    insert([Message(conversation=conversation, role="user", content=text, **fields) for text in texts])
    return conversation


def found(who: Actor, query: str, **more: str) -> list[dict[str, Any]]:
    answer = who.get("/api/v1/conversations", query_params={"search": query, **more})
    assert answer.status_code == 200, answer.content
    rows: list[dict[str, Any]] = answer.json()["results"]
    return rows


def marked(row: dict[str, Any]) -> list[str]:
    return [piece["text"] for piece in row["hit"]["snippet"] if piece["marked"]]


def test_words_of_messages_are_found_with_the_text_around_them(alice: Actor) -> None:
    said(alice, "Nothing of it here", title="Other")
    chat = said(alice, "x " * 200 + "The invoice number, please: <b>INVOICE</b> 4711 " + "y " * 200)
    (row,) = found(alice, "invoice 4711")
    assert row["id"] == str(chat.pk)
    assert row["hit"]["message_id"] == str(Message.objects.get(conversation=chat).pk)
    assert marked(row) == ["invoice", "INVOICE", "4711"]
    text = "".join(piece["text"] for piece in row["hit"]["snippet"])
    assert "<b>INVOICE</b>" in text, "it is text, which the page escapes"
    assert text.startswith("…") and text.endswith("…") and len(text) < 250


def test_the_title_is_found_by_any_part_and_shows_no_snippet(alice: Actor) -> None:
    said(alice, "Hello", title="100% Rechnungen_2026")
    for query in ("echnung", "100%", "n_2"):
        (row,) = found(alice, query)
        assert row["hit"] is None
    assert found(alice, "1%0") == [] and found(alice, "n%2") == [] and found(alice, "n_6") == []


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("müller", True), ("MÜLLER", True), ("muller", True), ("straße", True), ("größe", True),
        ("müller straße", True), ("straße müller", True), ("müller nirgends", False),
        ('"müller"', True), ('"', False), ("%", False), ("_", False), ("' OR 1=1 --", False), ("müller*", True),
        ("anna@example.com", True), ("3.14", True), ("content : müller", False), ("NEAR(müller straße)", False),
        ("üller", False), ("-müller", True), ("\\", False), ("日本語", True),
    ],
)  # fmt: skip
def test_a_query_is_words_whatever_signs_it_has(alice: Actor, query: str, is_found: bool) -> None:
    said(alice, "Frau Müller, Straße 5 (größe: 3.14), anna@example.com, foo_bar 日本語")
    assert bool(found(alice, query)) == is_found


def test_only_what_one_may_see_is_found(alice: Actor, bob: Actor, charlie: Actor) -> None:
    secret = said(alice, "The password is swordfish")
    assert found(bob, "swordfish") == [] == found(bob, "swordfish", shared="true")
    share(secret, email=bob.user.email, access=Access.READ)
    assert found(bob, "swordfish") == []
    (row,) = found(bob, "swordfish", shared="true")
    assert (row["id"], marked(row)) == (str(secret.pk), ["swordfish"])
    assert found(charlie, "swordfish", shared="true") == []
    said(alice, "swordfish too")
    assert len(found(alice, "swordfish")) == 2
    assert len(found(bob, "swordfish", shared="true")) == 1


def test_every_branch_is_found_and_the_newest_hit_is_named(alice: Actor) -> None:
    chat = said(alice, "zebra first", "another", "zebra last")
    branch = Message(conversation=chat, role="assistant", content="okapi", parent_id=chat.pk, owner_id=alice.user.pk)
    insert([branch])
    (row,) = found(alice, "zebra")
    assert marked(row) == ["zebra"] and "last" in str(row["hit"]["snippet"])
    assert found(alice, "okapi")[0]["hit"]["message_id"] == str(branch.pk)


def test_what_is_deleted_is_not_found(alice: Actor) -> None:
    chat, old, other = (said(alice, "walrus one", f"walrus {number}") for number in range(3))
    assert alice.delete(f"/api/v1/conversations/{chat.pk}").status_code == 204
    assert {row["id"] for row in found(alice, "walrus")} == {str(old.pk), str(other.pk)}
    Message.objects.filter(conversation=other, content="walrus 2").update(content="seal")
    retention.delete(Conversation.objects.filter(pk=old.pk).order_by("updated_at"))
    (row,) = found(alice, "walrus")
    assert "one" in str(row["hit"]["snippet"])
    assert found(alice, "seal") != []
    retention.erase(alice.user)
    assert list(search.of(alice.user.pk, "walrus").hits) == []


def test_messages_of_before_the_index_are_put_into_it(alice: Actor, bob: Actor) -> None:
    said(alice, "ancient scroll", "ancient map", owner_id=None)
    said(bob, "ancient ruin", owner_id=None)
    assert found(alice, "ancient") == []
    assert search.index_waiting() == 3
    assert search.index_waiting() == 0
    assert len(found(alice, "ancient map")) == 1
    assert found(alice, "ruin") == []


@pytest.mark.django_db(transaction=True)
def test_a_chat_is_found_at_once(http: Any, alice: Actor) -> None:
    body = {"message": "How do penguins sleep?"}
    http.post("/api/v1/chat", json=body, headers=alice.headers).raise_for_status()
    (row,) = http.get("/api/v1/conversations?search=penguins", headers=alice.headers).json()["results"]
    assert marked(row) == ["penguins"]


def test_a_long_message_of_many_words_can_be_stored(alice: Actor) -> None:
    text = " ".join(chr(0x4E00 + number % 20_000) + str(number) for number in range(40_000)) + "\ufdfa" * 60_000
    said(alice, text + " end")
    assert len(found(alice, "一0")) == 1
