"""The page of the cost reconciliation, also as CSV."""

from typing import Any, NamedTuple

from django.contrib import admin
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from admin_dashboard.pages.formatting import (
    RANGES,
    amount,
    charges_url,
    day_label,
    days,
    percent,
    range_of,
    usage_url,
    usd,
)
from admin_dashboard.reports.reconciliation import COLUMNS, Reconciliation
from aichat.catalog import drift
from aichat.core.admin.charts import Chart, Series
from aichat.core.web.csv_export import csv_response
from aichat.usage.queries import Figures
from aichat.usage.windows import Window, whole_day

MOST_ROWS = 400  # on the page; CSV has all rows
HEADINGS = ["Requests", "Cost", "Credits", "Worth", "Margin", "Estimated", "Not believed", "Shortfall"]


class Cell(NamedTuple):
    text: str
    is_bad: bool = False


def reconciliation_page(request: HttpRequest) -> HttpResponseBase:
    """Render the cost providers should bill beside the credits charged; `format=csv` answers every row as CSV."""
    query = request.GET.dict()
    chosen, window, problem = range_of(query, default="30d")
    found = Reconciliation.of(window)
    if query.get("format") == "csv" and not problem:
        return csv_response(request, found.written_rows(), "reconciliation.csv", COLUMNS)
    query_of_csv = request.GET.copy()
    query_of_csv["format"] = "csv"
    marks = {finding.model: finding.text for finding in found.findings.values() if finding.is_problem}
    by_model = [line(row, model, provider, window, marks) for model, provider, row in found.by_model()]
    by_day = [
        {"day": f"{day:%Y-%m-%d}", **line(row, model, provider, day_of(window, day), marks)}
        for day, model, provider, row in found.rows[:MOST_ROWS]
    ]
    context = {
        **admin.site.each_context(request),
        "title": "Cost reconciliation",
        "ranges": RANGES,
        "chosen": chosen,
        "window": window,
        "problem": problem,
        "csv_query": query_of_csv.urlencode(),
        "cards": cards(found.total, window),
        "findings": [
            {"model": f.model, "text": f.text, "mend": f.mend, "is_command": f.mend == drift.SYNC}
            for f in sorted(found.findings.values(), key=lambda finding: not finding.is_problem)
        ],
        "chart": chart(found) if found.rows else "",
        "columns": HEADINGS,
        "tables": [("By model", "Model", by_model), ("By day and model", "Day", by_day)],
        "left_out": max(0, len(found.rows) - MOST_ROWS),
    }
    return TemplateResponse(request, "admin_dashboard/reconciliation.html", context)


def cards(total: Figures, window: Window) -> list[tuple[str, str, str]]:
    return [
        ("Provider cost", usd(total.cost_usd), usage_url(window)),
        ("Credits charged", amount(total.charged), charges_url(window)),
        ("Margin", usd(total.margin_usd), usage_url(window)),
        ("Estimated usage", percent(total.estimated_rate), usage_url(window, source__exact="ESTIMATED")),
        ("Usage not believed", percent(total.implausible_rate), usage_url(window, source__exact="IMPLAUSIBLE")),
        ("Credits not taken", amount(total.shortfall), usage_url(window, shortfall__gt=0)),
    ]


def line(row: Figures, model: str, provider: str, window: Window, marks: dict[str, str]) -> dict[str, Any]:
    """Return a row of one of the page's tables, with a link to the usage records that it sums up."""
    return {
        "model": model,
        "provider": provider,
        "url": usage_url(window, model__exact=model, provider__exact=provider),
        "mark": marks.get(model, ""),
        "values": [
            Cell(f"{row.requests:,}"),
            Cell(usd(row.cost_usd)),
            Cell(amount(row.charged)),
            Cell(usd(row.charged_usd)),
            Cell(usd(row.margin_usd), row.margin_usd < 0),
            Cell(percent(row.estimated_rate)),
            Cell(percent(row.implausible_rate), bool(row.implausible)),
            Cell(amount(row.shortfall) if row.shortfall else "–", bool(row.shortfall)),
        ],
    }


def day_of(window: Window, day: Any) -> Window:
    """Return the part of a day that lies in the window."""
    whole = whole_day(day)
    return Window(max(whole.start, window.start), min(whole.end, window.end))


def chart(found: Reconciliation) -> Any:
    slots, by_day = days(found.window), dict(found.by_day())
    rows = [by_day.get(slot, Figures()) for slot in slots]
    series = [
        Series("cost", [float(row.cost_usd) for row in rows]),
        Series("worth of the credits charged", [float(row.charged_usd) for row in rows]),
    ]
    return Chart("Cost and charge by day", [day_label(slot) for slot in slots], series, "USD").lines()
