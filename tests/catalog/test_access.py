"""Models for some: given to roles, organizations or persons by an administrator; open to all until then."""

from collections.abc import Callable
from typing import Any

import pytest

from accounts import teams
from accounts.authentication import Caller
from accounts.models import Role
from aichat.catalog import routing, snapshot
from tests.conftest import Actor, in_team

CHAT = {"message": "Hello", "model": "demo"}


@pytest.fixture
def restrict(catalog: None, ada: Actor) -> Callable[..., Any]:
    def to(**who: Any) -> Any:
        response = ada.client.put("/api/v1/admin/model-access/demo", who, content_type="application/json")
        assert response.status_code == 200
        return response.json()

    return to


def names(who: Actor, **extra: Any) -> set[str]:
    return {model["id"] for model in who.get("/v1/models", **extra).json()["data"]}


def test_a_model_nobody_was_given_is_open_to_all(catalog: None, alice: Actor) -> None:
    assert "demo" in names(alice)


def test_a_model_given_to_one_is_not_there_for_others(
    transactional_db: None, restrict: Any, alice: Actor, bob: Actor
) -> None:
    assert restrict(users=[str(alice.user.pk)])["users"] == [str(alice.user.pk)]
    assert "demo" in names(alice)
    assert alice.post("/api/v1/chat", CHAT).status_code == 200
    assert "demo" not in names(bob)
    assert bob.get("/v1/models/demo").status_code == 404
    for path, body in [
        ("/api/v1/chat", CHAT),
        ("/v1/chat/completions", {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}),
    ]:
        refused = bob.post(path, body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert bob.wallet.held == 0


def test_the_default_route_leaves_out_what_one_may_not_use(
    transactional_db: None, restrict: Any, alice: Actor, bob: Actor
) -> None:
    restrict(users=[str(alice.user.pk)])
    assert alice.post("/api/v1/chat", {"message": "Hello"}).status_code == 200
    assert bob.post("/api/v1/chat", {"message": "Hello"}).json()["error"]["code"] == "model_not_found"


def test_a_role_includes_those_above_it(restrict: Any, actor: Callable[..., Actor], alice: Actor, ada: Actor) -> None:
    restrict(roles=["SUBSCRIBER"])
    assert ["demo" in names(who) for who in (alice, actor("dora", Role.SUBSCRIBER), ada)] == [False, True, True]


def test_an_organization_has_it_for_its_members_while_they_act_for_it(restrict: Any, alice: Actor, bob: Actor) -> None:
    team = teams.create_team(alice.user, "Wonderland").organization
    restrict(organizations=[str(team.pk)])
    alice.with_login()
    assert "demo" in names(alice, headers=in_team(str(team.pk)))
    assert "demo" not in names(alice)
    assert "demo" not in names(bob)


def test_given_to_nobody_it_is_open_again(restrict: Any, alice: Actor, bob: Actor) -> None:
    restrict(users=[str(alice.user.pk)], roles=["ADMIN"])
    assert restrict() == {"roles": [], "organizations": [], "users": []}
    assert "demo" in names(bob)


def test_the_decision_needs_no_query(restrict: Any, alice: Actor, django_assert_num_queries: Any) -> None:
    restrict(users=[str(alice.user.pk)])
    models, caller = snapshot.current(), Caller(alice.user, alice.organization, None)
    with django_assert_num_queries(0):
        assert routing.candidates(models, caller, "demo")


@pytest.mark.parametrize("body", [{"roles": ["KING"]}, {"users": ["nobody"]}, {"organizations": [7]}])
def test_an_unknown_somebody_is_refused(catalog: None, ada: Actor, body: dict[str, Any]) -> None:
    response = ada.client.put("/api/v1/admin/model-access/demo", body, content_type="application/json")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
