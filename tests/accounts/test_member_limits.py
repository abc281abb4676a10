"""What members spend of a team's credits: the owner sees it and limits it. Alice owns, Bob and Dora belong."""

from collections.abc import Callable
from typing import Any

import pytest

from accounts import caller_cache
from accounts.models import Membership, Organization
from aichat.core.money import CREDIT
from credits.services import Credit, Kind, apply
from tests.conftest import Actor, in_team, join

CHAT = "/v1/chat/completions"


@pytest.fixture
def team(actor: Callable[..., Actor], alice: Actor, bob: Actor) -> str:
    """The address of Alice's team, in which Bob is a member and Dora an admin, with ten credits."""
    alice.with_login()
    path = f"/api/v1/organizations/{alice.post('/api/v1/organizations', {'name': 'Wonderland'}).json()['id']}"
    dora = actor("dora")
    for who, role in ((bob, "MEMBER"), (dora, "ADMIN")):
        join(Organization.objects.get(name="Wonderland"), who, role)
    organization = Organization.objects.get(name="Wonderland")
    grant = Credit(wallet_id=organization.pk, amount=10 * CREDIT, reference="team", kind=Kind.GRANT)
    apply([grant])[0].or_raise()
    return path


def ask(who: Actor, team: str, question: str) -> Any:
    body = {"model": "demo", "messages": [{"role": "user", "content": question}]}
    return who.with_login().post(CHAT, body, headers=in_team(team))


def members(who: Actor, team: str) -> dict[str, dict[str, Any]]:
    rows = who.with_login().get(f"{team}/members").json()["results"]
    return {row["email"].partition("@")[0]: row for row in rows}


def limit(by: Actor, team: str, who: Actor, **body: Any) -> Any:
    return by.with_login().patch(f"{team}/members/{who.user.pk}", body)


def test_an_owner_sees_what_each_member_spent_this_month(
    alice: Actor, bob: Actor, team: str, catalog: None, inline_database: None
) -> None:
    assert ask(bob, team, "one").status_code == ask(bob, team, "two").status_code == 200
    found = members(alice, team)
    assert {name: row["spent_month"] for name, row in found.items()} == {"alice": "0", "bob": "2", "dora": "0"}
    assert found["bob"]["spend_limit_month"] is None


def test_a_member_sees_only_their_own_spending(alice: Actor, bob: Actor, team: str) -> None:
    found = members(bob, team)
    assert "spent_month" in found["bob"] and "spent_month" not in found["alice"]
    assert "spend_limit_day" not in found["alice"]


@pytest.mark.parametrize("period", ["day", "month"])
def test_a_members_limit_refuses_what_is_over_it_and_no_one_elses(
    alice: Actor, bob: Actor, team: str, catalog: None, inline_database: None, period: str
) -> None:
    changed = limit(alice, team, bob, **{f"spend_limit_{period}": "1"})
    assert (changed.status_code, changed.json()[f"spend_limit_{period}"]) == (200, "1")
    assert ask(bob, team, "one").status_code == 200
    refused = ask(bob, team, "two")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota_exceeded")
    assert refused.json()["error"]["limit"].startswith("this member of the team")
    assert ask(alice, team, "three").status_code == 200
    assert limit(alice, team, bob, **{f"spend_limit_{period}": None}).status_code == 200
    assert ask(bob, team, "four").status_code == 200


def test_a_members_limit_holds_for_their_keys(
    alice: Actor, bob: Actor, team: str, catalog: None, inline_database: None
) -> None:
    limit(alice, team, bob, spend_limit_day="0")
    bob.with_login()
    key = bob.post("/api/v1/api-keys", {"name": "team"}, headers=in_team(team)).json()["key"]
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
    refused = bob.post(CHAT, body, headers={"Authorization": f"Bearer {key}"})
    assert refused.json()["error"]["code"] == "quota_exceeded"


def test_nobody_lifts_a_limit_that_was_set_for_them(
    alice: Actor, bob: Actor, team: str, actor: Callable[..., Actor]
) -> None:
    dora = Membership.objects.get(user__email="dora@example.com", role="ADMIN")
    assert limit(bob, team, bob, spend_limit_day=None).status_code == 403
    admin = Actor(dora.user)
    assert limit(admin, team, admin, spend_limit_day=None).status_code == 403
    assert limit(admin, team, alice, spend_limit_day="1").status_code == 403
    assert limit(admin, team, bob, spend_limit_day="1").status_code == 200
    assert limit(alice, team, admin, spend_limit_day="1").status_code == 200


def test_a_strangers_team_does_not_exist(charlie: Actor, bob: Actor, team: str) -> None:
    assert limit(charlie, team, bob, spend_limit_day="1").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_role_and_limit_are_changed_together_or_not_at_all(alice: Actor, bob: Actor, team: str) -> None:
    both = limit(alice, team, bob, role="ADMIN", spend_limit_month="3").json()
    assert (both["role"], both["spend_limit_month"]) == ("ADMIN", "3")
    assert limit(alice, team, alice, role="MEMBER", spend_limit_month="3").status_code == 400  # the last owner
    assert members(alice, team)["alice"]["spend_limit_month"] is None


@pytest.mark.parametrize("body", [{}, {"spend_limit_day": "-1"}, {"spend_limit_month": "much"}, {"spent_month": "0"}])
def test_a_wrong_change_is_refused(alice: Actor, bob: Actor, team: str, body: dict[str, Any]) -> None:
    assert limit(alice, team, bob, **body).status_code == 400


def test_a_personal_organization_limits_no_member(alice: Actor) -> None:
    alice.with_login()
    path = f"/api/v1/organizations/{alice.organization.pk}/members/{alice.user.pk}"
    assert alice.patch(path, {"spend_limit_day": "1"}).status_code == 400


def test_a_changed_limit_outdates_cached_callers(alice: Actor, bob: Actor, team: str) -> None:
    before = caller_cache._changes
    limit(alice, team, bob, spend_limit_day="1")
    assert caller_cache._changes > before
