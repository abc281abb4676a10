"""Makes the daily roll-ups from the usage records: step by step, each record once, by any number of processes.

A step takes the records between where the roll-ups are (`RollupState.through`) and a little later, adds their sums to
the days' rows and moves `through`, all in one transaction. The move is conditional, so of two processes one does it.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count
from django.utils import timezone

from aichat import db
from aichat.usage.figures import FINAL, NAMES, OF_RECORDS, Figures, between, chunks, midnight
from aichat.usage.latency import bucket
from aichat.usage.models import DailyLatency, DailyUsage, RollupState, UsageRecord

# A record's time is taken before its transaction commits; by now every transaction of that time is over.
SETTLED = timedelta(minutes=5)
STEP = timedelta(hours=1)
ONLY_ROW = UUID(int=1)
DIMENSIONS = ["day", "organization_id", "user_id", "api_key_id", "model", "provider", "experiment", "variant"]
LATENCY = ["day", "model", "provider", "experiment", "variant", "status"]


def roll_up(until: datetime | None = None) -> int:
    """Bring the roll-ups up to `until` (by default five minutes ago); answers how many records were added."""
    limit = until or timezone.now() - SETTLED
    # MongoDB keeps milliseconds: a limit between two of them would never be reached.
    limit = limit.replace(microsecond=limit.microsecond // 1000 * 1000)
    added = 0
    while True:
        start = _begin(limit)
        if start >= limit:
            return added
        end = min(start + STEP, limit)
        done = db.run_atomic(_step, start, end)
        if done is None:  # another process took this step
            return added
        added += done


def rebuild(first: date, last: date | None = None) -> int:
    """Make the roll-ups of some days again from their records; answers how many days."""
    days = 0
    state = RollupState.objects.filter(pk=ONLY_ROW).first()
    final = state.through.astimezone(UTC).date() if state else first
    day = first
    while day <= min(last or final, final):
        db.run_atomic(_rebuild_day, day)
        days += 1
        day += timedelta(days=1)
    return days


def _begin(limit: datetime) -> datetime:
    """Where the next step begins; times without any record are skipped."""
    state = RollupState.objects.filter(pk=ONLY_ROW).first()
    records = UsageRecord.objects.order_by("created_at")
    if state is None:
        first = records.values_list("created_at", flat=True).first()
        state, _ = RollupState.objects.get_or_create(pk=ONLY_ROW, defaults={"through": midnight(first or limit)})
    following = records.filter(created_at__gte=state.through).values_list("created_at", flat=True).first()
    begin = min(midnight(following) if following else limit, limit)
    if begin > state.through:
        RollupState.objects.filter(pk=ONLY_ROW, through=state.through).update(through=begin)
        return begin
    return state.through


def _step(start: datetime, end: datetime) -> int | None:
    if not RollupState.objects.filter(pk=ONLY_ROW, through=start).update(through=end):
        return None
    return _add(start, end)


def _rebuild_day(day: date) -> None:
    """The state's row is touched first, so that no step runs at the same time."""
    state = RollupState.objects.get(pk=ONLY_ROW)
    if not RollupState.objects.filter(pk=ONLY_ROW, through=state.through).update(through=state.through):
        return
    DailyUsage.objects.filter(day=day).delete()
    DailyLatency.objects.filter(day=day).delete()
    start = datetime.combine(day, time(), UTC)
    _add(start, min(start + timedelta(days=1), state.through))


def _add(start: datetime, end: datetime) -> int:
    records = UsageRecord.objects.filter(between(start, end)).order_by()
    fresh = {
        tuple(row[name] for name in DIMENSIONS): Figures(**{name: row[f"sum_{name}"] or 0 for name in NAMES})
        for row in records.values(*DIMENSIONS).annotate(**OF_RECORDS)
    }
    latencies: dict[tuple[Any, ...], int] = defaultdict(int)
    for row in records.filter(FINAL).values_list(*LATENCY, "latency_ms").annotate(n=Count("id")):
        latencies[(*row[:-2], bucket(row[-2]))] += row[-1]
    added = sum(figures.attempts for figures in fresh.values())
    replaced = []
    for row in _stored_usage(fresh):
        fresh[tuple(getattr(row, name) for name in DIMENSIONS)].add(
            Figures(**{name: getattr(row, name) for name in NAMES})
        )
        replaced.append(row.pk)
    # Rows are written anew instead of updated: one statement for hundreds, on every engine.
    for some in chunks(replaced, 500):
        DailyUsage.objects.filter(pk__in=some).delete()
    DailyUsage.objects.bulk_create(
        [
            DailyUsage(**dict(zip(DIMENSIONS, key, strict=True)), **{name: getattr(figures, name) for name in NAMES})
            for key, figures in fresh.items()
        ],
        batch_size=500,
    )
    _add_latencies(latencies)
    return added


def _stored_usage(fresh: dict[tuple[Any, ...], Figures]) -> Iterator[DailyUsage]:
    """The rows that hold sums of the same keys already."""
    by_day: dict[date, set[UUID]] = defaultdict(set)
    for key in fresh:
        by_day[key[0]].add(key[2])
    for day, users in by_day.items():
        for some in chunks(sorted(users), 500):
            for row in DailyUsage.objects.filter(day=day, user_id__in=some):
                if tuple(getattr(row, name) for name in DIMENSIONS) in fresh:
                    yield row


def _add_latencies(fresh: dict[tuple[Any, ...], int]) -> None:
    columns = [*LATENCY, "bucket"]
    stored = []
    for row in DailyLatency.objects.filter(day__in={key[0] for key in fresh}):
        key = tuple(getattr(row, name) for name in columns)
        if key in fresh:
            fresh[key] += row.requests
            stored.append(row.pk)
    for some in chunks(stored, 500):
        DailyLatency.objects.filter(pk__in=some).delete()
    DailyLatency.objects.bulk_create(
        [DailyLatency(**dict(zip(columns, key, strict=True)), requests=count) for key, count in fresh.items()],
        batch_size=500,
    )
