"""The page of everybody who spent in a period, sorted by any column, also as CSV."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.models import User
from admin_dashboard.pages.formatting import RANGES, percent, range_of, usage_url, usd
from aichat.core.admin.base import rounded
from aichat.core.database.batches import column_by_key
from aichat.core.money import format_credits
from aichat.core.web.csv_export import csv_response
from aichat.usage import queries
from aichat.usage.queries import Figures
from aichat.usage.windows import Window

MOST_ROWS = 500  # on the page; CSV has all
COLUMNS = ["email", "requests", "input_tokens", "output_tokens", "images", "credits", "cost_usd", "margin_usd"]
DEFAULT = "-credits"
Person = tuple[UUID, str, Figures]
# The columns of the page, by what the query calls them: heading, what is sorted by.
SORTS: dict[str, tuple[str, Callable[[Person], Any]]] = {
    "email": ("Person", lambda row: row[1]),
    "requests": ("Requests", lambda row: row[2].requests),
    "tokens": ("Tokens", lambda row: row[2].input_tokens + row[2].output_tokens),
    "credits": ("Credits", lambda row: row[2].charged),
    "cost": ("Cost", lambda row: row[2].cost_nanousd),
    "margin": ("Margin", lambda row: row[2].margin_usd),
    "errors": ("Errors", lambda row: row[2].error_rate),
}


def spending_page(request: HttpRequest) -> HttpResponseBase:
    """Render who spent how much; `sort` names a column (with a minus: most first), `format=csv` answers all as CSV."""
    query = request.GET.dict()
    chosen, window, problem = range_of(query, default="30d")
    rows = spenders(window, query.get("sort", DEFAULT))
    if query.get("format") == "csv" and not problem:
        return csv_response(request, written(rows), "spending.csv", COLUMNS)
    context = {
        **admin.site.each_context(request),
        "title": "Spending",
        "ranges": RANGES,
        "chosen": chosen,
        "window": window,
        "problem": problem,
        "csv_query": changed(request, format="csv"),
        "columns": [heading(request, name) for name in SORTS],
        "rows": [cells(row, window) for row in rows[:MOST_ROWS]],
        "left_out": max(0, len(rows) - MOST_ROWS),
    }
    return TemplateResponse(request, "admin_dashboard/spending.html", context)


def spenders(window: Window, sort: str) -> list[Person]:
    """Return everybody with a request in the window, in the order that `sort` names, or by credits if it names none."""
    figures = {key: row for (key,), row in queries.sums(window, ("user_id",)).items()}
    emails = column_by_key(User, figures, "email")
    rows = sorted(((key, emails.get(key, ""), row) for key, row in figures.items()), key=lambda row: row[1])
    name = sort.removeprefix("-")
    _, value = SORTS.get(name, SORTS["credits"])
    return sorted(rows, key=value, reverse=sort.startswith("-") or name not in SORTS)


def written(rows: list[Person]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the CSV."""
    for _, email, row in rows:
        yield {
            "email": email,
            "requests": row.requests,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "images": row.images,
            "credits": format_credits(row.charged),
            "cost_usd": f"{row.cost_usd:f}",
            "margin_usd": f"{row.margin_usd:f}",
        }


def cells(person: Person, window: Window) -> dict[str, Any]:
    key, email, row = person
    return {
        "email": email,
        "url": reverse("admin:accounts_user_change", args=[key]),
        "requests_url": usage_url(window, user__exact=key),
        "requests": f"{row.requests:,}",
        "values": [
            f"{row.input_tokens + row.output_tokens:,}",
            rounded(row.charged),
            usd(row.cost_usd),
            usd(row.margin_usd),
            percent(row.error_rate),
        ],
    }


def heading(request: HttpRequest, name: str) -> dict[str, str]:
    """Return a column's heading, with the address that sorts by it: a second click turns the order round."""
    sort = request.GET.get("sort", DEFAULT)
    first = name if name == "email" else f"-{name}"
    turned = first.removeprefix("-") if first.startswith("-") else f"-{first}"
    return {
        "name": SORTS[name][0],
        "query": changed(request, sort=turned if sort == first else first),
        "order": ("descending" if sort.startswith("-") else "ascending") if sort.removeprefix("-") == name else "none",
    }


def changed(request: HttpRequest, **values: str) -> str:
    """Return the page's query string with other values."""
    query = request.GET.copy()
    for name, value in values.items():
        query[name] = value
    return query.urlencode()
