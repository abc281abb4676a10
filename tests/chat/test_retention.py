"""Old conversations are deleted by RETENTION_DAYS, or by the days of their organization."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from guardian.models import UserObjectPermission

from accounts.models import Organization
from aichat.chat import retention, sharing
from aichat.chat.models import Conversation, Feedback, Message
from credits.models import LedgerEntry
from tests.conftest import Actor


def talk(who: Actor, days: float) -> Conversation:
    """A conversation whose last message is `days` days old, with a rating."""
    then = timezone.now() - timedelta(days=days)
    row = Conversation.objects.create(organization=who.organization, user=who.user, title=f"{days}", updated_at=then)
    answer = Message.objects.create(conversation=row, role="assistant", content="x")
    Feedback.objects.create(message=answer, organization=who.organization, user=who.user, rating=1)
    return row


def purge() -> str:
    output = StringIO()
    call_command("purge_conversations", stdout=output)
    return output.getvalue()


def titles() -> set[str]:
    return set(Conversation.objects.values_list("title", flat=True))


def test_by_default_all_are_kept(alice: Actor) -> None:
    talk(alice, 10_000)
    assert "Deleted conversations: 0." in purge()


def test_old_ones_go_with_their_messages_ratings_and_shares(alice: Actor, bob: Actor, settings: Any) -> None:
    settings.RETENTION_DAYS = 30
    old, _ = talk(alice, 31), talk(alice, 29)
    sharing.share(old, email="bob@example.com", access=sharing.Access.READ)
    entries = [alice.wallet.available, LedgerEntry.objects.count()]
    assert "Deleted conversations: 1." in purge()
    assert (titles(), Message.objects.count(), Feedback.objects.count()) == ({"29"}, 1, 1)
    assert not UserObjectPermission.objects.exists()
    assert [alice.wallet.available, LedgerEntry.objects.count()] == entries
    assert "Deleted conversations: 0." in purge()


@pytest.mark.parametrize(
    ("everybodys", "own", "kept"),
    [(30, None, {"a20", "b20"}), (30, 0, {"a20", "a90", "b20"}), (30, 10, {"b20"}), (0, 10, {"b20", "b90"})],
)
def test_an_organizations_own_days_go_first(
    everybodys: int, own: int | None, kept: set[str], alice: Actor, bob: Actor, settings: Any
) -> None:
    settings.RETENTION_DAYS = everybodys
    Organization.objects.filter(pk=alice.organization.pk).update(retention_days=own)
    for who, name in ((alice, "a"), (bob, "b")):
        for days in (20, 90):
            Conversation.objects.filter(pk=talk(who, days).pk).update(title=f"{name}{days}")
    purge()
    assert titles() == kept


def test_they_go_in_batches(alice: Actor, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RETENTION_DAYS = 1
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    for _ in range(5):
        talk(alice, 3)
    assert "Deleted conversations: 5." in purge()


def test_a_host_whose_clock_is_ahead_deletes_none_early(
    alice: Actor, settings: Any, host_goes_ahead: Callable[[], None]
) -> None:
    settings.RETENTION_DAYS = 30
    talk(alice, 29)
    host_goes_ahead()
    assert "Deleted conversations: 0." in purge()


def test_one_that_is_gone_on_with_meanwhile_stays(alice: Actor, settings: Any) -> None:
    settings.RETENTION_DAYS = 1
    row = talk(alice, 3)
    old = retention._unused_for(1, Conversation.objects.all())
    keys = list(old.values_list("pk", flat=True))
    Conversation.objects.filter(pk=row.pk).update(updated_at=timezone.now())
    assert retention._delete(old, keys) == 0
    assert Message.objects.count() == 1
