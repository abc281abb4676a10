"""`GET /api/v1/usage`: what one used oneself, and what it cost."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.models import AccessToken
from aichat.usage.models import UsageRecord
from aichat.usage.rollup import roll_up
from tests.conftest import Actor

Make = Callable[..., UsageRecord]


def test_days_carry_their_figures_and_the_total(alice: Actor, bob: Actor, usage_record: Make) -> None:
    usage_record(alice, charged=1_500_000, created_at=datetime(2026, 11, 20, 9, tzinfo=UTC))
    usage_record(alice, charged=500_000, created_at=datetime(2026, 11, 21, 9, tzinfo=UTC))
    usage_record(bob)
    body = alice.get("/api/v1/usage?from=2026-11-19&to=2026-11-21").json()
    assert body["group_by"] == "day"
    assert [(row["day"], row["credits"], row["requests"]) for row in body["results"]] == [
        ("2026-11-20", "1.5", 1),
        ("2026-11-21", "0.5", 1),
    ]
    assert body["totals"]["credits"] == "2"
    assert body["totals"]["input_tokens"] == 20


@pytest.mark.parametrize("rolled", [False, True])
def test_models_and_keys_are_named(alice: Actor, usage_record: Make, rolled: bool) -> None:
    key = AccessToken.objects.get(user=alice.user, name="test")
    earlier = timezone.now() - timedelta(hours=1)
    usage_record(alice, model="gpt-6-luna", api_key_id=key.id, created_at=earlier)
    usage_record(alice, model="demo", created_at=earlier, charged=1)
    if rolled:
        roll_up()
    by_model = alice.get("/api/v1/usage?group_by=model").json()["results"]
    assert [row["model"] for row in by_model] == ["gpt-6-luna", "demo"]
    by_key = alice.get("/api/v1/usage?group_by=api_key").json()["results"]
    assert [(row["api_key"], row["name"]) for row in by_key] == [(str(key.id), "test"), (None, "")]


def test_another_organization_of_mine_is_another_account(alice: Actor, bob: Actor, usage_record: Make) -> None:
    record = usage_record(alice)
    UsageRecord.objects.filter(pk=record.pk).update(organization=bob.organization)
    assert alice.get("/api/v1/usage").json()["results"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("group_by=user", "group_by"),
        ("from=yesterday", "from"),
        ("to=2026-13-40", "to"),
        ("from=2026-11-20&to=2026-11-01", "from"),
        ("from=1900-01-01", "from"),
    ],
)
def test_a_wrong_question_names_its_mistake(alice: Actor, query: str, param: str) -> None:
    response = alice.get(f"/api/v1/usage?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_nobody_asks_without_a_key(anonymous: Actor) -> None:
    assert anonymous.get("/api/v1/usage").status_code == 401


@pytest.mark.parametrize("rolled", [False, True])
def test_each_kind_is_a_sum_with_what_it_is_priced_by(alice: Actor, usage_record: Make, rolled: bool) -> None:
    earlier = timezone.now() - timedelta(hours=1)
    usage_record(alice, charged=5, created_at=earlier)
    usage_record(alice, kind="image", images=2, charged=4, created_at=earlier)
    for milliseconds in (60_000, 30_000):
        usage_record(alice, kind="transcription", audio_ms=milliseconds, charged=1, created_at=earlier)
    usage_record(alice, kind="speech", characters=1200, charged=1, created_at=earlier)
    if rolled:
        roll_up()
    body = alice.get("/api/v1/usage?group_by=kind").json()
    found = [
        (row["kind"], row["requests"], row["images"], row["characters"], row["audio_minutes"])
        for row in body["results"]
    ]
    assert found == [
        ("chat", 1, 0, 0, 0),
        ("image", 1, 2, 0, 0),
        ("transcription", 2, 0, 0, 1.5),
        ("speech", 1, 0, 1200, 0),
    ]
    assert (body["totals"]["characters"], body["totals"]["audio_minutes"]) == (1200, 1.5)
