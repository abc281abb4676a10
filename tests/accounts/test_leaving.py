"""Leaving for good: asked for, taken back by a login, and erased after the days of grace."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core import mail as django_mail
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts import leaving, personal_data
from accounts.models import AccessToken, Membership, Role, User
from aichat.analytics.models import Event
from aichat.chat import sharing
from aichat.chat.models import Conversation, Feedback, Message
from aichat.core.admin import audit_log
from aichat.core.database.models import uuid7
from aichat.core.outbound import mail
from aichat.images.models import ImageJob
from aichat.payments.models import Subscription
from aichat.usage.models import UsageRecord
from credits import verify as ledger
from credits.models import LedgerEntry
from tests.conftest import PASSWORD, Actor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice(actor: Callable[..., Actor]) -> Actor:
    return actor("alice").with_login()


def leave(who: Actor, password: str = PASSWORD) -> Any:
    return who.client.delete("/api/v1/me", {"password": password}, content_type="application/json")


def login(email: str = "alice@example.com") -> int:
    body = {"email": email, "password": PASSWORD}
    return int(Client().post("/api/v1/auth/login", body, content_type="application/json").status_code)


def days_pass(days: float = 8) -> None:
    for user in User.objects.exclude(deletion_requested_at=None):
        assert user.deletion_requested_at
        before = user.deletion_requested_at - timedelta(days=days)
        User.objects.filter(pk=user.pk).update(deletion_requested_at=before)


def erase() -> str:
    output = StringIO()
    call_command("erase_accounts", stdout=output)
    return output.getvalue()


def things_of(who: Actor, text: str) -> Conversation:
    talk = Conversation.objects.create(organization=who.organization, user=who.user, title=text)
    message = Message.objects.create(conversation=talk, role="assistant", content=text)
    Feedback.objects.create(message=message, organization=who.organization, user=who.user, rating=1, comment=text)
    for status in (ImageJob.Status.SUCCEEDED, ImageJob.Status.FAILED):
        ImageJob.objects.create(
            organization=who.organization, user=who.user, prompt=text, requested_model="demo", status=status,
            hold_id=uuid7(), hold_amount=0,
        )  # fmt: skip
    Event.objects.create(name="signed_up", user_id=who.user.pk, created_at=timezone.now())
    return talk


def test_it_wants_the_password_and_ends_all_logins(alice: Actor, settings: Any) -> None:
    wrong = leave(alice, "wrong")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "password")
    answer = leave(alice)
    assert answer.status_code == 202 and answer.json()["deletion_at"] > timezone.now().isoformat()
    assert alice.get("/api/v1/me").status_code == 401
    mail.wait_until_sent()
    assert [message.subject for message in django_mail.outbox] == ["Your account will be deleted"]


def test_a_login_within_the_grace_takes_it_back(alice: Actor) -> None:
    leave(alice)
    days_pass(6.9)
    assert "Erased accounts: 0." in erase()
    assert login() == 200
    days_pass()
    assert "Erased accounts: 0." in erase()
    assert login() == 200


def test_a_host_whose_clock_is_ahead_erases_nobody_early(alice: Actor, host_goes_ahead: Callable[[], None]) -> None:
    leave(alice)
    host_goes_ahead()
    assert "Erased accounts: 0." in erase()


def test_a_login_to_the_admin_site_takes_it_back_too(ada: Actor, actor: Callable[..., Actor]) -> None:
    actor("root", Role.ADMIN)
    leave(ada.with_login())
    Client().post("/admin/login/", {"username": "ada@example.com", "password": PASSWORD})
    days_pass()
    assert "Erased accounts: 0." in erase()


def test_after_the_grace_nothing_personal_is_left_and_the_ledger_stays(
    alice: Actor, bob: Actor, usage_record: Callable[..., UsageRecord]
) -> None:
    talk, bobs = things_of(alice, "secret of alice"), things_of(bob, "secret of bob")
    sharing.share(talk, email="bob@example.com", access=sharing.Access.READ)
    sharing.share(bobs, email="alice@example.com", access=sharing.Access.READ)
    usage_record(alice, charged=0)
    balance, entries = alice.wallet.available, LedgerEntry.objects.count()
    assert alice.post("/api/v1/api-keys", {"name": "alices laptop"}).status_code == 201
    audit_log.record(bob.user, alice.user, audit_log.CHANGED, {"name": ("Alice", "Alicia")})
    leave(alice)
    days_pass()
    assert "Erased accounts: 1." in erase()
    assert login() == 401
    assert alice.get("/api/v1/me", headers={"Authorization": f"Bearer {alice.key}"}).status_code == 401
    alice.user.refresh_from_db()
    assert (alice.user.name, alice.user.email) == ("", f"{alice.user.pk.hex}@deleted.invalid")
    kept = {
        label: rows.count()
        for label in personal_data.EXPORTED
        if (rows := personal_data.rows_of(label, alice.user)).exists()
    }
    stays = {"accounts.User", "accounts.Organization", "accounts.Membership", "accounts.AccessToken",
             "usage.UsageRecord", "credits.Wallet", "credits.LedgerEntry"}  # fmt: skip
    assert set(kept) == stays
    everything = str([list(personal_data.rows_of(label, alice.user).values()) for label in stays])
    assert "alice" not in everything.lower() and "Alicia" not in str(LogEntry.objects.values())
    assert LogEntry.objects.count() == 3 and "laptop" not in str(LogEntry.objects.values())
    assert (alice.wallet.available, LedgerEntry.objects.count()) == (balance, entries)
    assert list(ledger.problems()) == []
    assert Message.objects.get().content == "secret of bob" and ImageJob.objects.count() == 2


def test_erasing_goes_on_after_its_process_died(alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    things_of(alice, "secret")
    leave(alice)
    days_pass()
    with monkeypatch.context() as patch:
        patch.setattr(leaving, "_erasers", [lambda user: 1 / 0])
        erase()
    assert Message.objects.count() == 1
    erase()
    assert Message.objects.count() == 0
    alice.user.refresh_from_db()
    assert alice.user.erased_at is not None
    assert "Erased accounts: 0." in erase()


def test_the_address_is_free_again(alice: Actor) -> None:
    leave(alice)
    days_pass()
    erase()
    body = {"email": "alice@example.com", "password": PASSWORD}
    assert Client().post("/api/v1/auth/register", body, content_type="application/json").status_code == 201


class TestTeams:
    @pytest.fixture
    def team(self, alice: Actor) -> str:
        return str(alice.post("/api/v1/organizations", {"name": "Wonderland"}).json()["id"])

    def add(self, team: str, who: Actor, role: str) -> None:
        Membership.objects.create(organization_id=team, user=who.user, role=role)

    def test_the_only_owner_of_a_team_with_members_hands_it_over_first(
        self, alice: Actor, bob: Actor, team: str
    ) -> None:
        self.add(team, bob, "ADMIN")
        refused = leave(alice)
        assert refused.status_code == 400 and "Wonderland" in refused.json()["error"]["message"]
        assert alice.get("/api/v1/me").status_code == 200
        Membership.objects.filter(user=bob.user, organization_id=team).update(role="OWNER")
        assert leave(alice).status_code == 202

    def test_who_is_alone_in_a_team_may_go(self, alice: Actor, team: str) -> None:
        assert leave(alice).status_code == 202
        days_pass()
        erase()
        assert not Membership.objects.filter(organization_id=team).exists()

    def test_an_owner_who_is_deactivated_does_not_count(
        self, alice: Actor, bob: Actor, charlie: Actor, team: str
    ) -> None:
        self.add(team, bob, "OWNER")
        self.add(team, charlie, "MEMBER")
        User.objects.filter(pk=bob.user.pk).update(is_active=False)
        assert leave(alice).status_code == 400

    def test_of_two_owners_who_go_the_team_is_left_to_who_stays(
        self, alice: Actor, bob: Actor, charlie: Actor, team: str
    ) -> None:
        self.add(team, bob, "OWNER")
        self.add(team, charlie, "MEMBER")
        assert [leave(alice).status_code, leave(bob.with_login()).status_code] == [202, 202]
        days_pass()
        erase()
        left = Membership.objects.filter(organization_id=team)
        assert list(left.values_list("user_id", "role")) == [(charlie.user.pk, "OWNER")]


def test_the_last_administrator_stays(ada: Actor, actor: Callable[..., Actor]) -> None:
    refused = leave(ada.with_login())
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, None)
    root = actor("root", Role.ADMIN)
    assert leave(ada).status_code == 202
    User.objects.filter(pk=root.user.pk).update(is_active=False)
    days_pass()
    assert "Erased accounts: 0." in erase()
    ada.user.refresh_from_db()
    assert ada.user.is_active


def subscribe(who: Actor, source: str) -> Subscription:
    return Subscription.objects.create(
        organization=who.organization, source=source, external_id="s1", period_start=timezone.now()
    )


def test_a_subscription_that_is_sold_is_cancelled_first(alice: Actor) -> None:
    row = subscribe(alice, "shop")
    refused = leave(alice)
    assert refused.status_code == 400 and "cancel it first" in refused.json()["error"]["message"]
    Subscription.objects.filter(pk=row.pk).update(cancel_at_period_end=True)
    assert leave(alice).status_code == 202


def test_a_subscription_that_was_given_ends_with_the_person(alice: Actor) -> None:
    row = subscribe(alice, "manual")
    assert leave(alice).status_code == 202
    days_pass()
    assert "Erased accounts: 1." in erase()
    row.refresh_from_db()
    assert (row.is_live, row.status) == (False, "cancelled")


def test_who_has_no_password_leaves_with_a_login_and_not_with_a_key(alice: Actor) -> None:
    User.objects.filter(pk=alice.user.pk).update(password="!")
    key = {"Authorization": f"Bearer {alice.key}"}
    refused = alice.client.delete("/api/v1/me", {}, content_type="application/json", headers=key)
    assert refused.status_code == 403
    assert alice.client.delete("/api/v1/me", {}, content_type="application/json").status_code == 202


def test_asked_twice_it_is_the_same_day(alice: Actor) -> None:
    first = leave(alice).json()["deletion_at"]
    key = {"Authorization": f"Bearer {alice.key}"}
    again = alice.client.delete("/api/v1/me", {"password": PASSWORD}, content_type="application/json", headers=key)
    assert again.json()["deletion_at"] == first
    assert AccessToken.objects.filter(user=alice.user, kind="LOGIN", revoked_at=None).count() == 0
