"""An experiment's results as JSON, as CSV and as the chart's series."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from admin_dashboard.experiments.results import METRICS, MetricValue, Results, VariantResult

DAILY = {
    "requests": ("requests", None),
    "cost_usd": ("cost", "requests"),
    "credits": ("charged_sum", "requests"),
    "latency_ms": ("latency", "answers"),
    "error_rate": ("errors", "requests"),
    "fallback_rate": ("fallbacks", "requests"),
    "cut_off_rate": ("cut_offs", "requests"),
}


def by_day(found: Results) -> list[dict[str, Any]]:
    """Return the figures of each variant on each day, one row for each pair."""
    rows = []
    for day in found.days:
        row: dict[str, Any] = {"day": day["day"], "variant": day["variant"]}
        for name, (amount, of) in DAILY.items():
            scale = METRICS[name].scale if name in METRICS else 1
            row[name] = day[amount] if of is None else float(day[amount] or 0) / day[of] * scale if day[of] else None
        rows.append(row)
    return rows


def as_json(found: Results) -> dict[str, Any]:
    row = found.experiment
    return {
        "key": row.key,
        "status": row.status,
        "winner": row.winner or None,
        "unit": row.unit,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "sample_size": row.sample_size,
        "enough_data": found.has_enough,
        "verdict": found.verdict,
        "confidence": found.confidence,
        "sample_ratio": {"p_value": found.mismatch, "mismatch": found.is_mismatched},
        "variants": [_variant(variant) for variant in found.variants],
        "by_day": by_day(found),
    }


def _variant(variant: VariantResult) -> dict[str, Any]:
    return {
        "name": variant.name,
        "weight": variant.weight,
        "control": variant.is_control,
        "requests": variant.requests,
        "users": len(variant.users),
        "units": variant.units,
        "latency_ms": {"p50": variant.p50, "p95": variant.p95},
        "ratings": variant.samples["feedback"].n,
        "metrics": {
            name: {
                "value": found.value,
                "interval": found.interval,
                "difference": found.difference,
                "difference_interval": found.difference_interval,
                "significant": found.is_significant,
            }
            for name, found in variant.metrics.items()
        },
    }


def as_rows(found: Results) -> Iterator[list[Any]]:
    """Yield the results table as CSV rows; the first row names the columns."""
    columns = [
        f"{name}{part}" for name in METRICS for part in ("", "_difference", "_difference_low", "_difference_high")
    ]
    yield ["variant", "weight", "requests", "users", "units", "latency_p50_ms", "latency_p95_ms", "ratings", *columns]
    for variant in found.variants:
        values: list[Any] = []
        for name in METRICS:
            item = variant.metrics.get(name, MetricValue())
            low, high = item.difference_interval or ("", "")
            values += [_blank(item.value), _blank(item.difference), low, high]
        yield [
            variant.name,
            variant.weight,
            variant.requests,
            len(variant.users),
            variant.units,
            _blank(variant.p50),
            _blank(variant.p95),
            variant.samples["feedback"].n,
            *values,
        ]


def _blank(value: float | None) -> float | str:
    return "" if value is None else value


def daily_series(found: Results, name: str) -> tuple[list[Any], dict[str, list[float]]]:
    """Return the chart's days, and each variant's values of the metric by day (0 where nothing was measured)."""
    rows = by_day(found)
    days = sorted({row["day"] for row in rows})
    values: dict[str, dict[Any, float]] = defaultdict(dict)
    for row in rows:
        values[row["variant"]][row["day"]] = row[name] or 0.0
    return days, {v.name: [values[v.name].get(day, 0.0) for day in days] for v in found.variants}
