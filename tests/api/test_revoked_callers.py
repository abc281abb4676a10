"""What becomes of a stream whose caller loses access while it runs."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from accounts import services, teams
from accounts.authentication import authenticate
from accounts.models import AccessToken
from accounts.revocations import find_revoked
from aichat.api import open_streams
from aichat.usage.models import UsageRecord
from tests.conftest import Actor, join
from tests.upstream import Reply, Upstream

WORDS = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "Go on"}]}


@pytest.fixture
def endless(upstream: Upstream, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """A provider that answers for ten seconds."""
    settings.CHAT_TOTAL_TIMEOUT = 30.0
    monkeypatch.setattr(open_streams, "CHECK_SECONDS", 0.3)
    for provider in ("openai", "gemini"):
        upstream.always(provider, Reply("endless"))
    return upstream


def stream_and(http: httpx.Client, headers: dict[str, str], act: Callable[[], Any], path: str, body: Any) -> str:
    """Begin a stream, `act` once its first words are there, and return all of it."""
    text = ""
    with http.stream("POST", path, json=body, headers=headers) as response:
        assert response.status_code == 200
        for part in response.iter_text():
            if not text:
                act()
            text += part
    return text


def deactivate(alice: Actor) -> None:
    services.change_user(alice.user, is_active=False)


def revoke_key(alice: Actor) -> None:
    AccessToken.objects.get(user=alice.user, kind=AccessToken.Kind.API_KEY).revoke()


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize(("act", "word"), [(deactivate, "deactivated"), (revoke_key, "revoked")])
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", WORDS), ("/api/v1/chat", {"message": "Go on", "stream": True})]
)
def test_a_stream_whose_account_or_key_ends_is_settled_for_what_was_delivered_and_ends_with_an_error(
    act: Callable[[Actor], None], word: str, path: str, body: Any, http: httpx.Client, alice: Actor
) -> None:
    before = alice.wallet.available
    text = stream_and(http, alice.headers, lambda: act(alice), path, body)
    last = text.strip().split("\n\n")
    assert any('"invalid_api_key"' in event and f"{word}, so this was ended" in event for event in last[-2:])
    record = UsageRecord.objects.get()
    assert record.status == "partial"
    assert 0 < record.charged == before - alice.wallet.available
    assert alice.wallet.held == 0
    assert http.get("/api/v1/me", headers=alice.headers).status_code == 401


@pytest.mark.usefixtures("endless")
def test_a_login_that_streams_for_a_team_is_ended_when_its_user_is_taken_out(
    http: httpx.Client, alice: Actor, bob: Actor
) -> None:
    owner = teams.create_team(alice.user, "Team")
    join(owner.organization, bob)
    alice.organization = owner.organization
    alice.set_credits(100)
    headers = {"Authorization": f"Bearer {bob.token}", "X-Organization": str(owner.organization_id)}
    text = stream_and(http, headers, lambda: teams.remove_member(owner, bob.user.pk), "/v1/chat/completions", WORDS)
    assert "You left the organization" in text
    assert UsageRecord.objects.get().status == "partial"
    assert alice.wallet.held == 0


def test_of_many_callers_those_without_access_are_found_in_two_statements(
    alice: Actor, bob: Actor, charlie: Actor, django_assert_num_queries: Any
) -> None:
    callers = [authenticate(f"Bearer {secret}") for one in (alice, bob, charlie) for secret in (one.key, one.token)]
    deactivate(alice)
    revoke_key(bob)
    with django_assert_num_queries(2):
        found = find_revoked(callers * 2)
    errors = [type(found[caller]).__name__ if caller in found else "" for caller in callers]
    assert errors == ["AccountDeactivated", "AccountDeactivated", "CredentialRevoked", "", "", ""]
