"""Answers questions about usage: sums by any dimension over any time, from the roll-ups and the records since.

`aichat/usage/windows.py` decides which part of a window is read from where.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncHour

from aichat.catalog import snapshot
from aichat.core.database.batches import in_batches
from aichat.core.money import CREDIT
from aichat.usage.histogram import bucket
from aichat.usage.models import DailyLatency, DailyUsage, HourlyLatency, HourlyUsage, UsageRecord
from aichat.usage.windows import FigureSources, Window

NANO = 10**9
FINE = ("ok", "cancelled")  # how a request may end without being a failure
Key = tuple[Any, ...]


@dataclass(slots=True)
class Figures:
    """Sums of usage. Money in microcredits and billionths of a US dollar."""

    attempts: int = 0
    requests: int = 0
    failures: int = 0
    fallbacks: int = 0
    cache_hits: int = 0
    estimated: int = 0
    implausible: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    images: int = 0
    characters: int = 0
    audio_ms: int = 0
    charged: int = 0
    shortfall: int = 0
    cost_nanousd: int = 0
    saved: int = 0
    saved_nanousd: int = 0
    # Of cached answers: parts of the tokens above.
    hit_input_tokens: int = 0
    hit_cached_input_tokens: int = 0
    hit_output_tokens: int = 0

    def add(self, row: "Figures") -> None:
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(row, name))

    @property
    def cost_usd(self) -> Decimal:
        return Decimal(self.cost_nanousd) / NANO

    @property
    def saved_usd(self) -> Decimal:
        return Decimal(self.saved_nanousd) / NANO

    @property
    def audio_minutes(self) -> float:
        """Minutes of the audio that was transcribed."""
        return round(self.audio_ms / 60_000, 2)

    @property
    def charged_usd(self) -> Decimal:
        """What the credits charged are worth (CREDITS_PER_USD)."""
        worth = Decimal(self.charged) / CREDIT / (settings.CREDITS_PER_USD or 1)
        return worth.quantize(Decimal("1e-9"))

    @property
    def margin_usd(self) -> Decimal:
        """What the credits charged are worth less what the providers bill us, in US dollars."""
        return self.charged_usd - self.cost_usd

    def share(self, part: int) -> float:
        """A part of the requests, from 0 to 1."""
        return round(part / self.requests, 4) if self.requests else 0.0

    @property
    def error_rate(self) -> float:
        return self.share(self.failures)

    @property
    def fallback_rate(self) -> float:
        return self.share(self.fallbacks)

    @property
    def cache_hit_rate(self) -> float:
        return self.share(self.cache_hits)

    @property
    def estimated_rate(self) -> float:
        return self.share(self.estimated)

    @property
    def implausible_rate(self) -> float:
        return self.share(self.implausible)

    @property
    def inexact_rate(self) -> float:
        """The share of requests whose figures are not the provider's own, from 0 to 1."""
        return self.share(self.estimated + self.implausible)


NAMES = [field.name for field in fields(Figures)]
FINAL = Q(final=True)
COUNTED = {
    "attempts": Count("id"),
    "requests": Count("id", filter=FINAL),
    "failures": Count("id", filter=FINAL & ~Q(status__in=FINE)),
    "fallbacks": Count("id", filter=FINAL & Q(fallback=True)),
    "cache_hits": Count("id", filter=FINAL & Q(cached=True)),
    "estimated": Count("id", filter=FINAL & Q(source=UsageRecord.Source.ESTIMATED)),
    "implausible": Count("id", filter=FINAL & Q(source=UsageRecord.Source.IMPLAUSIBLE)),
    "hit_input_tokens": Sum("input_tokens", filter=Q(cached=True), default=0),
    "hit_cached_input_tokens": Sum("cached_input_tokens", filter=Q(cached=True), default=0),
    "hit_output_tokens": Sum("output_tokens", filter=Q(cached=True), default=0),
}
# Prefixed, because an annotation may not be called as a column.
OF_RECORDS = {f"sum_{name}": COUNTED.get(name) or Sum(name) for name in NAMES}
OF_SUMS = {f"sum_{name}": Sum(name) for name in NAMES}


def sums(window: Window, by: Sequence[str] = (), **only: Any) -> dict[Key, Figures]:
    """The figures of a window by the columns `by`, of the rows that the conditions `only` leave (`user=…`, `model=…`)."""
    source = FigureSources.of(window)
    found: dict[Key, Figures] = defaultdict(Figures)
    if source.days is not None:
        collect(DailyUsage.objects.filter(source.days, **spelled(only)), by, OF_SUMS, found)
    if source.hours is not None:
        collect(HourlyUsage.objects.filter(source.hours, **spelled(only)), by, OF_SUMS, found)
    if source.records is not None:
        collect(UsageRecord.objects.filter(source.records, **spelled(only)), by, OF_RECORDS, found)
    return dict(found)


def hourly(window: Window, by: Sequence[str] = (), **only: Any) -> dict[Key, Figures]:
    """The figures of a window by hour (the first of the key) and by the columns `by`, as `sums` answers them.

    A window of the last days is read from hourly roll-ups; of an older one each record is read."""
    source = FigureSources.of(window, by_hour=True)
    found: dict[Key, Figures] = defaultdict(Figures)
    if source.hours is not None:
        collect(HourlyUsage.objects.filter(source.hours, **spelled(only)), ["hour", *by], OF_SUMS, found)
    if source.records is not None:
        records = UsageRecord.objects.filter(source.records, **spelled(only)).annotate(hour=TruncHour("created_at"))
        collect(records, ["hour", *by], OF_RECORDS, found)
    return dict(found)


def spelled(only: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions, with a model's slug replaced by all names that the model ever had."""
    if "model" not in only:
        return dict(only)
    names = snapshot.current().names_of(only["model"])
    return {**{name: value for name, value in only.items() if name != "model"}, "model__in": names}


def key_of(by: Sequence[str], values: Sequence[Any]) -> Key:
    """The key of a row, with the model's present slug: figures from before a rename count under the new name."""
    if "model" not in by:
        return tuple(values)
    catalog = snapshot.current()
    return tuple(catalog.slug_of(value) if name == "model" else value for name, value in zip(by, values, strict=True))


def collect(rows: QuerySet[Any], by: Sequence[str], amounts: Mapping[str, Any], into: dict[Key, Figures]) -> None:
    grouped = rows.order_by().values(*by).annotate(**amounts) if by else [rows.order_by().aggregate(**amounts)]
    for row in grouped:
        figures = Figures(**{name: row[f"sum_{name}"] or 0 for name in NAMES})
        if figures.attempts:
            into[key_of(by, [row[name] for name in by])].add(figures)


def total(groups: Mapping[Key, Figures]) -> Figures:
    result = Figures()
    for figures in groups.values():
        result.add(figures)
    return result


def regroup(groups: Mapping[Key, Figures], *positions: int) -> dict[Key, Figures]:
    """Add the figures up by fewer columns: those at these positions of the keys."""
    found: dict[Key, Figures] = defaultdict(Figures)
    for key, figures in groups.items():
        found[tuple(key[position] for position in positions)].add(figures)
    return dict(found)


# --- People -----------------------------------------------------------------------------------------------------------


def active_users(window: Window, by: Sequence[str] = (), **only: Any) -> dict[Key, int]:
    """How many different people made a request, by the columns `by`; without columns the key is `()`."""
    source = FigureSources.of(window)
    counts: dict[Key, int] = defaultdict(int)
    fresh: set[tuple[Key, Any]] = set()
    for table, condition in ((HourlyUsage, source.hours), (UsageRecord, source.records)):
        if condition is not None:
            rows = table.objects.filter(condition, **spelled(only)).order_by()
            # The day is read though nobody asks for it: without it, SQLite takes the index by user and goes through the
            # whole table, instead of the index by time.
            fresh |= {(key_of(by, row[:-2]), row[-2]) for row in rows.values_list(*by, "user_id", "day").distinct()}
    if source.days is not None:
        days = DailyUsage.objects.filter(source.days, **spelled(only)).order_by()
        if by:
            for row in days.values(*by).annotate(people=Count("user_id", distinct=True)):
                counts[key_of(by, [row[name] for name in by])] += row["people"]
        else:
            # Not `Count(distinct=True)`: MongoDB answers it with an error when there are no rows.
            counts[()] += days.values("user_id").distinct().count()
        for some in in_batches({user for _, user in fresh}):
            known = days.filter(user_id__in=some).values_list(*by, "user_id").distinct()
            fresh -= {(key_of(by, row[:-1]), row[-1]) for row in known}
    for key, _ in fresh:
        counts[key] += 1
    return dict(counts)


# --- Latency and failures ---------------------------------------------------------------------------------------------


def endings(window: Window, by: Sequence[str] = (), **only: Any) -> dict[Key, dict[int, int]]:
    """The latency histograms of requests by the columns `by` and by status, which is the last of the key."""
    source = FigureSources.of(window)
    found: dict[Key, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    columns = [*by, "status"]
    for table, condition in ((DailyLatency, source.days), (HourlyLatency, source.hours)):
        if condition is not None:
            rows = table.objects.filter(condition, **spelled(only)).order_by()
            for row in rows.values_list(*columns, "bucket").annotate(n=Sum("requests")):
                found[key_of(columns, row[:-2])][row[-2]] += row[-1]
    if source.records is not None:
        records = UsageRecord.objects.filter(source.records, FINAL, **spelled(only)).order_by()
        for row in records.values_list(*columns, "latency_ms").annotate(n=Count("id")):
            found[key_of(columns, row[:-2])][bucket(row[-2])] += row[-1]
    return {key: dict(histogram) for key, histogram in found.items()}


def hourly_latency(window: Window) -> dict[datetime, dict[int, int]]:
    """The latency histograms of the requests of a window that were answered whole, by hour."""
    source = FigureSources.of(window, by_hour=True)
    found: dict[datetime, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    if source.hours is not None:
        hours = HourlyLatency.objects.filter(source.hours, status="ok").order_by()
        for hour, number, count in hours.values_list("hour", "bucket").annotate(n=Sum("requests")):
            found[hour][number] += count
    if source.records is not None:
        records = UsageRecord.objects.filter(source.records, FINAL, status="ok").annotate(hour=TruncHour("created_at"))
        for hour, latency, count in records.order_by().values_list("hour", "latency_ms").annotate(n=Count("id")):
            found[hour][bucket(latency)] += count
    return found


def merged(histograms: Iterator[Mapping[int, int]]) -> dict[int, int]:
    result: dict[int, int] = defaultdict(int)
    for histogram in histograms:
        for number, count in histogram.items():
            result[number] += count
    return dict(result)


def answered(groups: Mapping[Key, Mapping[int, int]], *key: Any) -> dict[int, int]:
    """The latency histogram of the requests that were answered whole, in the groups whose key begins with `key`."""
    return merged(h for k, h in groups.items() if k[-1] == "ok" and k[: len(key)] == key)
