"""The page of one request: everything recorded under its ID, for support."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from accounts.tenancy import as_id
from admin_dashboard.pages.formatting import milliseconds
from admin_dashboard.reports import requests
from admin_dashboard.reports.statistics import dollars
from aichat.core.admin.base import link_to
from aichat.core.errors import NotFound
from aichat.core.money import format_credits
from aichat.usage.queries import Figures


def find_request(request: HttpRequest) -> HttpResponse:
    """Redirect from the dashboard's search box to the page of the request."""
    request_id = request.GET.get("id", "").strip()
    return redirect("admin_request", request_id) if request_id and "/" not in request_id else redirect("admin:index")


def request_page(request: HttpRequest, request_id: str) -> HttpResponse:
    """Render everything recorded under one request ID; of one organization with the query parameter `organization`."""
    chosen = request.GET.get("organization", "")
    try:
        rows = requests.found(request_id, as_id(chosen) if chosen else None)
    except NotFound:
        raise Http404 from None
    body = {
        **admin.site.each_context(request),
        "title": f"Request {request_id}",
        "request_id": request_id,
        "organizations": requests.organizations_of(rows),
        "is_empty": not any(rows.values()),
        "sections": [section(name, rows[name]) for name in rows if rows[name]],
    }
    return TemplateResponse(request, "admin_dashboard/request.html", body)


def section(name: str, rows: list[Any]) -> dict[str, Any]:
    columns, values = SECTIONS[name]
    return {"title": name.capitalize(), "columns": columns, "rows": [values(row) for row in rows]}


def when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


SECTIONS: dict[str, tuple[list[str], Any]] = {
    "usage": (
        ["When", "User", "Model", "Provider", "Status", "Tokens in", "Tokens out", "Credits", "Cost (USD)", "Latency"],
        lambda row: [
            link_to(row, when(row.created_at)), link_to(row.user), row.model, row.provider, row.status, row.input_tokens,
            row.output_tokens, format_credits(row.charged), dollars(Figures(cost_nanousd=row.cost_nanousd).cost_usd),
            milliseconds(row.latency_ms),
        ],
    ),
    "holds": (
        ["When", "Organization", "Credits", "State", "Closed"],
        lambda row: [
            link_to(row, when(row.created_at)), link_to(row.wallet, row.wallet.organization),
            format_credits(row.amount), row.state, when(row.closed_at) if row.closed_at else "–",
        ],
    ),
    "entries": (
        ["When", "Organization", "Kind", "Amount", "Balance after", "By", "Reason"],
        lambda row: [
            link_to(row, when(row.created_at)), link_to(row.wallet, row.wallet.organization), row.kind,
            format_credits(row.amount), format_credits(row.balance_after), row.actor or "–", row.reason or "–",
        ],
    ),
    "messages": (
        ["When", "Conversation", "Role", "Content"],
        lambda row: [when(row.created_at), link_to(row.conversation), row.role, row.content[:500]],
    ),
    "jobs": (
        ["When", "User", "Prompt", "Status", "Model", "Credits"],
        lambda row: [
            link_to(row, when(row.created_at)), link_to(row.user), row.prompt[:200], row.status, row.model,
            format_credits(row.charged),
        ],
    ),
    "changes": (
        ["When", "By", "What", "Change"],
        lambda row: [link_to(row, when(row.action_time)), row.user, row.object_repr, row.get_change_message()],
    ),
}  # fmt: skip
