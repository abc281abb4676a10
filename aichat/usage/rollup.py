"""Makes the roll-ups from the usage records: step by step, each record once, by any number of processes.

A step takes the records between where the roll-ups are (`RollupState.through`) and the end of that hour at most, adds
their sums to the rows of the day and of the hour and moves `through`, all in one transaction. The move is conditional,
so of two processes one does it. Rows of hours are kept for the last days only.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count

from aichat.core.database import clock, transactions
from aichat.core.database.batches import in_batches
from aichat.usage.histogram import bucket
from aichat.usage.models import DailyLatency, DailyUsage, HourlyLatency, HourlyUsage, RollupState, UsageRecord
from aichat.usage.queries import FINAL, NAMES, OF_RECORDS, Figures
from aichat.usage.windows import HOUR, between, hour_of, midnight

# A record's time is taken before its transaction commits; by now every transaction of that time is over.
SETTLED = timedelta(minutes=5)
# How long hours are kept: for the longest window that is shown by hour (48 hours) and the one before it.
KEPT = timedelta(hours=96)
ONLY_ROW = UUID(int=1)
DIMENSIONS = ["day", "organization_id", "user_id", "api_key_id", "kind", "model", "provider", "experiment", "variant"]
LATENCY = ["day", "model", "provider", "experiment", "variant", "status"]
Usage = dict[tuple[Any, ...], Figures]  # by DIMENSIONS
Latency = dict[tuple[Any, ...], int]  # by LATENCY and bucket


def roll_up(until: datetime | None = None) -> int:
    """Bring the roll-ups up to `until` (by default five minutes ago); return how many records were added."""
    limit = until or clock.shared_now() - SETTLED
    # MongoDB keeps milliseconds: a limit between two of them would never be reached.
    limit = limit.replace(microsecond=limit.microsecond // 1000 * 1000)
    added = 0
    while transactions.run_atomic(_fill_hour):
        pass
    while True:
        start = _begin(limit)
        if start >= limit:
            return added
        end = min(hour_of(start) + HOUR, limit)
        done = transactions.run_atomic(_step, start, end)
        if done is None:  # another process took this step
            return added
        added += done


def rebuild(first: date, last: date | None = None) -> int:
    """Make the roll-ups of some days again from their records; return how many days were made."""
    days = 0
    state = RollupState.objects.filter(pk=ONLY_ROW).first()
    final = state.through.astimezone(UTC).date() if state else first
    day = first
    while day <= min(last or final, final):
        transactions.run_atomic(_rebuild_day, day)
        days += 1
        day += timedelta(days=1)
    return days


def _begin(limit: datetime) -> datetime:
    """Where the next step begins; times without any record are skipped."""
    state = RollupState.objects.filter(pk=ONLY_ROW).first()
    records = UsageRecord.objects.order_by("created_at")
    if state is None:
        first = records.values_list("created_at", flat=True).first()
        begin = midnight(first or limit)
        state, _ = RollupState.objects.get_or_create(
            pk=ONLY_ROW, defaults={"through": begin, "hours_from": begin - KEPT}
        )
    following = records.filter(created_at__gte=state.through).values_list("created_at", flat=True).first()
    begin = min(midnight(following) if following else limit, limit)
    if begin > state.through:
        RollupState.objects.filter(pk=ONLY_ROW, through=state.through).update(through=begin)
        return begin
    return state.through


def _step(start: datetime, end: datetime) -> int | None:
    """Add the records of an hour, or of a part of it, to the roll-ups; return how many, None if another process took them."""
    if not RollupState.objects.filter(pk=ONLY_ROW, through=start).update(through=end):
        return None
    usage, latency = _usage(start, end), _latency(start, end)
    _add_to_days(usage, latency)
    _add_to_hour(hour_of(start), usage, latency)
    _forget_hours(hour_of(end) - KEPT)
    return sum(figures.attempts for figures in usage.values())


def _fill_hour() -> bool:
    """Make the hourly roll-up of the hour before the first one that there is; return whether one was missing.

    An installation from before there were hourly roll-ups gets those of the time KEPT so, hour by hour.
    """
    state = RollupState.objects.filter(pk=ONLY_ROW).first()
    if state is None or (state.hours_from and state.hours_from <= hour_of(state.through) - KEPT):
        return False
    hour = state.hours_from - HOUR if state.hours_from else hour_of(state.through)
    same = RollupState.objects.filter(pk=ONLY_ROW, through=state.through, hours_from=state.hours_from)
    if not same.update(hours_from=hour):
        return True  # another process took it
    end = min(hour + HOUR, state.through)
    _add_to_hour(hour, _usage(hour, end), _latency(hour, end))
    return True


def _forget_hours(before: datetime) -> None:
    if RollupState.objects.filter(pk=ONLY_ROW, hours_from__lt=before).update(hours_from=before):
        HourlyUsage.objects.filter(hour__lt=before).delete()
        HourlyLatency.objects.filter(hour__lt=before).delete()


def _rebuild_day(day: date) -> None:
    """Make the roll-ups of a day again. The write of the state's row comes first, so that no step runs at the same time."""
    state = RollupState.objects.get(pk=ONLY_ROW)
    if not RollupState.objects.filter(pk=ONLY_ROW, through=state.through).update(through=state.through):
        return
    for table in (DailyUsage, DailyLatency, HourlyUsage, HourlyLatency):
        table.objects.filter(day=day).delete()
    start = datetime.combine(day, time(), UTC)
    end = min(start + timedelta(days=1), state.through)
    _add_to_days(_usage(start, end), _latency(start, end))
    hour = max(start, state.hours_from) if state.hours_from else end
    while hour < end:
        until = min(hour + HOUR, end)
        _add_to_hour(hour, _usage(hour, until), _latency(hour, until))
        hour += HOUR


# --- Sums of records --------------------------------------------------------------------------------------------------


def _usage(start: datetime, end: datetime) -> Usage:
    records = UsageRecord.objects.filter(between(start, end)).order_by()
    return {
        tuple(row[name] for name in DIMENSIONS): Figures(**{name: row[f"sum_{name}"] or 0 for name in NAMES})
        for row in records.values(*DIMENSIONS).annotate(**OF_RECORDS)
    }


def _latency(start: datetime, end: datetime) -> Latency:
    found: Latency = defaultdict(int)
    records = UsageRecord.objects.filter(between(start, end), FINAL).order_by()
    for row in records.values_list(*LATENCY, "latency_ms").annotate(n=Count("id")):
        found[(*row[:-2], bucket(row[-2]))] += row[-1]
    return found


# --- Rows of sums -----------------------------------------------------------------------------------------------------


def _add_to_days(usage: Usage, latency: Latency) -> None:
    by_day: dict[date, set[UUID]] = defaultdict(set)
    for key in usage:
        by_day[key[0]].add(key[2])
    stored = (
        row
        for day, users in by_day.items()
        for some in in_batches(sorted(users))
        for row in DailyUsage.objects.filter(day=day, user_id__in=some)
    )
    _add_usage(DailyUsage, stored, usage)
    _add_latency(DailyLatency, DailyLatency.objects.filter(day__in={key[0] for key in latency}), latency)


def _add_to_hour(hour: datetime, usage: Usage, latency: Latency) -> None:
    _add_usage(HourlyUsage, HourlyUsage.objects.filter(hour=hour), usage, hour=hour)
    _add_latency(HourlyLatency, HourlyLatency.objects.filter(hour=hour), latency, hour=hour)


def _add_usage(table: Any, stored: Iterable[Any], fresh: Usage, **when: datetime) -> None:
    """Add to the rows with sums of the same keys, which are written anew: one statement for hundreds, on every engine."""
    sums, replaced = dict(fresh), []
    for row in stored:
        key = tuple(getattr(row, name) for name in DIMENSIONS)
        if key in sums:
            sums[key] = Figures(**{name: getattr(row, name) + getattr(sums[key], name) for name in NAMES})
            replaced.append(row.pk)
    rows = [
        table(**when, **dict(zip(DIMENSIONS, key, strict=True)), **{name: getattr(figures, name) for name in NAMES})
        for key, figures in sums.items()
    ]
    _replace(table, replaced, rows)


def _add_latency(table: Any, stored: Iterable[Any], fresh: Latency, **when: datetime) -> None:
    columns = [*LATENCY, "bucket"]
    counts, replaced = dict(fresh), []
    for row in stored:
        key = tuple(getattr(row, name) for name in columns)
        if key in counts:
            counts[key] += row.requests
            replaced.append(row.pk)
    rows = [table(**when, **dict(zip(columns, key, strict=True)), requests=count) for key, count in counts.items()]
    _replace(table, replaced, rows)


def _replace(table: Any, old: list[UUID], rows: list[Any]) -> None:
    for some in in_batches(old):
        table.objects.filter(pk__in=some).delete()
    table.objects.bulk_create(rows, batch_size=500)
