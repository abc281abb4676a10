"""Every route states who may call it, and keeps to that over HTTP."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import Role
from tests.conftest import Actor
from tests.routes import Route, all_routes, api_routes

LEVELS = {"PUBLIC", *Role}
# Nothing there: the question of who may call comes first.
NOWHERE = {
    "<uuid:": "00000000-0000-7000-8000-000000000000",
    "<path:": "nowhere",
    "<str:": "nowhere",
    "<slug:": "nowhere",
}


def address(route: Route) -> str:
    """The route's path with IDs of nothing."""
    steps = []
    for step in route.path.split("/"):
        kind = step[: step.find(":") + 1] if step.startswith("<") else ""
        steps.append(NOWHERE.get(kind, "0") if step.startswith("<") else step)
    return "/" + "/".join(steps)


def ids(route: Route) -> str:
    return route.path


@pytest.mark.parametrize("route", all_routes(), ids=ids)
def test_a_route_states_its_level(route: Route) -> None:
    assert route.level in LEVELS, (
        f"{route.path} does not say who may call it: give its view `permission_classes = [IsUser]` "
        "(or Public, IsSubscriber, IsAdmin of accounts.permissions)."
    )


def refusals(route: Route, client: Client) -> dict[str, int]:
    return {verb: client.generic(verb, address(route), b"{}", "application/json").status_code for verb in route.verbs}


@pytest.mark.parametrize("route", [route for route in api_routes() if route.level != "PUBLIC"], ids=ids)
def test_nobody_gets_in_without_a_token(route: Route, anonymous: Client, db: None) -> None:
    assert set(refusals(route, anonymous).values()) == {401}


@pytest.mark.parametrize("route", [route for route in api_routes() if route.level == "ADMIN"], ids=ids)
@pytest.mark.parametrize("role", [Role.USER, Role.SUBSCRIBER])
def test_an_admin_route_refuses_lesser_roles(route: Route, role: Role, actor: Callable[..., Actor]) -> None:
    assert set(refusals(route, actor("dora", role).client).values()) == {403}


def test_a_user_route_is_not_refused_to_a_user(transactional_db: None, catalog: None, alice: Actor) -> None:
    routes = [route for route in api_routes() if route.level == "USER" and route.path != "api/v1/auth/logout"]
    answers = {route.path: refusals(route, alice.client) for route in routes}
    assert {path: got for path, got in answers.items() if {401, 403, 405, 500} & set(got.values())} == {}


@pytest.mark.parametrize(
    "route", [route for route in all_routes() if route.is_admin_page and not route.is_object], ids=ids
)
def test_an_admin_page_sends_everybody_else_to_its_login(route: Route, alice: Actor, client: Any) -> None:
    client.force_login(alice.user)
    response = client.get(address(route))
    if route.level == "ADMIN" and not route.path.endswith("logout/"):
        assert response.status_code in {302, 404, 405}
        assert response.status_code != 302 or "/admin/login/" in response["Location"]
