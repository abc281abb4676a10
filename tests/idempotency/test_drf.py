"""Idempotency-Key on the administrator's grant: entry and stored answer are one commit."""

import pytest

from aichat.idempotency.models import IdempotentRequest
from credits.models import LedgerEntry
from tests.conftest import Actor

KEY = {"Idempotency-Key": "grant-1"}


@pytest.fixture
def path(alice: Actor) -> str:
    alice.set_credits(10)
    return f"/api/v1/admin/users/{alice.user.pk}/credits"


def test_a_grant_sent_again_is_given_once(ada: Actor, path: str) -> None:
    body = {"amount": "5", "reason": "Support"}
    first, again = ada.post(path, body, headers=KEY), ada.post(path, body, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert "Idempotent-Replayed" not in first.headers and again.headers["Idempotent-Replayed"] == "true"
    assert LedgerEntry.objects.filter(kind="GRANT").count() == 1


def test_another_grant_with_the_same_key_is_a_conflict(ada: Actor, path: str) -> None:
    ada.post(path, {"amount": "5", "reason": "Support"}, headers=KEY)
    answer = ada.post(path, {"amount": "6", "reason": "Support"}, headers=KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_conflict")


def test_a_refused_grant_frees_the_key(ada: Actor, path: str) -> None:
    refused = ada.post(path, {"amount": "-1000", "reason": "Support"}, headers=KEY)
    assert refused.status_code == 402
    assert not IdempotentRequest.objects.exists()


def test_without_a_key_every_grant_counts(ada: Actor, path: str) -> None:
    for _ in range(2):
        assert ada.post(path, {"amount": "5", "reason": "Support"}).status_code == 201
    assert LedgerEntry.objects.filter(kind="GRANT").count() == 2
