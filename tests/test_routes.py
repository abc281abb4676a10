"""Every route states who may call it; `tests/test_access.py` shows that it keeps to that over HTTP."""

import pytest

from accounts.models import Role
from tests.routes import Route, all_routes

LEVELS = {"PUBLIC", *Role}


def ids(route: Route) -> str:
    return route.path


@pytest.mark.parametrize("route", all_routes(), ids=ids)
def test_a_route_states_its_level(route: Route) -> None:
    assert route.level in LEVELS, (
        f"{route.path} does not say who may call it: give its view `permission_classes = [IsUser]` "
        "(or Public, IsAdmin of accounts.permissions)."
    )
