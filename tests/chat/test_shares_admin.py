"""The admin's page of conversations that are shared."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from aichat.chat import sharing
from aichat.chat.models import Conversation, ConversationShare
from aichat.chat.sharing import Access
from aichat.core.admin import audit_log
from tests.admin_dashboard.conftest import console
from tests.conftest import Actor

__all__ = ["console"]
URL = "admin:chat_conversationshare_changelist"


@pytest.fixture
def conversation(alice: Actor, bob: Actor) -> Conversation:
    row = Conversation.objects.create(organization=alice.organization, user=alice.user, title="A secret")
    sharing.share(row, email=bob.user.email, access=Access.READ)
    return row


def act(console: Client, action: str) -> str:
    rows = [str(share.pk) for share in sharing.all_shares()]
    answer = console.post(reverse(URL), {"action": action, "_selected_action": rows}, follow=True)
    return str(answer.content.decode())


def last_values() -> Any:
    return audit_log.details(LogEntry.objects.order_by("-action_time")[0])["values"]


def test_the_list_says_who_shares_what_with_whom(console: Client, conversation: Conversation) -> None:
    page = console.get(reverse(URL)).content.decode()
    assert all(text in page for text in ("alice@example.com", "bob@example.com", str(conversation.pk), "read"))
    assert "A secret" not in page  # what people write is shown on the conversation's own page, to those who may
    share = sharing.all_shares().get()
    assert console.get(reverse("admin:chat_conversationshare_change", args=[share.pk])).status_code == 200
    for term, found in [("bob@", 1), ("charlie@", 0), (str(conversation.pk), 1), ("nonsense", 0)]:
        page = console.get(reverse(URL), {"q": term}).content.decode()
        assert page.count('name="_selected_action"') == found, term


def test_many_shares_take_few_queries(
    console: Client, conversation: Conversation, actor: Any, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        sharing.share(conversation, email=actor(f"reader{number}").user.email, access=Access.READ)
    console.get(reverse(URL))
    with django_assert_max_num_queries(12):
        assert console.get(reverse(URL)).content.decode().count('name="_selected_action"') == 13


def test_access_is_widened_narrowed_and_taken_back(console: Client, conversation: Conversation, bob: Actor) -> None:
    path = f"/api/v1/conversations/{conversation.pk}"
    assert "Changed shares: 1 of 1." in act(console, "let_write")
    assert [each["access"] for each in sharing.shares_of(conversation)] == ["write"]
    assert last_values() == {"shared with bob@example.com": ["read", "write"]}
    assert "0 of 1" in act(console, "let_write")
    act(console, "let_read")
    assert [each["access"] for each in sharing.shares_of(conversation)] == ["read"]
    assert bob.get(path).status_code == 200
    assert "so that the next request finds nothing: 1." in act(console, "take_back")
    assert bob.get(path).status_code == 404
    assert last_values() == {"shared with bob@example.com": ["read", None]}
    assert not ConversationShare.objects.exists()


def test_a_share_of_a_conversation_that_is_gone_can_be_taken_back(console: Client, conversation: Conversation) -> None:
    conversation.delete()
    assert console.get(reverse(URL)).status_code == 200
    act(console, "take_back")
    assert not sharing.all_shares().exists()
