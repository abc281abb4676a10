"""Invitations into a team, by real mails. Alice owns the team, Bob is invited, Charlie is a stranger."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail as django_mail
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.models import Invitation, Membership, Role, User
from aichat.core.outbound import mail
from tests.conftest import PASSWORD, Actor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice(actor: Callable[..., Actor]) -> Actor:
    return actor("alice").with_login()


@pytest.fixture
def team(alice: Actor) -> str:
    return f"/api/v1/organizations/{alice.post('/api/v1/organizations', {'name': 'Wonderland'}).json()['id']}"


def invite(by: Actor, team: str, email: str = "bob@example.com", role: str = "MEMBER") -> Any:
    return by.post(f"{team}/invitations", {"email": email, "role": role})


def code() -> str:
    mail.wait_until_sent()
    found = re.search(r"Your code: (\S+)", str(django_mail.outbox[-1].body))
    assert found
    return found[1]


def accept(who: Actor, token: str) -> Any:
    return who.post("/api/v1/invitations/accept", {"token": token})


def register(email: str, invitation: str) -> Any:
    body = {"email": email, "password": PASSWORD, "invitation": invitation}
    return Client().post("/api/v1/auth/register", body, content_type="application/json")


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["param"]


def roles(team: str) -> dict[str, str]:
    rows = Membership.objects.filter(organization_id=team.rpartition("/")[2])
    return dict(rows.values_list("user__email", "role"))


def test_somebody_with_an_account_is_asked_and_joins_by_the_mailed_code(alice: Actor, bob: Actor, team: str) -> None:
    made = invite(alice, team, " Bob@Example.com".strip(), "ADMIN")
    assert made.status_code == 201
    assert {"id", "email", "role", "expires_at"} <= set(made.json())
    assert (made.json()["email"], made.json()["role"]) == ("bob@example.com", "ADMIN")
    token = code()
    assert django_mail.outbox[0].to == ["bob@example.com"] and "Wonderland" in django_mail.outbox[0].body
    assert "bob@example.com" not in roles(team)
    joined = accept(bob.with_login(), token)
    assert (joined.status_code, joined.json()["name"], joined.json()["role"]) == (200, "Wonderland", "ADMIN")
    assert roles(team)["bob@example.com"] == "ADMIN"


def test_the_code_is_stored_hashed_and_works_once(alice: Actor, bob: Actor, team: str) -> None:
    invite(alice, team)
    token = code()
    assert token not in str(Invitation.objects.values())
    assert accept(bob, token).status_code == 200
    assert refused(accept(bob, token)) == (400, "token")


def test_somebody_without_an_account_signs_up_with_it_and_is_confirmed(alice: Actor, team: str, settings: Any) -> None:
    settings.EMAIL_VERIFICATION = "required"
    invite(alice, team, "dora@example.com")
    made = register("dora@example.com", code())
    assert made.status_code == 201 and made.json()["user"]["email_confirmed"]
    assert roles(team)["dora@example.com"] == "MEMBER"
    dora = Client(headers={"Authorization": f"Bearer {made.json()['token']}"})
    assert dora.get("/api/v1/credits").json()["balance"] == "100"
    mail.wait_until_sent()
    assert len(django_mail.outbox) == 1  # nothing more to confirm


def test_a_wrong_code_at_sign_up_makes_no_account(alice: Actor, team: str) -> None:
    invite(alice, team, "dora@example.com")
    for email, token in (("dora@example.com", "wrong"), ("eve@example.com", code())):
        assert refused(register(email, token)) == (400, "invitation")
    assert set(User.objects.values_list("email", flat=True)) == {"alice@example.com"}


def test_closed_registration_opens_for_an_administrators_invitation_alone(
    alice: Actor, ada: Actor, team: str, settings: Any
) -> None:
    settings.REGISTRATION_OPEN = False
    invite(alice, team, "dora@example.com")
    assert register("dora@example.com", code()).status_code == 403
    adas = ada.with_login().post("/api/v1/organizations", {"name": "Staff"}).json()["id"]
    invite(ada, f"/api/v1/organizations/{adas}", "dora@example.com")
    assert register("dora@example.com", code()).status_code == 201


def test_another_person_cannot_use_the_code(alice: Actor, bob: Actor, charlie: Actor, team: str) -> None:
    invite(alice, team)
    token = code()
    assert refused(accept(charlie, token)) == (400, "token")
    assert accept(bob, token).status_code == 200


def test_it_ends_when_withdrawn_replaced_or_old(alice: Actor, bob: Actor, team: str) -> None:
    first = invite(alice, team).json()["id"]
    token = code()
    assert alice.delete(f"{team}/invitations/{first}").status_code == 204
    assert alice.delete(f"{team}/invitations/{first}").status_code == 404
    assert refused(accept(bob, token)) == (400, "token")
    invite(alice, team)
    replaced = code()
    invite(alice, team)
    assert refused(accept(bob, replaced)) == (400, "token")
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert refused(accept(bob, code())) == (400, "token")
    assert alice.get(f"{team}/invitations").json()["results"] == []


def test_owners_and_admins_see_and_send_them_for_roles_up_to_their_own(
    alice: Actor, bob: Actor, charlie: Actor, team: str
) -> None:
    place = Membership.objects.create(organization_id=team.rpartition("/")[2], user=bob.user, role="ADMIN")
    bob.with_login()
    assert invite(bob, team, "dora@example.com", "OWNER").status_code == 403
    assert invite(bob, team, "dora@example.com", "ADMIN").status_code == 201
    owners = invite(alice, team, "eve@example.com", "OWNER").json()["id"]
    assert bob.delete(f"{team}/invitations/{owners}").status_code == 403
    assert len(bob.get(f"{team}/invitations").json()["results"]) == 2
    Membership.objects.filter(pk=place.pk).update(role="MEMBER")
    assert bob.get(f"{team}/invitations").status_code == 403
    assert invite(bob, team, "finn@example.com").status_code == 403
    assert invite(charlie.with_login(), team, "finn@example.com").status_code == 404


@pytest.mark.parametrize("change", ["demoted", "removed", "deactivated"])
def test_it_ends_with_the_inviters_right_to_invite(
    change: str, alice: Actor, bob: Actor, charlie: Actor, team: str
) -> None:
    place = Membership.objects.create(organization_id=team.rpartition("/")[2], user=charlie.user, role="ADMIN")
    invite(charlie.with_login(), team)
    token = code()
    if change == "demoted":
        Membership.objects.filter(pk=place.pk).update(role="MEMBER")
    elif change == "removed":
        place.delete()
    else:
        User.objects.filter(pk=charlie.user.pk).update(is_active=False)
    assert refused(accept(bob, token)) == (400, "token")


def test_of_many_at_the_same_moment_one_joins(alice: Actor, bob: Actor, team: str) -> None:
    invite(alice, team)
    token = code()

    def go(_: int) -> int:
        try:
            return int(accept(bob, token).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(go, range(4))) == [200, 400, 400, 400]
    assert Membership.objects.filter(user=bob.user, organization_id=team.rpartition("/")[2]).count() == 1


def test_members_and_personal_organizations_are_refused(alice: Actor, team: str) -> None:
    assert refused(invite(alice, team, "alice@example.com")) == (400, "email")
    assert invite(alice, f"/api/v1/organizations/{alice.organization.pk}").status_code == 400


def test_it_needs_mail_and_is_limited(alice: Actor, team: str, settings: Any) -> None:
    settings.RATE_LIMIT_AUTH = "2/min"
    assert [invite(alice, team, f"u{n}@example.com").status_code for n in range(3)] == [201, 201, 429]
    settings.EMAIL_URL, settings.RATE_LIMIT_AUTH = "", "100/min"
    assert invite(alice, team).json()["error"]["code"] == "mail_unavailable"


def test_a_team_has_only_so_many_open(alice: Actor, team: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.invitations.MOST_OPEN", 1)
    assert [invite(alice, team, f"u{n}@example.com").status_code for n in (1, 1, 2)] == [201, 201, 400]


def test_a_limited_key_invites_nobody(alice: Actor, team: str) -> None:
    made = alice.post("/api/v1/api-keys", {"name": "x", "rate_limit": "5/min"}, headers={"X-Organization": team[-36:]})
    key = {"Authorization": f"Bearer {made.json()['key']}"}
    assert alice.post(f"{team}/invitations", {"email": "x@example.com"}, headers=key).status_code == 403
    assert alice.user.role == Role.USER
