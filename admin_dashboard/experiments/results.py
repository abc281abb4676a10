"""The results of an experiment's variants, computed from usage records and feedback.

Every query reads the experiment's own records by an index and returns sums: one row for a unit, a day, or a latency in
milliseconds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count, Q, QuerySet, Sum
from django.utils import timezone

from admin_dashboard.experiments.statistics import (
    Interval,
    Sample,
    effective_size,
    newcombe,
    sample_ratio,
    welch,
    wilson,
)
from aichat.chat.models import Feedback
from aichat.flags.models import Experiment
from aichat.usage.models import UsageRecord

CONFIDENCE = 0.95
# The p-value below which a split counts as broken; low, because it is tested every day.
MISMATCH = 0.001
NOT_ENOUGH = "Not enough data yet"

DELIVERED = Q(status="ok")
CUT_OFF = Q(status="partial") | Q(finish_reason="length")
FAILED = ~Q(status__in=["ok", "partial", "cancelled"])


class Metric(NamedTuple):
    """A metric of the results. `scale` converts the stored unit to the displayed one; `is_share`: it is a proportion."""

    label: str
    unit: str
    is_share: bool = False
    scale: float = 1.0


METRICS = {
    "cost_usd": Metric("Cost per request", "US$", scale=1e-9),
    "credits": Metric("Charge per request", "credits", scale=1e-6),
    "latency_ms": Metric("Mean latency", "ms"),
    "error_rate": Metric("Errors", "of requests", is_share=True),
    "fallback_rate": Metric("Fallbacks", "of requests", is_share=True),
    "cut_off_rate": Metric("Cut off", "of requests", is_share=True),
    "feedback": Metric("Liked", "of ratings", is_share=True),
}


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A variant's value of a metric, and its difference to the control's once there is enough data."""

    value: float | None = None
    interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None

    @property
    def is_significant(self) -> bool | None:
        return self.difference_interval.excludes_zero if self.difference_interval else None


@dataclass(slots=True)
class VariantResult:
    name: str
    weight: int
    is_control: bool
    requests: int = 0
    users: set[UUID] = field(default_factory=set)
    units: int = 0
    samples: dict[str, Sample] = field(default_factory=lambda: {name: Sample() for name in METRICS})
    latencies: list[tuple[int, int]] = field(default_factory=list)
    metrics: dict[str, MetricValue] = field(default_factory=dict)

    def percentile(self, share: float) -> int | None:
        """Return the exact number of milliseconds within which `share` of the answers came."""
        wanted = share * sum(count for _, count in self.latencies)
        for latency, count in self.latencies:
            wanted -= count
            if wanted <= 0:
                return latency
        return None

    @property
    def p50(self) -> int | None:
        return self.percentile(0.5)

    @property
    def p95(self) -> int | None:
        return self.percentile(0.95)


@dataclass(slots=True)
class Results:
    experiment: Experiment
    variants: list[VariantResult]
    days: list[Mapping[str, Any]]
    mismatch: float | None
    confidence: float

    @property
    def is_mismatched(self) -> bool:
        return self.mismatch is not None and self.mismatch < MISMATCH

    @property
    def has_enough(self) -> bool:
        return all(variant.units >= self.experiment.sample_size for variant in self.variants if variant.weight)

    @property
    def verdict(self) -> str:
        """Return the comparison in one sentence for people."""
        if self.is_mismatched:
            return (
                "The variants did not get the users their weights say: something loses some of them,"
                " so don't trust the differences."
            )
        if not self.has_enough:
            missing = ", ".join(f"{v.name} {v.units} of {self.experiment.sample_size}" for v in self.variants)
            return f"{NOT_ENOUGH}: {self.experiment.unit}s so far: {missing}."
        found = [
            f"{METRICS[name].label.lower()} of {variant.name}"
            for variant in self.variants
            for name, value in variant.metrics.items()
            if value.is_significant
        ]
        if not found:
            return "No difference to the control that chance would not explain."
        return f"Different from the control: {'; '.join(found)}."


def results_of(experiment: Experiment) -> Results:
    """Compute the results of an experiment; one that never began has no figures."""
    variants = {
        row["name"]: VariantResult(row["name"], row["weight"], is_control=number == 0)
        for number, row in enumerate(experiment.variants)
    }
    found = Results(experiment, list(variants.values()), [], None, CONFIDENCE)
    if experiment.started_at is None:
        return found
    records = records_of(experiment)
    for row in per_unit(records):
        if row["variant"] in variants:
            add_unit(variants[row["variant"]], row)
    for row in latencies(records):
        if row["variant"] in variants:
            variants[row["variant"]].latencies.append((row["latency_ms"], row["count"]))
    for row in ratings(experiment):
        if row["variant"] in variants:
            variants[row["variant"]].samples["feedback"].add(row["ratings"], row["liked"])
    found.days = [row for row in per_day(records) if row["variant"] in variants]
    found.mismatch = sample_ratio([v.units for v in found.variants], [v.weight for v in found.variants])
    compare(found)
    return found


def records_of(experiment: Experiment) -> QuerySet[UsageRecord]:
    """Return the experiment's usage records, up to the moment its results were frozen."""
    assert experiment.started_at is not None
    return UsageRecord.objects.filter(
        experiment=experiment.key, created_at__gte=experiment.started_at, created_at__lt=end_of(experiment)
    )


def end_of(experiment: Experiment) -> datetime:
    return experiment.ended_at or timezone.now()


FINAL = Q(final=True)
# Cost and charge are of all attempts, the others of the final ones.
SUMS = {
    "requests": Count("id", filter=FINAL),
    "cost": Sum("cost_nanousd"),
    "charged_sum": Sum("charged"),
    "answers": Count("id", filter=FINAL & DELIVERED),
    "latency": Sum("latency_ms", filter=FINAL & DELIVERED),
    "errors": Count("id", filter=FINAL & FAILED),
    "fallbacks": Count("id", filter=FINAL & Q(fallback=True)),
    "cut_offs": Count("id", filter=FINAL & CUT_OFF),
}


def per_unit(records: QuerySet[UsageRecord]) -> Iterator[Mapping[str, Any]]:
    """Return the sums of each unit (user or conversation)."""
    return records.values("variant", "unit", "user_id").annotate(**SUMS).order_by().iterator()


def add_unit(variant: VariantResult, row: Mapping[str, Any]) -> None:
    requests = row["requests"]
    variant.requests += requests
    variant.units += 1
    variant.users.add(row["user_id"])
    for name, n, y in (
        ("cost_usd", requests, row["cost"]),
        ("credits", requests, row["charged_sum"]),
        ("latency_ms", row["answers"], row["latency"] or 0),
        ("error_rate", requests, row["errors"]),
        ("fallback_rate", requests, row["fallbacks"]),
        ("cut_off_rate", requests, row["cut_offs"]),
    ):
        variant.samples[name].add(n, float(y))


def latencies(records: QuerySet[UsageRecord]) -> Iterable[Mapping[str, Any]]:
    """Return how often each latency occurred, the shortest first, from which percentiles are exact on every engine."""
    return (
        records.filter(FINAL & DELIVERED)
        .values("variant", "latency_ms")
        .annotate(count=Count("id"))
        .order_by("latency_ms")
    )


def ratings(experiment: Experiment) -> Iterable[Mapping[str, Any]]:
    return (
        Feedback.objects.filter(
            experiment=experiment.key, created_at__gte=experiment.started_at, created_at__lt=end_of(experiment)
        )
        .values("variant", "user_id")
        .annotate(ratings=Count("id"), liked=Count("id", filter=Q(rating=1)))
        .order_by()
    )


def per_day(records: QuerySet[UsageRecord]) -> Iterable[Mapping[str, Any]]:
    """Return the sums of each variant on each day."""
    return records.values("day", "variant").annotate(**SUMS).order_by("day", "variant")


# --- Comparison -------------------------------------------------------------------------------------------------------


def compare(found: Results) -> None:
    """Set every variant's metrics, with their differences to the control's once every variant has its sample size.

    With several variants the confidence of each comparison is raised, so that all together have `CONFIDENCE`
    (Bonferroni): more variants must not mean more false alarms.
    """
    comparisons = max(1, sum(not variant.is_control and variant.weight > 0 for variant in found.variants))
    found.confidence = 1 - (1 - CONFIDENCE) / comparisons
    control = found.variants[0]
    for variant in found.variants:
        for name, metric in METRICS.items():
            base = control.samples[name] if found.has_enough and not variant.is_control else None
            variant.metrics[name] = metric_value(metric, variant.samples[name], base, found.confidence)


def metric_value(metric: Metric, sample: Sample, control: Sample | None, confidence: float) -> MetricValue:
    """Return a variant's value of a metric; with a `control` sample also the difference to it, with its interval."""
    if sample.mean is None:
        return MetricValue()
    interval = wilson(sample.mean, effective_size(sample), confidence) if metric.is_share else None
    if control is None or control.mean is None:
        return MetricValue(sample.mean * metric.scale, interval)
    if metric.is_share:
        sizes = effective_size(sample, control), effective_size(control, sample)
        between: Interval | None = newcombe(sample.mean, sizes[0], control.mean, sizes[1], confidence)
    else:
        between = welch(sample, control, confidence)
    return MetricValue(
        sample.mean * metric.scale,
        interval,
        (sample.mean - control.mean) * metric.scale,
        Interval(between.low * metric.scale, between.high * metric.scale) if between else None,
    )
