"""The dashboard's charts, each with links to the rows it is drawn from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from django.urls import reverse
from django.utils.safestring import SafeString

from admin_dashboard.pages.formatting import day_label, days, hours, usage_url
from admin_dashboard.reports.statistics import Statistics
from aichat.catalog.models import Provider
from aichat.core.admin.charts import COLOURS, Chart, Series
from aichat.usage import queries
from aichat.usage.histogram import Histogram, percentile
from aichat.usage.queries import Figures, Key

MOST_KINDS = 8  # of failures
MOST_NAMES = 8  # series in a chart, the sum of the others included


class DashboardChart(NamedTuple):
    chart: SafeString
    links: list[tuple[str, str]]  # text and address


def charts(now: Statistics) -> list[DashboardChart]:
    """Return the charts of a window, by day, or by hour when the window is short."""
    slots: Sequence[Any]
    groups: Mapping[Key, Figures]
    latency: Mapping[Any, Histogram]
    if now.window.is_hourly:
        slots, groups = hours(now.window), queries.hourly(now.window, ["provider", "model"])
        labels, latency = [f"{slot:%H:%M}" for slot in slots], queries.hourly_latency(now.window)
    else:
        slots, groups = days(now.window), now.groups
        labels, latency = [day_label(slot) for slot in slots], now.latency_by("day")
    by_provider, by_model = queries.regroup(groups, 0, 1), queries.regroup(groups, 0, 2)
    records = [("Usage records", usage_url(now.window))]
    money = [("Cost reconciliation", reverse("admin_reconciliation"))]
    colours = colours_of_providers()
    asked, paid = series(by_provider, slots, requests, colours), series(by_provider, slots, cost, colours)
    found = [
        DashboardChart(Chart("Requests by provider", labels, asked).bars(), records),
        DashboardChart(Chart("Cost by provider", labels, paid, "USD").bars(), money),
        DashboardChart(Chart("Tokens by model", labels, series(by_model, slots, tokens)).bars(), records),
        DashboardChart(latency_chart(labels, slots, latency), records),
    ]
    failures = list(now.failures().items())[:MOST_KINDS]
    if failures:
        bars = [Series("requests", [count for _, count in failures])]
        links = [(name, usage_url(now.window, status__exact=name)) for name, _ in failures]
        found.append(DashboardChart(Chart("Failures by kind", [name for name, _ in failures], bars).rows(), links))
    return found


def colours_of_providers() -> dict[str, int]:
    """Return the number of each provider's colour: by its place among all providers there ever were.

    So a provider keeps its colour when others are added or switched off. The last colour is for the sum of the others.
    """
    slugs = Provider.objects.order_by("pk").values_list("slug", flat=True)
    return {slug: number % (COLOURS - 1) for number, slug in enumerate(slugs)}


def requests(row: Figures) -> float:
    return row.requests


def cost(row: Figures) -> float:
    return float(row.cost_usd)


def tokens(row: Figures) -> float:
    return row.input_tokens + row.output_tokens


def latency_chart(labels: Sequence[str], slots: Sequence[Any], latency: Mapping[Any, Histogram]) -> SafeString:
    lines = [
        Series(f"p{share}", [percentile(latency.get(slot, {}), share / 100) for slot in slots]) for share in (50, 95)
    ]
    return Chart("Latency of whole answers", labels, lines, "ms").lines()


def series(
    groups: Mapping[Key, Figures],
    slots: Sequence[Any],
    value: Callable[[Figures], float],
    colours: Mapping[str, int] | None = None,
) -> list[Series]:
    """Return one series for each name (the second part of a key). Beyond MOST_NAMES the smallest are added up as one."""
    own = colours or {}
    totals: dict[str, float] = {}
    for (_, name), row in groups.items():
        totals[name] = totals.get(name, 0) + value(row)
    names = sorted(totals, key=lambda name: -totals[name])
    kept = len(names) if len(names) <= MOST_NAMES else MOST_NAMES - 1
    shown, others = names[:kept], names[kept:]
    shown.sort()  # sorted, so that a name has the same colour in every chart
    found = [
        Series(name, [value(groups.get((slot, name), Figures())) for slot in slots], own.get(name)) for name in shown
    ]
    if others:
        found.append(
            Series(
                "others",
                [sum(value(groups.get((slot, name), Figures())) for name in others) for slot in slots],
                COLOURS - 1,
            )
        )
    return found
