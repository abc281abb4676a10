"""Teams over HTTP. Alice owns one; Bob is taken into it; Charlie is a stranger."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from accounts import teams
from accounts.models import AccessToken, Membership
from accounts.services import create_api_key
from aichat.core.errors import NotFound
from tests.conftest import Actor, in_team


@pytest.fixture
def team(alice: Actor) -> str:
    made = alice.post("/api/v1/organizations", {"name": "Wonderland"})
    assert (made.status_code, made.json()["role"], made.json()["personal"]) == (201, "OWNER", False)
    return f"/api/v1/organizations/{made.json()['id']}"


@pytest.fixture
def alice(actor: Callable[..., Actor]) -> Actor:
    """With her login token: an API key belongs to one organization."""
    return actor("alice").with_login()


def ask(by: Actor, team: str, who: Actor, role: str = "MEMBER") -> Any:
    return by.post(f"{team}/members", {"email": who.user.email, "role": role})


def invitations(who: Actor) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = who.client.get("/api/v1/invitations", headers=bearer(who)).json()["results"]
    return found


def bearer(who: Actor) -> dict[str, str]:
    return {"Authorization": f"Bearer {who.token}"}


def add(by: Actor, team: str, who: Actor, role: str = "MEMBER") -> Any:
    """Ask somebody, and have them accept."""
    asked = ask(by, team, who, role)
    if asked.status_code != 202:
        return asked
    return who.post("/api/v1/invitations/accept", {"id": asked.json()["id"]}, headers=bearer(who))


def test_nobody_is_a_member_before_they_accept(alice: Actor, bob: Actor, charlie: Actor, team: str) -> None:
    asked = ask(alice, team, bob, "ADMIN")
    assert (asked.status_code, asked.json()["email"], asked.json()["role"]) == (202, "bob@example.com", "ADMIN")
    bob.with_login()
    assert bob.get(team).status_code == 404
    (mine,) = invitations(bob)
    assert (mine["name"], mine["role"], mine["invited_by"]) == ("Wonderland", "ADMIN", "alice@example.com")
    body = {"id": mine["id"]}
    assert charlie.with_login().post("/api/v1/invitations/accept", body).status_code == 404
    assert charlie.delete(f"/api/v1/invitations/{mine['id']}").status_code == 404
    assert bob.post("/api/v1/invitations/accept", body).json()["role"] == "ADMIN"
    assert bob.get(team).status_code == 200
    assert bob.post("/api/v1/invitations/accept", body).status_code == 404
    assert bob.post("/api/v1/invitations/accept", {}).status_code == 400


def test_without_a_mail_server_people_are_asked_in_their_list(
    alice: Actor, bob: Actor, team: str, settings: Any
) -> None:
    settings.EMAIL_URL = ""
    ask(alice, team, bob)
    (mine,) = invitations(bob)
    assert bob.with_login().delete(f"/api/v1/invitations/{mine['id']}").status_code == 204
    assert invitations(bob) == []
    assert bob.get(team).status_code == 404


def test_what_an_inviter_may_no_more_is_not_accepted(alice: Actor, bob: Actor, charlie: Actor, team: str) -> None:
    add(alice, team, bob, "ADMIN")
    ask(bob.with_login(), team, charlie, "ADMIN")
    assert alice.patch(f"{team}/members/{bob.user.pk}", {"role": "MEMBER"}).status_code == 200
    body = {"id": invitations(charlie)[0]["id"]}
    assert charlie.with_login().post("/api/v1/invitations/accept", body).status_code == 400
    assert charlie.get(team).status_code == 404


def test_a_member_sees_the_team_and_its_members(alice: Actor, bob: Actor, team: str) -> None:
    assert add(alice, team, bob).status_code == 200
    bob.with_login()
    assert bob.get(team).json()["role"] == "MEMBER"
    members = bob.get(f"{team}/members").json()["results"]
    assert {(member["email"], member["role"]) for member in members} == {
        ("alice@example.com", "OWNER"),
        ("bob@example.com", "MEMBER"),
    }
    assert {row["name"] for row in bob.get("/api/v1/organizations").json()["results"]} == {"Bob", "Wonderland"}


def test_a_team_has_a_wallet_of_its_own_without_starter_credits(alice: Actor, team: str) -> None:
    mine, teams_ = alice.get("/api/v1/credits").json(), alice.get("/api/v1/credits", headers=in_team(team)).json()
    assert (mine["balance"], teams_["balance"]) == ("100", "0")


def test_a_key_made_for_a_team_belongs_to_it(alice: Actor, team: str) -> None:
    made = alice.post("/api/v1/api-keys", {"name": "ci"}, headers=in_team(team)).json()
    key = {"Authorization": f"Bearer {made['key']}"}
    assert alice.get("/api/v1/me", headers=key).json()["organization"]["name"] == "Wonderland"
    assert [row["name"] for row in alice.get("/api/v1/organizations", headers=key).json()["results"]] == ["Wonderland"]
    assert alice.get("/api/v1/me", headers={**key, "X-Organization": str(alice.organization.pk)}).status_code == 404


def test_a_removed_members_keys_end_at_once(alice: Actor, bob: Actor, team: str) -> None:
    add(alice, team, bob)
    bob.with_login()
    made = bob.post("/api/v1/api-keys", {"name": "ci"}, headers=in_team(team)).json()
    key = {"Authorization": f"Bearer {made['key']}"}
    assert bob.get("/api/v1/me", headers=key).status_code == 200
    assert alice.delete(f"{team}/members/{bob.user.pk}").status_code == 204
    assert bob.get("/api/v1/me", headers=key).status_code == 401
    assert bob.get("/api/v1/me", headers=in_team(team)).status_code == 404
    assert bob.get("/api/v1/me", headers=bob.headers).status_code == 200  # his own key lives


def test_a_key_made_while_its_owner_is_removed_does_not_survive(
    transactional_db: None, alice: Actor, bob: Actor, team: str
) -> None:
    add(alice, team, bob)
    organization = Membership.objects.get(user=alice.user, organization__personal_to=None).organization
    owner = Membership.objects.get(user=alice.user, organization=organization)

    def make() -> None:
        try:
            create_api_key(user=bob.user, organization=organization, name="race")
        except NotFound:
            pass
        finally:
            connections.close_all()

    def remove() -> None:
        try:
            teams.remove_member(owner, bob.user.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(job) for job in (make, make, remove, make, make)]
    assert [job.exception() for job in work] == [None] * 5
    assert not AccessToken.objects.filter(user=bob.user, organization=organization, revoked_at=None).exists()


@pytest.mark.parametrize("role, statuses", [("MEMBER", [403, 403, 403, 403]), ("ADMIN", [202, 200, 204, 200])])
def test_members_look_and_admins_manage(
    actor: Callable[..., Actor], alice: Actor, bob: Actor, charlie: Actor, team: str, role: str, statuses: list[int]
) -> None:
    dora = actor("dora")
    add(alice, team, bob, role)
    add(alice, team, dora)
    bob.with_login()
    assert [
        ask(bob, team, charlie).status_code,
        bob.patch(f"{team}/members/{dora.user.pk}", {"role": "ADMIN"}).status_code,
        bob.delete(f"{team}/members/{dora.user.pk}").status_code,
        bob.patch(team, {"name": "Looking Glass"}).status_code,
    ] == statuses


def test_an_admin_has_no_power_over_owners(alice: Actor, bob: Actor, charlie: Actor, team: str) -> None:
    add(alice, team, bob, "ADMIN")
    bob.with_login()
    assert ask(bob, team, charlie, "OWNER").status_code == 403
    assert bob.patch(f"{team}/members/{bob.user.pk}", {"role": "OWNER"}).status_code == 403
    assert bob.patch(f"{team}/members/{alice.user.pk}", {"role": "MEMBER"}).status_code == 403
    assert bob.delete(f"{team}/members/{alice.user.pk}").status_code == 403


def test_a_member_may_leave(alice: Actor, bob: Actor, team: str) -> None:
    add(alice, team, bob)
    bob.with_login()
    assert bob.delete(f"{team}/members/{bob.user.pk}").status_code == 204
    assert bob.get(team).status_code == 404


def test_the_last_owner_neither_leaves_nor_steps_down(alice: Actor, bob: Actor, team: str) -> None:
    me = f"{team}/members/{alice.user.pk}"
    assert alice.delete(me).status_code == 400
    assert alice.patch(me, {"role": "MEMBER"}).status_code == 400
    add(alice, team, bob, "OWNER")
    assert alice.delete(me).status_code == 204


def test_an_owner_hands_the_team_over(alice: Actor, bob: Actor, team: str) -> None:
    add(alice, team, bob)
    assert alice.patch(f"{team}/members/{bob.user.pk}", {"role": "OWNER"}).json()["role"] == "OWNER"
    assert alice.patch(f"{team}/members/{alice.user.pk}", {"role": "MEMBER"}).json()["role"] == "MEMBER"
    assert alice.patch(f"{team}/members/{alice.user.pk}", {"role": "OWNER"}).status_code == 403
    assert bob.with_login().patch(team, {"name": "Looking Glass"}).status_code == 200


def test_of_owners_leaving_at_the_same_moment_one_stays(
    transactional_db: None, actor: Callable[..., Actor], alice: Actor, team: str
) -> None:
    for name in ("dora", "emil", "finn"):
        add(alice, team, actor(name), "OWNER")
    owners = list(Membership.objects.select_related("organization").filter(organization_id=team.rpartition("/")[2]))

    def leave(owner: Membership) -> None:
        try:
            teams.remove_member(owner, owner.user_id)
        except teams.LastOwner:
            pass
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(leave, owners))
    assert Membership.objects.filter(organization=owners[0].organization, role="OWNER").count() == 1


def test_a_personal_organization_gets_no_members(alice: Actor, bob: Actor) -> None:
    own = f"/api/v1/organizations/{alice.organization.pk}"
    assert add(alice, own, bob).status_code == 400
    assert alice.delete(f"{own}/members/{alice.user.pk}").status_code == 400


@pytest.mark.parametrize(
    "body, param",
    [
        ({"email": "nobody@example.com"}, "email"),
        ({"email": "not an address"}, "email"),
        ({"email": "alice@example.com"}, "email"),
        ({"email": "bob@example.com", "role": "KING"}, "role"),
        ({}, "email"),
    ],
)
def test_only_a_known_person_with_a_known_role_is_asked(
    alice: Actor, bob: Actor, team: str, body: dict[str, str], param: str
) -> None:
    response = alice.post(f"{team}/members", body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_guessing_addresses_is_limited(alice: Actor, team: str, settings: Any) -> None:
    settings.RATE_LIMIT_AUTH = "2/min"
    guesses = [alice.post(f"{team}/members", {"email": f"{n}@example.com"}).status_code for n in range(3)]
    assert guesses == [400, 400, 429]
