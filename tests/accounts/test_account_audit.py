"""What people do to their account and their teams is in the audit log, until it is old or they are gone."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core import mail as django_mail
from django.test import Client
from django.utils import timezone

from accounts import leaving, mail_tokens
from accounts.models import Membership
from aichat.core.admin import audit_log
from aichat.core.outbound import mail
from tests.conftest import PASSWORD, Actor

NEW = "a completely different passphrase"
pytestmark = pytest.mark.django_db(transaction=True)


def listed(ada: Actor, **query: str) -> list[tuple[str, str, str]]:
    rows = ada.client.get("/api/v1/admin/audit", query).json()["results"]
    return [(row["actor"].partition("@")[0], row["action"], row["object_type"]) for row in reversed(rows)]


def post(path: str, body: dict[str, str]) -> int:
    return Client().post(path, body, content_type="application/json").status_code


def test_the_acts_of_an_account(alice: Actor, ada: Actor) -> None:
    alice.with_login()
    assert alice.post("/api/v1/auth/password", {"current_password": PASSWORD, "new_password": NEW}).status_code == 204
    alice.user.refresh_from_db()
    code = mail_tokens.make(mail_tokens.RESET, alice.user)
    assert post("/api/v1/auth/password/reset/confirm", {"token": code, "password": PASSWORD}) == 204
    alice.user.refresh_from_db()
    code = mail_tokens.make(mail_tokens.EMAIL, alice.user, "liddell@example.com")
    assert post("/api/v1/auth/email/verify", {"token": code}) == 204
    leaving.ask(alice.user)
    assert listed(ada, object_id=str(alice.user.pk)) == [
        ("liddell", "password_changed", "user"),
        ("liddell", "password_reset", "user"),
        ("liddell", "changed", "user"),
        ("liddell", "deletion_asked", "user"),
    ]
    written = str(list(LogEntry.objects.values_list("change_message", flat=True)))
    assert NEW not in written and code not in written


def test_the_acts_of_a_team(alice: Actor, bob: Actor, charlie: Actor, ada: Actor) -> None:
    alice.with_login()
    team = f"/api/v1/organizations/{alice.post('/api/v1/organizations', {'name': 'Wonderland'}).json()['id']}"
    invited = [alice.post(f"{team}/invitations", {"email": f"{name}@example.com"}) for name in ("bob", "charlie")]
    mail.wait_until_sent()
    found = re.search(r"Your code: (\S+)", str(django_mail.outbox[0].body))
    assert found
    assert bob.post("/api/v1/invitations/accept", {"token": found[1]}).status_code == 200
    assert alice.delete(f"{team}/invitations/{invited[1].json()['id']}").status_code == 204
    assert alice.patch(f"{team}/members/{bob.user.pk}", {"role": "ADMIN"}).status_code == 200
    assert alice.patch(f"{team}/members/{bob.user.pk}", {"role": "ADMIN"}).status_code == 200
    assert alice.delete(f"{team}/members/{bob.user.pk}").status_code == 204
    assert listed(ada) == [
        ("alice", "added", "invitation"),
        ("alice", "added", "invitation"),
        ("bob", "added", "membership"),
        ("alice", "deleted", "invitation"),
        ("alice", "changed", "membership"),
        ("alice", "deleted", "membership"),
    ]
    assert found[1] not in str(list(LogEntry.objects.values_list("change_message", flat=True)))


def test_of_somebody_who_is_erased_no_entry_says_the_address(alice: Actor, bob: Actor, settings: Any) -> None:
    settings.ACCOUNT_DELETION_GRACE_DAYS = 0
    alice.with_login()
    team = f"/api/v1/organizations/{alice.post('/api/v1/organizations', {'name': 'Wonderland'}).json()['id']}"
    assert alice.post(f"{team}/invitations", {"email": "bob@example.com"}).status_code == 201
    member = Membership.objects.create(
        user=bob.user, organization_id=team.rpartition("/")[2], role=Membership.Role.MEMBER
    )
    assert alice.patch(f"{team}/members/{bob.user.pk}", {"spend_limit_day": "5"}).status_code == 200
    assert str(member) == "bob@example.com in Wonderland"
    leaving.ask(bob.user)
    leaving.erase_due()
    kept = str(list(LogEntry.objects.values_list("object_repr", "change_message")))
    assert "bob@example.com" not in kept


def test_old_entries_go_and_the_others_stay(alice: Actor, settings: Any, host_goes_ahead: Callable[[], None]) -> None:
    for _ in range(6):
        audit_log.record(alice.user, alice.user, audit_log.CHANGED, {})
    LogEntry.objects.filter(pk__in=list(LogEntry.objects.values_list("pk", flat=True)[:5])).update(
        action_time=timezone.now() - timedelta(days=31)
    )
    assert audit_log.purge() == 0
    host_goes_ahead()  # the database's clock decides
    settings.AUDIT_RETENTION_DAYS = 30
    assert audit_log.purge() == 5
    assert LogEntry.objects.count() == 1


def test_an_administrator_mails_a_code_for_a_new_password(alice: Actor, ada: Actor, client: Client) -> None:
    client.force_login(ada.user)
    page = f"/admin/accounts/user/{alice.user.pk}/mail-reset/"
    assert "Mail a code for a new password?" in client.get(page).content.decode()
    assert client.post(page, {"_form_submitted": "True"}).status_code == 200
    mail.wait_until_sent()
    found = re.search(r"Your code: (\S+)", str(django_mail.outbox[0].body))
    assert found and django_mail.outbox[0].to == ["alice@example.com"]
    assert post("/api/v1/auth/password/reset/confirm", {"token": found[1], "password": NEW}) == 204
    assert listed(ada, action="reset_mailed") == [("ada", "reset_mailed", "user")]


def test_no_mail_goes_to_who_has_no_password(alice: Actor, ada: Actor, client: Client) -> None:
    client.force_login(ada.user)
    alice.user.set_unusable_password()
    alice.user.save()
    client.post(f"/admin/accounts/user/{alice.user.pk}/mail-reset/", {"_form_submitted": "True"})
    mail.wait_until_sent()
    assert django_mail.outbox == [] and listed(ada, action="reset_mailed") == []


def test_the_admin_site_limits_members_in_credits(alice: Actor, ada: Actor, client: Client) -> None:
    client.force_login(ada.user)
    team = alice.with_login().post("/api/v1/organizations", {"name": "Wonderland"}).json()["id"]
    member = Membership.objects.get(organization_id=team)
    form = {
        "name": "Wonderland", "memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "1",
        "memberships-0-id": str(member.pk), "memberships-0-organization": team,
        "memberships-0-user": str(alice.user.pk), "memberships-0-role": "OWNER",
        "memberships-0-spend_limit_day": "12.5",
    }  # fmt: skip
    answer = client.post(f"/admin/accounts/organization/{team}/change/", form)
    assert answer.status_code == 302, answer.content.decode()[:3000]
    member.refresh_from_db()
    assert (member.spend_limit_day, member.spend_limit_month) == (12_500_000, None)
    assert 'value="12.5"' in client.get(f"/admin/accounts/organization/{team}/change/").content.decode()
