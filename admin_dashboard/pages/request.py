"""The page of one request: everything recorded under its ID, for support."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from accounts.models import AccessToken
from accounts.tenancy import as_id
from admin_dashboard.pages.formatting import milliseconds
from admin_dashboard.reports import requests
from admin_dashboard.reports.statistics import dollars
from aichat.core.admin.base import link_to, rounded
from aichat.core.errors import NotFound
from aichat.core.money import credits_in_words, format_credits
from aichat.providers.errors import AttemptOutcome
from aichat.usage.models import UsageRecord
from aichat.usage.queries import Figures
from credits.admin import left_of
from credits.models import LedgerEntry
from credits.services import Kind

OTHER_ENDINGS = {
    "partial": "It broke off: what was delivered is charged.",
    "cancelled": "The client left before the end.",
}
MOST_REFUNDS = 5  # buttons
DELIVERED = {AttemptOutcome.OK, "partial", "cancelled"}


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
        "facts": facts(rows),
        "timeline": timeline(rows),
        "refunds": refunds(rows["entries"]),
        "log_query": f'"request_id":"{request_id}"',
        "sections": [section(name, rows[name]) for name in rows if rows[name]],
    }
    return TemplateResponse(request, "admin_dashboard/request.html", body)


# --- In words ---------------------------------------------------------------------------------------------------------


def facts(rows: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    """Return the facts that an operator asks for first, of the attempt that ended the request; empty without usage."""
    if not rows["usage"]:
        return []
    last = next((row for row in reversed(rows["usage"]) if row.final), rows["usage"][-1])
    marks = [
        text for text, holds in (("from the prompt cache", last.cached), ("by a fallback", last.fallback)) if holds
    ]
    served = f"{last.model} of {last.provider}" + (f" ({', '.join(marks)})" if marks else "")
    found = [
        ("Ended", in_words(last.status)),
        ("Asked for", last.requested_model),
        ("Served by" if last.status in DELIVERED else "Last tried", served),
        ("By", link_to(last.user)),
        ("With", key_of(last)),
        ("Charged", rounded(sum(row.charged for row in rows["usage"]))),
        ("How", "streamed" if last.streamed else "one answer"),
    ]
    if last.experiment:
        found.append(("Experiment", f"{last.experiment}: {last.variant}"))
    return found


def in_words(status: str) -> str:
    """Return how an attempt ended, for people who have never seen the code."""
    if status in OTHER_ENDINGS:
        return OTHER_ENDINGS[status]
    return AttemptOutcome(status).in_words if status in set(AttemptOutcome) else status


def key_of(row: UsageRecord) -> SafeString | str:
    """Return a link to the key or login of a request, under whatever secret it has now."""
    if row.api_key_id is None:
        return "a login, or a key that is not kept"
    key = AccessToken.objects.filter(id=row.api_key_id).first()
    return link_to(key) if key else f"a key that is gone ({row.api_key_id})"


def timeline(rows: dict[str, list[Any]]) -> list[tuple[str, str]]:
    """Return what happened when, oldest first: credits held, each attempt, its first token, its end, credits moved."""
    moments: list[tuple[datetime, str]] = []  # those of the same instant in the order of cause and effect
    for hold in rows["holds"]:
        moments.append((hold.created_at, f"{credits_in_words(hold.amount)} held"))
    for row in rows["usage"]:
        name = f"Attempt {row.attempt}, {row.model} of {row.provider}"
        began = row.created_at - timedelta(milliseconds=row.latency_ms)
        moments.append((began, f"{name}: asked"))
        if row.first_token_ms is not None:
            moments.append((began + timedelta(milliseconds=row.first_token_ms), f"{name}: first token"))
        moments.append((row.created_at, f"{name}: {in_words(row.status)}"))
    moments += [
        (entry.created_at, f"{entry.kind.capitalize()} of {credits_in_words(abs(entry.amount))}")
        for entry in rows["entries"]
    ]
    moments += [(hold.closed_at, f"Hold {hold.state.lower()}") for hold in rows["holds"] if hold.closed_at]
    return [(when(moment), text) for moment, text in sorted(moments, key=lambda pair: pair[0])]


def refunds(entries: list[LedgerEntry]) -> list[tuple[str, str]]:
    """Return the text and address of a refund button for each of the first MOST_REFUNDS charges that can be given back."""
    found = []
    for entry in [entry for entry in entries if entry.kind == Kind.CHARGE][:MOST_REFUNDS]:
        if left := left_of(entry):
            address = reverse("admin:credits_ledgerentry_give_back", args=[entry.pk])
            found.append((f"Refund {credits_in_words(left)}", address))
    return found


def section(name: str, rows: list[Any]) -> dict[str, Any]:
    columns, values = SECTIONS[name]
    return {"title": name.capitalize(), "columns": columns, "rows": [values(row) for row in rows]}


def when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


SECTIONS: dict[str, tuple[list[str], Any]] = {
    "usage": (
        ["When", "User", "Model", "Provider", "Status", "Tokens in", "Tokens out", "Credits", "Cost (USD)", "Latency"],
        lambda row: [
            link_to(row, when(row.created_at)), link_to(row.user), row.model, row.provider, in_words(row.status),
            row.input_tokens,
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
