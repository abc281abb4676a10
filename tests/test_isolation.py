"""Tenants kept apart, for every route of the URL conf that names one thing: a stranger and an ex-member get 404.

A new route fails here until it has a sample (or is declared to be everybody's).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import teams
from accounts.models import Invitation, Membership, Organization, Passkey, User
from accounts.services import create_api_key, create_login_token
from aichat.chat import sharing
from aichat.chat.models import Conversation, ConversationLink, Message
from aichat.chat.sharing import Access
from aichat.core.database.models import uuid7
from aichat.images.models import ImageJob
from tests.conftest import Actor, join
from tests.routes import Route, api_routes

TENANT_ROUTES = [route for route in api_routes() if route.is_object and route.level in {"USER", "SUBSCRIBER"}]
# Names of no tenant's thing: a model, and a month of whoever asks.
EVERYBODYS = {"v1/models/<path:slug>", "api/v1/statements/<str:month>"}


@dataclass
class Team:
    """Alice's, with one of everything."""

    alice: Actor
    organization: Organization

    def conversation(self) -> dict[str, Any]:
        row = Conversation.objects.create(organization=self.organization, user=self.alice.user, title="Secret")
        Message.objects.create(conversation=row, role=Message.Role.ASSISTANT, content="Secret")
        return {"conversation_id": row.pk}

    def message(self) -> dict[str, Any]:
        return {"message_id": Message.objects.get(**self.conversation()).pk}

    def share(self) -> dict[str, Any]:
        named = self.conversation()
        friend = User.objects.create_user("friend@example.com")
        Membership.objects.create(organization=self.organization, user=friend)
        sharing.share(Conversation.objects.get(pk=named["conversation_id"]), email=friend.email, access=Access.READ)
        return {**named, "user_id": friend.pk}

    def link(self) -> dict[str, Any]:
        named = self.conversation()
        row = ConversationLink.objects.create(message_id=Message.objects.get(**named).pk, **named)
        return {**named, "link_id": row.pk}

    def key(self) -> dict[str, Any]:
        return {"key_id": create_api_key(user=self.alice.user, organization=self.organization, name="ci")[0].id}

    def invitation(self) -> dict[str, Any]:
        row = Invitation.objects.create(
            organization=self.organization,
            email=f"{uuid7()}@example.com",
            token_digest=str(uuid7()),
            invited_by=self.alice.user,
            expires_at=timezone.now() + timedelta(days=1),
        )
        return {"organization_id": self.organization.pk, "invitation_id": row.pk}

    def asked(self) -> dict[str, Any]:
        """An invitation that Alice was sent, by herself: only she can answer it."""
        named = self.invitation()
        Invitation.objects.filter(pk=named["invitation_id"]).update(user=self.alice.user)
        return {"invitation_id": named["invitation_id"]}

    def session(self) -> dict[str, Any]:
        return {"session_id": create_login_token(self.alice.user)[0].id}

    def passkey(self) -> dict[str, Any]:
        row = Passkey.objects.create(user=self.alice.user, name="x", host="localhost", credential_id=str(uuid7()))
        return {"passkey_id": row.pk}

    def image(self) -> dict[str, Any]:
        row = ImageJob.objects.create(
            organization=self.organization,
            user=self.alice.user,
            prompt="Secret",
            requested_model="demo",
            status=ImageJob.Status.SUCCEEDED,
            hold_id=uuid7(),
            hold_amount=0,
        )
        return {"job_id": row.pk}

    def itself(self) -> dict[str, Any]:
        return {"organization_id": self.organization.pk}

    def member(self) -> dict[str, Any]:
        return {"organization_id": self.organization.pk, "user_id": self.alice.user.pk}


# For each route, what of the team's it names.
SAMPLES: dict[str, Callable[[Team], dict[str, Any]]] = {
    "api/v1/organizations/<uuid:organization_id>": Team.itself,
    "api/v1/organizations/<uuid:organization_id>/members": Team.itself,
    "api/v1/organizations/<uuid:organization_id>/members/<uuid:user_id>": Team.member,
    "api/v1/organizations/<uuid:organization_id>/invitations": Team.itself,
    "api/v1/organizations/<uuid:organization_id>/invitations/<uuid:invitation_id>": Team.invitation,
    "api/v1/invitations/<uuid:invitation_id>": Team.asked,
    "api/v1/api-keys/<uuid:key_id>": Team.key,
    "api/v1/api-keys/<uuid:key_id>/rotate": Team.key,
    "api/v1/me/sessions/<uuid:session_id>": Team.session,
    "api/v1/me/passkeys/<uuid:passkey_id>": Team.passkey,
    "api/v1/conversations/<uuid:conversation_id>": Team.conversation,
    "api/v1/conversations/<uuid:conversation_id>/messages": Team.conversation,
    "api/v1/conversations/<uuid:conversation_id>/shares": Team.conversation,
    "api/v1/conversations/<uuid:conversation_id>/shares/<uuid:user_id>": Team.share,
    "api/v1/conversations/<uuid:conversation_id>/links": Team.conversation,
    "api/v1/conversations/<uuid:conversation_id>/links/<uuid:link_id>": Team.link,
    "api/v1/messages/<uuid:message_id>/feedback": Team.message,
    "api/v1/images/<uuid:job_id>": Team.image,
    "api/v1/images/<uuid:job_id>/events": Team.image,
}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "api/v1/messages/<uuid:message_id>/feedback"): {"rating": 1},
    ("POST", "api/v1/organizations/<uuid:organization_id>/members"): {"email": "charlie@example.com"},
}


@pytest.fixture
def team(transactional_db: None, alice: Actor) -> Team:
    return Team(alice, teams.create_team(alice.user, "Wonderland").organization)


@pytest.fixture
def ex_member(team: Team, bob: Actor) -> Actor:
    """Bob was in the team, with a key for it (`bob.key`), and was taken out."""
    by = Membership.objects.get(organization=team.organization, user=team.alice.user)
    join(team.organization, bob, Membership.Role.ADMIN)
    _, bob.key = create_api_key(user=bob.user, organization=team.organization, name="team")
    teams.remove_member(by, bob.user.pk)
    return bob


def address(route: Route, names: dict[str, Any]) -> str:
    steps = [
        str(names[step[1:-1].partition(":")[2]]) if step.startswith("<") else step for step in route.path.split("/")
    ]
    return "/" + "/".join(steps)


def client(token: str, organization: Organization | None = None) -> Client:
    chosen = {"X-Organization": str(organization.pk)} if organization else {}
    return Client(headers={"Authorization": f"Bearer {token}", **chosen})


def answers(who: Client, route: Route, path: str) -> dict[str, int]:
    def status(verb: str) -> int:
        body = json.dumps(BODIES.get((verb, route.path), {}))
        return int(who.generic(verb, path, body, "application/json").status_code)

    return {verb: status(verb) for verb in route.verbs}


def test_every_object_route_has_a_sample() -> None:
    routes = {route.path for route in TENANT_ROUTES}
    missing = routes - set(SAMPLES) - EVERYBODYS
    assert not missing, f"Say in SAMPLES what of a team's these name, so that strangers are tried on them: {missing}"
    assert set(SAMPLES) <= routes


@pytest.mark.parametrize(
    "route", [route for route in TENANT_ROUTES if route.path in SAMPLES], ids=lambda route: route.path
)
def test_a_stranger_and_an_ex_member_find_nothing(
    route: Route, team: Team, charlie: Actor, ex_member: Actor, catalog: None
) -> None:
    path = address(route, SAMPLES[route.path](team))
    nothing = dict.fromkeys(route.verbs, 404)
    assert answers(client(charlie.key), route, path) == nothing
    assert answers(client(charlie.token), route, path) == nothing
    assert answers(client(charlie.token, team.organization), route, path) == nothing
    assert answers(client(ex_member.token), route, path) == nothing
    assert answers(client(ex_member.token, team.organization), route, path) == nothing
    assert answers(client(ex_member.key), route, path) == dict.fromkeys(route.verbs, 401)

    owner = answers(client(team.alice.token, team.organization), route, path)
    assert 404 not in owner.values(), "the sample names nothing, so the test proves nothing"
