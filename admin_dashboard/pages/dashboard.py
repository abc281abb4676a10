"""The operator's dashboard: the usage, cost and warnings of a time window."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import Role, User
from admin_dashboard.pages.dashboard_charts import charts
from admin_dashboard.pages.dashboard_tables import provider_health, tables, warnings
from admin_dashboard.pages.formatting import (
    RANGES,
    amount,
    charges_url,
    milliseconds,
    percent,
    range_of,
    usage_url,
    usd,
)
from admin_dashboard.reports.statistics import Statistics
from aichat.catalog.models import AIModel
from aichat.providers.registry import KEY_SETTINGS
from aichat.usage.histogram import percentile
from aichat.usage.models import UsageRecord
from aichat.usage.queries import Figures


@dataclass(frozen=True, slots=True)
class Card:
    """A figure of the dashboard, its change against the previous window, and a link to the rows it sums up."""

    name: str
    value: str
    change: str
    is_good: bool | None
    url: str


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Adds the dashboard's figures to the template context; Unfold calls it as DASHBOARD_CALLBACK."""
    if not UsageRecord.objects.exists():
        return {**context, "title": "Dashboard", "steps": first_steps()}
    chosen, window, problem = range_of(request.GET.dict())
    now, before = Statistics.of(window), Statistics.of(window.before())
    return {
        **context,
        "title": "Dashboard",
        "ranges": RANGES,
        "chosen": chosen,
        "problem": problem,
        "window": window,
        "before": window.before(),
        "cards": cards(now, before),
        "charts": charts(now),
        "tables": tables(now),
        "health": provider_health(now),
        "warnings": warnings(now),
        "query": request.GET.urlencode(),
    }


def cards(now: Statistics, before: Statistics) -> list[Card]:
    new, old = now.total, before.total
    records, users = usage_url(now.window), reverse("admin:accounts_user_changelist")
    p95, old_p95 = percentile(now.latency, 0.95), percentile(before.latency, 0.95)
    tokens, old_tokens = new.input_tokens + new.output_tokens, old.input_tokens + old.output_tokens
    return [
        Card("Requests", f"{new.requests:,}", *change(new.requests, old.requests), records),
        Card("Active users", f"{now.active:,}", *change(now.active, before.active), users),
        Card("Tokens", f"{tokens:,}", *change(tokens, old_tokens), records),
        Card("Credits charged", amount(new.charged), *change(new.charged, old.charged), charges_url(now.window)),
        Card("Provider cost", usd(new.cost_usd), *change(new.cost_nanousd, old.cost_nanousd, good=None),
             reverse("admin_reconciliation")),
        Card("Margin", usd(new.margin_usd), *change(float(new.margin_usd), float(old.margin_usd)),
             reverse("admin_reconciliation")),
        Card("Error rate", percent(new.error_rate), *points(new, old, "error_rate"),
             usage_url(now.window, failed="yes")),
        Card("Fallback rate", percent(new.fallback_rate), *points(new, old, "fallback_rate"),
             usage_url(now.window, fallback__exact=1)),
        Card("Usage not exact", percent(new.inexact_rate), *points(new, old, "inexact_rate"),
             usage_url(now.window, inexact="yes")),
        Card("Cache hit rate", percent(new.cache_hit_rate), *points(new, old, "cache_hit_rate", good=True),
             usage_url(now.window, cached__exact=1)),
        Card("Cache hits", f"{new.cache_hits:,}", *change(new.cache_hits, old.cache_hits),
             usage_url(now.window, cached__exact=1)),
        Card("Credits saved by the cache", amount(new.saved), *change(new.saved, old.saved),
             usage_url(now.window, cached__exact=1)),
        Card("Provider cost saved", usd(new.saved_usd), *change(new.saved_nanousd, old.saved_nanousd),
             usage_url(now.window, cached__exact=1)),
        Card("p95 latency", milliseconds(p95), *change(p95 or 0, old_p95 or 0, good=False), records),
    ]  # fmt: skip


def change(new: float, old: float, *, good: bool | None = True) -> tuple[str, bool | None]:
    """Return the change against the previous window in percent, and whether it is good news (`good`: a rise is good)."""
    if not old:
        return ("new" if new else "–"), None
    percent = (new - old) / abs(old) * 100
    text = f"{percent:+.0f} %" if abs(percent) < 1000 else f"× {new / old:,.0f}"
    return text, None if good is None or abs(percent) < 0.5 else (percent > 0) == good


def points(new: Figures, old: Figures, rate: str, *, good: bool = False) -> tuple[str, bool | None]:
    """Return the change of a rate in percentage points; None if the window before has no requests."""
    if not old.requests:
        return "–", None
    difference = (getattr(new, rate) - getattr(old, rate)) * 100
    return f"{difference:+.1f} pts", None if abs(difference) < 0.05 else (difference > 0) == good


def first_steps() -> list[dict[str, Any]]:
    """Return the next steps shown on an installation without any usage."""
    *others, last = KEY_SETTINGS
    return [
        {
            "done": any(getattr(settings, name) for name in KEY_SETTINGS),
            "text": f"Set {', '.join(others)} or {last}, and start again: until then a demo answers.",
            "url": reverse("admin:catalog_provider_changelist"),
        },
        {
            "done": AIModel.objects.filter(enabled=True).exists(),
            "text": "Look over the models and their prices.",
            "url": reverse("admin:catalog_aimodel_changelist"),
        },
        {
            "done": User.objects.exclude(role=Role.ADMIN).exists(),
            "text": "Add the people who will use it, or let them sign up.",
            "url": reverse("admin:accounts_user_add"),
        },
        {
            "done": False,
            "text": "Send the first chat: the API's page shows how.",
            "url": reverse("docs"),
        },
    ]
