"""Sums from roll-ups and records together: equal to counting the records one by one, whatever the window."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from aichat.usage import histogram, queries
from aichat.usage.models import DailyUsage, HourlyLatency, HourlyUsage, RollupState, UsageRecord
from aichat.usage.rollup import KEPT, rebuild, roll_up
from aichat.usage.windows import Window, hour_of
from tests.conftest import Actor

NOW = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)
Make = Callable[..., UsageRecord]


@pytest.fixture
def history(alice: Actor, bob: Actor, usage_record: Make) -> None:
    """150 records of the last five days, of two people and two models; some at the first and last moments of hours."""
    dice = random.Random(5)
    borders = [NOW.replace(minute=0) - timedelta(hours=hours) for hours in range(0, 120, 5)]
    edges = [border - timedelta(milliseconds=early) for border in borders for early in (0, 1)]
    for number in range(150):
        status = dice.choice(["ok"] * 8 + ["timeout", "cancelled"])
        usage_record(
            dice.choice([alice, bob]),
            created_at=edges[number] if number < len(edges) else NOW - timedelta(seconds=dice.randrange(5 * 86_400)),
            model=dice.choice(["gpt-6-luna", "demo"]),
            status=status,
            final=dice.random() > 0.1,
            fallback=dice.random() < 0.2,
            cached=dice.random() < 0.2,
            input_tokens=dice.randrange(1000),
            output_tokens=dice.randrange(1000),
            charged=dice.randrange(10**6),
            cost_nanousd=dice.randrange(10**6),
            latency_ms=dice.randrange(20_000),
        )


def counted(window: Window, **only: Any) -> queries.Figures:
    """The figures, record by record."""
    result = queries.Figures()
    for row in UsageRecord.objects.filter(created_at__gte=window.start, created_at__lt=window.end, **only):
        fine = row.status in ("ok", "cancelled")
        result.add(
            queries.Figures(
                attempts=1,
                requests=int(row.final),
                failures=int(row.final and not fine),
                fallbacks=int(row.final and row.fallback),
                cache_hits=int(row.final and row.cached),
                estimated=int(row.final and row.source == "ESTIMATED"),
                input_tokens=row.input_tokens,
                cached_input_tokens=row.cached_input_tokens,
                output_tokens=row.output_tokens,
                images=row.images,
                charged=row.charged,
                shortfall=row.shortfall,
                cost_nanousd=row.cost_nanousd,
                saved=row.saved,
                saved_nanousd=row.saved_nanousd,
                hit_input_tokens=row.cached * row.input_tokens,
                hit_cached_input_tokens=row.cached * row.cached_input_tokens,
                hit_output_tokens=row.cached * row.output_tokens,
            )
        )
    return result


WINDOWS = {
    "all of it": Window(NOW - timedelta(days=7), NOW),
    "24 hours": Window(NOW - timedelta(days=1), NOW),
    "whole days in the past": Window(datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)),
    "within a day in the past": Window(
        datetime(2026, 11, 20, 3, 7, tzinfo=UTC), datetime(2026, 11, 20, 19, tzinfo=UTC)
    ),
    "across midnight": Window(datetime(2026, 11, 20, 22, tzinfo=UTC), datetime(2026, 11, 21, 2, tzinfo=UTC)),
    "odd ends": Window(datetime(2026, 11, 19, 22, tzinfo=UTC), datetime(2026, 11, 22, 2, tzinfo=UTC)),
    "24 hours before": Window(NOW - timedelta(days=2), NOW - timedelta(days=1)),
    "parts of hours": Window(datetime(2026, 11, 22, 9, 10, tzinfo=UTC), datetime(2026, 11, 22, 17, 50, tzinfo=UTC)),
    "within an hour": Window(datetime(2026, 11, 22, 9, 10, tzinfo=UTC), datetime(2026, 11, 22, 9, 50, tzinfo=UTC)),
    "whole hours": Window(datetime(2026, 11, 22, 9, tzinfo=UTC), datetime(2026, 11, 22, 19, tzinfo=UTC)),
    "today": Window(datetime(2026, 11, 23, tzinfo=UTC), NOW),
    "into the future": Window(datetime(2026, 11, 21, tzinfo=UTC), NOW + timedelta(days=2)),
}
ROLLED = {
    "never": None,
    "an hour ago": NOW - timedelta(hours=1),
    "at an hour": NOW - timedelta(hours=2, minutes=30),
    "at midnight": datetime(2026, 11, 23, tzinfo=UTC),
    "two days ago": NOW - timedelta(days=2),
    "just now": NOW,
}


@pytest.mark.parametrize("rolled", ROLLED)
def test_figures_equal_a_count_record_by_record(rolled: str, history: None, alice: Actor) -> None:
    until = ROLLED[rolled]
    if until:
        roll_up(until)
    for name, window in WINDOWS.items():
        everybody = queries.sums(window, ["model", "day"])
        assert queries.total(everybody) == counted(window), name
        own = queries.total(queries.sums(window, ["day"], user=alice.user))
        assert own == counted(window, user=alice.user), name
        people = set(
            UsageRecord.objects.filter(created_at__gte=window.start, created_at__lt=window.end).values_list(
                "user", flat=True
            )
        )
        assert queries.active_users(window).get((), 0) == len(people), name
        ended = queries.endings(window)
        statuses = Counter(
            UsageRecord.objects.filter(created_at__gte=window.start, created_at__lt=window.end, final=True).values_list(
                "status", flat=True
            )
        )
        assert {key[0]: sum(histogram.values()) for key, histogram in ended.items()} == statuses, name
        hours = queries.hourly(window, ["model"])
        assert queries.total(hours) == counted(window), name
        attempts = {key[0]: row.attempts for key, row in queries.regroup(hours, 0).items()}
        assert attempts == attempts_by_hour(window), name
        by_hour = {hour: sum(histogram.values()) for hour, histogram in queries.hourly_latency(window).items()}
        assert by_hour == attempts_by_hour(window, final=True, status="ok"), name


def attempts_by_hour(window: Window, **only: Any) -> Counter[datetime]:
    rows = UsageRecord.objects.filter(created_at__gte=window.start, created_at__lt=window.end, **only)
    return Counter(hour_of(moment) for moment in rows.values_list("created_at", flat=True))


def test_whole_hours_are_not_read_from_the_records(history: None) -> None:
    roll_up(NOW)
    window = WINDOWS["24 hours"]
    total, people = queries.sums(window, ["model"]), queries.active_users(window)
    by_hour, histogram, ended = queries.hourly(window), queries.hourly_latency(window), queries.endings(window)
    UsageRecord.objects.filter(created_at__gte=hour_of(window.start) + timedelta(hours=1)).delete()
    assert queries.sums(window, ["model"]) == total and queries.active_users(window) == people
    assert queries.hourly(window) == by_hour and queries.hourly_latency(window) == histogram
    assert queries.endings(window) == ended


def test_hours_are_kept_for_some_days(history: None) -> None:
    roll_up(NOW)
    oldest = hour_of(NOW) - KEPT
    assert min(HourlyUsage.objects.values_list("hour", flat=True)) >= oldest
    assert min(HourlyLatency.objects.values_list("hour", flat=True)) >= oldest
    assert RollupState.objects.get().hours_from == oldest
    keys = HourlyUsage.objects.values_list("hour", "user", "model", "provider", "api_key_id", "experiment", "variant")
    assert len(keys) == len(set(keys))


def test_an_installation_without_hours_gets_those_of_the_last_days(history: None) -> None:
    roll_up(NOW - timedelta(minutes=10))
    kept = hour_sums()
    HourlyUsage.objects.all().delete()
    HourlyLatency.objects.all().delete()
    RollupState.objects.update(hours_from=None)
    assert queries.total(queries.hourly(WINDOWS["24 hours"])) == counted(WINDOWS["24 hours"])
    roll_up(NOW - timedelta(minutes=10))
    assert hour_sums() == kept


def hour_sums() -> tuple[Any, ...]:
    usage = HourlyUsage.objects.values_list("hour", "day", "user", "model", "requests", "charged")
    histogram = HourlyLatency.objects.values_list("hour", "day", "model", "status", "bucket", "requests")
    return sorted(usage), sorted(histogram), RollupState.objects.get().hours_from


def test_people_are_counted_once_per_group(history: None) -> None:
    roll_up(NOW - timedelta(hours=30))
    window = WINDOWS["all of it"]
    expected = {
        (model,): UsageRecord.objects.filter(model=model).values("user").distinct().count()
        for model in ("gpt-6-luna", "demo")
    }
    assert queries.active_users(window, ["model"]) == expected


def test_rolling_up_in_steps_or_twice_changes_nothing(history: None) -> None:
    window = WINDOWS["all of it"]
    before = queries.sums(window, ["day", "model", "user_id"])
    added = sum(roll_up(NOW - timedelta(hours=hours)) for hours in (90, 47, 47, 46, 3, 0))
    assert added == UsageRecord.objects.count()
    assert queries.sums(window, ["day", "model", "user_id"]) == before
    keys = DailyUsage.objects.values_list("day", "user", "model", "provider", "api_key_id", "experiment", "variant")
    assert len(keys) == len(set(keys))


def test_a_lost_or_wrong_day_is_made_again(history: None) -> None:
    roll_up(NOW)
    window = WINDOWS["all of it"]
    right, hours = queries.sums(window, ["day"]), hour_sums()
    HourlyUsage.objects.filter(day=date(2026, 11, 20)).delete()
    HourlyLatency.objects.filter(day=date(2026, 11, 23)).update(requests=7)
    DailyUsage.objects.filter(day=date(2026, 11, 20)).delete()
    DailyUsage.objects.filter(day=date(2026, 11, 21)).update(requests=1)
    assert queries.sums(window, ["day"]) != right
    assert rebuild(date(2026, 11, 20)) == 4
    assert queries.sums(window, ["day"]) == right
    assert hour_sums() == hours


def test_a_step_somebody_else_took_is_not_taken_again(history: None) -> None:
    from aichat.usage import rollup

    start = rollup._begin(NOW)
    assert rollup._step(start, start + timedelta(hours=1)) is not None
    assert rollup._step(start, start + timedelta(hours=1)) is None


def test_the_command_leaves_the_last_minutes_to_the_records(alice: Actor, usage_record: Make) -> None:
    usage_record(alice)
    call_command("rollup_usage")
    assert not DailyUsage.objects.exists()
    assert queries.total(queries.sums(Window.last_days(1))).requests == 1
    assert RollupState.objects.count() == 1


def test_without_any_record_there_is_nothing_to_do(db: None) -> None:
    assert roll_up() == 0
    assert queries.sums(Window.last_days(30)) == {}


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_percentiles_are_within_five_percent(share: float) -> None:
    dice = random.Random(1)
    values = sorted(int(dice.lognormvariate(7, 1)) + 1 for _ in range(5000))
    exact = values[int(share * len(values)) - 1]
    found = histogram.percentile(Counter(histogram.bucket(value) for value in values), share)
    assert found is not None
    assert abs(found - exact) <= exact * 0.06


def test_no_request_has_no_percentile() -> None:
    assert histogram.percentile({}, 0.5) is None


def test_nobody_was_active_in_days_without_records(alice: Actor, usage_record: Make) -> None:
    now = timezone.now()
    usage_record(alice, created_at=now - timedelta(days=20))
    usage_record(alice, created_at=now - timedelta(hours=1))
    roll_up()
    assert queries.active_users(Window(now - timedelta(days=9), now - timedelta(days=5))).get((), 0) == 0
