"""Rate limits: by role and by key, alike on DRF views and async views, exact under concurrency."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from accounts import stream_limits
from accounts.models import Role
from accounts.services import create_api_key
from tests.conftest import Actor

CHAT = {"message": "Hello", "max_tokens": 20}


def test_the_role_says_how_many_requests_a_minute(alice: Actor, settings: Any) -> None:
    settings.RATE_LIMIT_USER = "2/min"
    assert [alice.get("/api/v1/credits").status_code for _ in range(3)] == [200, 200, 429]


def test_an_answer_says_where_the_caller_stands(alice: Actor, settings: Any) -> None:
    settings.RATE_LIMIT_USER = "2/min"
    response = alice.get("/api/v1/credits")
    assert (response["RateLimit-Limit"], response["RateLimit-Remaining"]) == ("2", "1")
    assert 0 < int(response["RateLimit-Reset"]) <= 60


def test_a_refusal_says_when_to_come_back(alice: Actor, settings: Any) -> None:
    settings.RATE_LIMIT_USER = "1/min"
    alice.get("/api/v1/credits")
    response = alice.get("/api/v1/credits")
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(response["Retry-After"]) <= 60
    assert response["RateLimit-Remaining"] == "0"


def test_another_role_has_another_limit(actor: Any, settings: Any) -> None:
    settings.RATE_LIMIT_USER, settings.RATE_LIMIT_SUBSCRIBER = "1/min", "3/min"
    dora = actor("dora", Role.SUBSCRIBER)
    assert [dora.get("/api/v1/me").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_a_second_key_is_no_second_allowance(alice: Actor, settings: Any) -> None:
    settings.RATE_LIMIT_USER = "1/min"
    alice.get("/api/v1/me")
    assert alice.get("/api/v1/me", headers={"Authorization": f"Bearer {alice.token}"}).status_code == 429


def test_one_user_does_not_use_up_anothers_allowance(alice: Actor, bob: Actor, settings: Any) -> None:
    settings.RATE_LIMIT_USER = "1/min"
    assert [alice.get("/api/v1/me").status_code, bob.get("/api/v1/me").status_code] == [200, 200]


def test_a_key_may_have_a_lower_limit_of_its_own(alice: Actor) -> None:
    made = alice.post("/api/v1/api-keys", {"name": "script", "rate_limit": "1/min"})
    script = {"Authorization": f"Bearer {made.json()['key']}"}
    assert [alice.get("/api/v1/me", headers=script).status_code for _ in range(2)] == [200, 429]
    assert alice.get("/api/v1/me").status_code == 200


def test_a_key_with_a_limit_makes_no_keys(alice: Actor) -> None:
    _, secret = create_api_key(user=alice.user, organization=alice.organization, name="script", rate_limit="9/min")
    made = alice.post("/api/v1/api-keys", {"name": "free"}, headers={"Authorization": f"Bearer {secret}"})
    assert made.status_code == 403


@pytest.mark.parametrize("rate", ["10", "10/year", "0/min", "ten/min"])
def test_a_keys_limit_is_a_rate(rate: str, alice: Actor) -> None:
    response = alice.post("/api/v1/api-keys", {"name": "script", "rate_limit": rate})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "rate_limit")


@pytest.mark.parametrize("method, path", [("GET", "/api/v1/credits"), ("POST", "/api/v1/chat")], ids=["DRF", "async"])
def test_of_many_requests_at_once_exactly_the_limit_passes(
    server: str, alice: Actor, settings: Any, method: str, path: str
) -> None:
    settings.RATE_LIMIT_USER = "20/min"
    with httpx.Client(base_url=server, headers=alice.headers, timeout=30) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.request(method, path, json=CHAT), range(60)))
    assert Counter(answer.status_code for answer in answers) == {200: 20, 429: 40}
    assert all("RateLimit-Limit" in answer.headers for answer in answers)
    assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 429)


def test_the_streams_a_person_has_open_are_bounded(server: str, alice: Actor, settings: Any) -> None:
    settings.STREAMS_PER_USER = 1
    body, place = {**CHAT, "stream": True}, uuid4()
    asyncio.run(stream_limits.take(alice.user.pk, place, 1, lifetime=60))  # a stream that is open
    with httpx.Client(base_url=server, headers=alice.headers, timeout=30) as client:
        refused = client.post("/api/v1/chat", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert "Retry-After" in refused.headers
        assert alice.wallet.held == 0
        stream_limits.give_back(alice.user.pk, place)
        assert [client.post("/api/v1/chat", json=body).status_code for _ in range(2)] == [200, 200]
