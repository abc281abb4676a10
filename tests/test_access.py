"""`docs/ACCESS.md` is true: the request of every cell is sent."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from accounts import teams
from accounts.authentication import Caller
from accounts.models import Role, Scope
from accounts.permissions import scopes_of
from accounts.services import create_api_key, create_login_token
from aichat.catalog.models import AIModel, Provider
from aichat.chat import attachments, links
from aichat.chat.models import ConversationLink
from aichat.core.money import CREDIT
from aichat.flags.models import Experiment, Flag
from aichat.images import storage
from aichat.images.models import Picture
from aichat.usage.models import UsageRecord
from tests import access
from tests.conftest import Actor
from tests.images.conftest import PNG
from tests.routes import Route
from tests.test_isolation import BODIES, EVERYBODYS, SAMPLES, Team, address, client, ex_member, team

__all__ = ["ex_member", "team"]
SITE_VERBS = ("GET", "POST")
NOTHING = UUID(int=0)
# 415: a form is wanted, and was not looked at before the caller; 503: a way to pay that is not set up.
LET_IN = {200, 201, 202, 204, 302, 400, 415, 503}
# Some of the admin site's pages are of things that are only looked at; the samples below name nothing there.
SITE_LETS_IN = {200, 302, 403, 404, 405}


class World:
    """One of everything that a route can name, made for one actor."""

    def __init__(self, actor: Actor) -> None:
        self.team = Team(actor, teams.create_team(actor.user, "Wonderland").organization)

    def names(self, route: Route) -> dict[str, Any]:
        if route.path in SAMPLES:
            return SAMPLES[route.path](self.team)
        if "<str:signed>" in route.path:
            return self.signed()
        if "<str:token>" in route.path:
            link = ConversationLink.objects.get(pk=self.team.link()["link_id"])
            return {"token": links.token_of(link)}
        if "<str:ticket>" in route.path:
            caller = Caller(self.team.alice.user, self.team.organization, None)
            return {"ticket": attachments.signer.sign(str(attachments.store(caller, "a.png", PNG).pk))}
        slug = "demo" if route.path in EVERYBODYS else "spare"
        return {
            "user_id": self.team.alice.user.pk,
            "request_id": "r1",
            "slug": slug,
            "key": "spare",
            "month": "2026-11",
            "path": "login/",  # below /accounts/
            "conversation_id": NOTHING,  # a page of the portal, which is empty
        }

    def signed(self) -> dict[str, Any]:
        picture = Picture(job_id=self.team.image()["job_id"], content_type="image/png", width=1, height=1)
        picture.file, picture.thumbnail = storage.store(picture.job_id, picture.pk, storage.verify(PNG))
        picture.save()
        return {"signed": storage.sign(picture.pk)}


@pytest.fixture
def spare(catalog: None, usage_record: Callable[..., UsageRecord], alice: Actor) -> None:
    """What administrators' routes name."""
    usage_record(alice, request_id="r1")
    make_spares()


def make_spares() -> None:
    AIModel.objects.get_or_create(
        slug="spare", defaults={"provider": Provider.objects.get(slug="demo"), "kind": "chat"}
    )
    Flag.objects.get_or_create(key="spare")
    Experiment.objects.get_or_create(key="spare", defaults={"variants": [{"name": "a", "weight": 1}]})


def said(status: int, route: Route) -> str:
    if status in {401, 403, 404}:
        return str(status)
    return access.IN if status in LET_IN else f"unexpected {status}"


def sent(who: Client, route: Route, verb: str, names: dict[str, Any]) -> str:
    body = json.dumps(BODIES.get((verb, route.path), {}))
    answer = who.generic(verb, address(route, names), body, "application/json")
    return said(answer.status_code, route)


def differences(caller: str, got: dict[tuple[str, str], str]) -> dict[tuple[str, str], tuple[str, str]]:
    wanted = {
        (route.path, verb): access.expected(route, caller) for route in access.api_routes() for verb in route.verbs
    }
    return {cell: (wanted[cell], found) for cell, found in got.items() if found != wanted[cell]}


@pytest.mark.parametrize("caller", ["anonymous", *access.ROLES])
def test_each_role_gets_into_its_own(
    caller: str,
    actor: Callable[..., Actor],
    anonymous: Client,
    transactional_db: None,
    spare: None,
    settings: Any,
    tmp_path: Path,
) -> None:
    settings.MEDIA_ROOT = tmp_path
    settings.RATE_LIMIT_AUTH = settings.RATE_LIMIT_USER
    dora = actor("dora", Role.USER if caller == "anonymous" else Role(caller))
    world = World(dora)
    who = anonymous if caller == "anonymous" else client(dora.token, world.team.organization)
    got = {}
    for route in sorted(access.api_routes(), key=lambda route: "logout" in route.path):
        make_spares()
        if "logout" in route.path and caller != "anonymous":
            who = client(create_login_token(dora.user)[1], world.team.organization)
        for verb in route.verbs:
            got[route.path, verb] = sent(who, route, verb, world.names(route))
    assert differences(caller, got) == {}


def test_a_limited_key_of_an_admin_reads_and_generates_and_manages_nothing(
    actor: Callable[..., Actor], transactional_db: None, spare: None, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    settings.RATE_LIMIT_AUTH = settings.RATE_LIMIT_USER
    dora = actor("dora", Role.ADMIN)
    world = World(dora)
    _, key = create_api_key(user=dora.user, organization=world.team.organization, name="limited", spend_limit=CREDIT)
    who = client(key)
    wrong = {}
    for route in access.api_routes():
        for verb in route.verbs:
            wanted = access.expected_of_limited_key(route, verb)
            found = sent(who, route, verb, world.names(route))
            if found != wanted and not route.path.endswith("logout"):
                wrong[route.path, verb] = (wanted, found)
    assert wrong == {}
    assert (
        access.expected_of_limited_key(next(r for r in access.api_routes() if r.path.endswith("members")), "POST")
        == "403"
    )


@pytest.mark.parametrize("scope", list(Scope))
def test_a_key_with_one_scope_gets_into_what_the_page_says(
    scope: Scope, actor: Callable[..., Actor], transactional_db: None, spare: None, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    settings.RATE_LIMIT_AUTH = settings.RATE_LIMIT_USER
    dora = actor("dora", Role.ADMIN)
    world = World(dora)
    _, key = create_api_key(user=dora.user, organization=world.team.organization, name="scoped", scopes=[scope])
    who = client(key)
    wrong = {}
    for route in access.api_routes():
        for verb in route.verbs:
            wanted = access.expected_of_scope(route, verb, scope)
            found = sent(who, route, verb, world.names(route))
            if found != wanted:
                wrong[route.path, verb] = (wanted, found)
    assert wrong == {}


def test_every_route_states_the_scope_that_a_key_needs() -> None:
    """A view that generates, or is for limited keys, says `scope = Scope.…`; the rest follows from the method."""
    unstated = [
        (route.path, verb)
        for route in access.api_routes()
        for verb in route.verbs
        if route.level != "PUBLIC" and not scopes_of(route.view_class, verb)
    ]
    assert unstated == []


def test_outsiders_find_nothing_under_the_team_s_name(
    team: Team, charlie: Actor, ex_member: Actor, spare: None
) -> None:
    """What names a thing of the team is tried by `tests/test_isolation.py`, which knows more ways to ask."""
    for caller, person in (("stranger", charlie), ("ex-member", ex_member)):
        got = {}
        for route in access.api_routes():
            if access.is_tenants(route) and route.path not in SAMPLES:
                who = client(person.token, team.organization)
                got.update(
                    {
                        (route.path, verb): sent(who, route, verb, {"slug": "spare", "month": "2026-11"})
                        for verb in route.verbs
                    }
                )
        assert got
        assert differences(caller, got) == {}


def test_the_key_of_an_ex_member_opens_nothing(team: Team, ex_member: Actor, spare: None) -> None:
    guarded = [route for route in access.api_routes() if route.level != "PUBLIC"]
    nothing: dict[str, Any] = defaultdict(lambda: NOTHING)
    got = {
        (route.path, verb): sent(client(ex_member.key), route, verb, nothing)
        for route in guarded
        for verb in route.verbs
    }
    assert {cell: found for cell, found in got.items() if found != "401"} == {}


def test_an_admin_is_a_stranger_to_the_teams_of_others(team: Team, ada: Actor, catalog: None) -> None:
    got = {
        (route.path, verb): sent(client(ada.token), route, verb, SAMPLES[route.path](team))
        for route in access.api_routes()
        if route.path in SAMPLES
        for verb in route.verbs
    }
    assert set(got.values()) == {access.NOTHING}


@pytest.mark.parametrize("caller", ["anonymous", *access.ROLES])
def test_the_admin_site_is_for_admins(caller: str, actor: Callable[..., Actor], client: Client) -> None:
    if caller != "anonymous":
        client.force_login(actor("dora", Role(caller)).user)
    got = {}
    for route in access.site_routes():
        if route.path.endswith(("/logout/", "/login/")) or (caller == "ADMIN" and not route.is_object):
            continue  # that lists and forms open for an ADMIN is shown in tests/admin, with rows in them
        verbs = SITE_VERBS if caller != "ADMIN" else ("GET",)
        for verb in verbs:
            answer = client.generic(verb, site_address(route))
            assert answer.status_code in SITE_LETS_IN
            is_sent_away = answer.status_code == 302 and "/admin/login/" in answer["Location"]
            got[route.path, verb] = access.LOGIN if is_sent_away else access.IN
    wanted = {route.path: access.expected(route, caller) for route in access.site_routes()}
    assert {cell: found for cell, found in got.items() if found != wanted[cell[0]]} == {}


def site_address(route: Route) -> str:
    """With IDs of nothing: the question of who may see it comes first."""
    named = {"{app_label}": "accounts", "{url}": "nowhere"}
    steps = access.written(route.path).split("/")
    return "/".join(named.get(step, str(NOTHING)) if step.startswith("{") else step for step in steps)


def test_the_page_is_what_is_asserted() -> None:
    assert access.EVERYBODYS == EVERYBODYS
    assert access.PAGE.read_text() == access.page(), access.__doc__
