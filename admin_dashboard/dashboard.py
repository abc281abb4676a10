"""The page an operator opens every morning: what happened, what it cost, what needs a look; and the request finder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.models import Role, User
from admin_dashboard import requests
from admin_dashboard.statistics import Statistics, dollars
from aichat.admin import link_to
from aichat.catalog.models import AIModel
from aichat.charts import Chart, Series
from aichat.errors import InvalidRequest
from aichat.money import CREDIT, format_credits
from aichat.usage import figures
from aichat.usage.figures import Figures, Window
from aichat.usage.latency import percentile
from aichat.usage.models import UsageRecord
from aichat.usage.windows import look_up, window_of
from credits.models import Wallet

RANGES = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "custom": "Custom"}
TOP = 8
LOW = 5 * CREDIT  # a wallet with less, of somebody who was active, is worth a warning


@dataclass(frozen=True, slots=True)
class Card:
    """A figure, how it changed against the window before, and the rows behind it."""

    name: str
    value: str
    change: str
    is_good: bool | None
    url: str


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's DASHBOARD_CALLBACK."""
    if not UsageRecord.objects.exists():
        return {**context, "title": "Dashboard", "steps": first_steps()}
    chosen, window, problem = range_of(request)
    now, before = Statistics.of(window), Statistics.of(window.before())
    return {
        **context,
        "title": "Dashboard",
        "ranges": RANGES,
        "chosen": chosen,
        "problem": problem,
        "window": window,
        "cards": cards(now, before),
        "charts": charts(now),
        "tables": tables(now),
        "warnings": warnings(now),
    }


def range_of(request: HttpRequest) -> tuple[str, Window, str]:
    """The name of the range, the range, and what is wrong with a custom one."""
    match request.GET.get("range", "7d"):
        case "24h":
            return "24h", Window.last(timedelta(hours=24)), ""
        case "30d":
            return "30d", Window.last_days(30), ""
        case "custom":
            try:
                return "custom", window_of(request.GET.dict()), ""
            except InvalidRequest as error:
                return "custom", Window.last_days(7), error.message
    return "7d", Window.last_days(7), ""


# --- Cards ------------------------------------------------------------------------------------------------------------


def cards(now: Statistics, before: Statistics) -> list[Card]:
    new, old = now.total, before.total
    records, users = usage_url(now.window), reverse("admin:accounts_user_changelist")
    p95, old_p95 = percentile(now.latency, 0.95), percentile(before.latency, 0.95)
    return [
        Card("Requests", f"{new.requests:,}", *change(new.requests, old.requests), records),
        Card("Active users", f"{now.active:,}", *change(now.active, before.active), users),
        Card("Credits charged", amount(new.charged), *change(new.charged, old.charged), charges_url(now.window)),
        Card("Provider cost", usd(new), *change(new.cost_nanousd, old.cost_nanousd, good=None), records),
        Card("Margin", f"${new.margin_usd:,.2f}", *change(float(new.margin_usd), float(old.margin_usd)), records),
        Card("Error rate", percent(new.error_rate), *points(new.error_rate, old.error_rate), records),
        Card("Fallback rate", percent(new.fallback_rate), *points(new.fallback_rate, old.fallback_rate),
             usage_url(now.window, fallback__exact=1)),
        Card("Cache hit rate", percent(new.cache_hit_rate), *points(new.cache_hit_rate, old.cache_hit_rate, good=True),
             usage_url(now.window, cached__exact=1)),
        Card("p95 latency", milliseconds(p95), *change(p95 or 0, old_p95 or 0, good=False), records),
    ]  # fmt: skip


def change(new: float, old: float, *, good: bool | None = True) -> tuple[str, bool | None]:
    """Against the window before, in percent, and whether that is good news (`good`: a rise is)."""
    if not old:
        return ("new" if new else "–"), None
    percent = (new - old) / abs(old) * 100
    text = f"{percent:+.0f} %" if abs(percent) < 1000 else f"× {new / old:,.0f}"
    return text, None if good is None or abs(percent) < 0.5 else (percent > 0) == good


def points(new: float, old: float, *, good: bool = False) -> tuple[str, bool | None]:
    """The change of a rate, in percentage points."""
    difference = (new - old) * 100
    return f"{difference:+.1f} pts", None if abs(difference) < 0.05 else (difference > 0) == good


def amount(microcredits: int) -> str:
    return f"{microcredits / CREDIT:,.0f}" if abs(microcredits) >= 100 * CREDIT else format_credits(microcredits)


def usd(row: Figures) -> str:
    return f"${row.cost_usd:,.2f}" if row.cost_usd >= 1 or not row.cost_usd else f"${row.cost_usd:.4f}"


def percent(rate: float) -> str:
    return f"{rate * 100:.1f} %"


def milliseconds(value: int | None) -> str:
    return "–" if value is None else f"{value:,} ms" if value < 10_000 else f"{value / 1000:.1f} s"


def usage_url(window: Window, **more: Any) -> str:
    return listing("usage_usagerecord", window, **more)


def charges_url(window: Window) -> str:
    return listing("credits_ledgerentry", window, kind__exact="CHARGE")


def listing(page: str, window: Window, **more: Any) -> str:
    span = {
        "created_at__gte": f"{window.start:%Y-%m-%d %H:%M:%S%z}",
        "created_at__lt": f"{window.end:%Y-%m-%d %H:%M:%S%z}",
    }
    return f"{reverse(f'admin:{page}_changelist')}?{urlencode({**span, **more})}"


# --- Charts -----------------------------------------------------------------------------------------------------------


def charts(now: Statistics) -> list[str]:
    """By day, or by hour when the window is short."""
    slots: Sequence[Any]
    if now.window.is_hourly:
        slots, groups = hours(now.window), figures.hourly(now.window, ["provider", "model"])
        labels = [f"{slot:%H:%M}" for slot in slots]
    else:
        slots = days(now.window)
        groups = {(key[0], *key[1:]): row for key, row in now.groups.items()}
        labels = [f"{slot:%b} {slot.day}" for slot in slots]
    by_provider, by_model = figures.regroup(groups, 0, 1), figures.regroup(groups, 0, 2)
    pictures: list[str] = [
        Chart("Requests by provider", labels, series(by_provider, slots, lambda row: row.requests)).bars(),
        Chart("Cost by provider", labels, series(by_provider, slots, lambda row: float(row.cost_usd)), "USD").bars(),
        Chart(
            "Tokens by model", labels, series(by_model, slots, lambda row: row.input_tokens + row.output_tokens)
        ).bars(),
    ]
    if not now.window.is_hourly:
        by_day = now.latency_by("day")
        lines = [
            Series(f"p{share}", [percentile(by_day.get(slot, {}), share / 100) or 0 for slot in slots])
            for share in (50, 95, 99)
        ]
        pictures.append(Chart("Latency of answered requests", labels, lines, "ms").lines())
    failures = now.failures()
    if failures:
        shown = list(failures.items())[:TOP]
        bars = [Series("requests", [count for _, count in shown])]
        pictures.append(Chart("Failures by kind", [name for name, _ in shown], bars).bars())
    return pictures


def series(groups: Mapping[Any, Figures], slots: Sequence[Any], value: Any) -> list[Series]:
    """A series for each name (the second of the key); beyond eight, the smaller ones are one."""
    totals: dict[str, float] = {}
    for (_, name), row in groups.items():
        totals[name] = totals.get(name, 0) + value(row)
    names = sorted(totals, key=lambda name: -totals[name])
    shown, others = (names, []) if len(names) <= 8 else (names[:7], names[7:])
    shown.sort()  # so that a name has one colour in every chart
    found = [Series(name, [value(groups.get((slot, name), Figures())) for slot in slots]) for name in shown]
    if others:
        found.append(
            Series("others", [sum(value(groups.get((slot, name), Figures())) for name in others) for slot in slots])
        )
    return found


def days(window: Window) -> list[date]:
    first = window.start.astimezone(UTC).date()
    last = (window.end - timedelta(microseconds=1)).astimezone(UTC).date()
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def hours(window: Window) -> list[datetime]:
    first = window.start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    count = int((window.end - first).total_seconds() // 3600) + 1
    return [first + timedelta(hours=number) for number in range(count)]


# --- Tables and warnings ----------------------------------------------------------------------------------------------


def tables(now: Statistics) -> list[dict[str, Any]]:
    models = sorted(now.by("model").items(), key=lambda item: -item[1].charged)[:TOP]
    people = sorted(figures.sums(now.window, ["user_id"]).items(), key=lambda item: -item[1].charged)[:TOP]
    emails = look_up(User, [key for key, _ in people], "email")
    variants = [
        (f"{key[0]}: {key[1]}", usage_url(now.window, experiment__exact=key[0], variant__exact=key[1]), row)
        for key, row in sorted(figures.sums(now.window, ["experiment", "variant"]).items())
        if key[0]
    ]
    found = [
        table("Top models", ((slug, usage_url(now.window, model__exact=slug), row) for slug, row in models)),
        table(
            "Top users",
            ((emails.get(key[0], "?"), usage_url(now.window, user__exact=key[0]), row) for key, row in people),
        ),
    ]
    return [*found, table("Experiments", variants)] if variants else found


def table(title: str, rows: Any) -> dict[str, Any]:
    return {
        "title": title,
        "rows": [
            {
                "name": name,
                "url": url,
                "requests": f"{row.requests:,}",
                "credits": amount(row.charged),
                "cost": usd(row),
                "errors": percent(row.error_rate),
            }
            for name, url, row in rows
        ],
    }


def warnings(now: Statistics) -> list[dict[str, str]]:
    """What costs money or will annoy somebody soon."""
    found = []
    for slug, row in now.by("model").items():
        if row.margin_usd < 0:
            text = f"{slug} loses money: {dollars(row.margin_usd)} USD margin in this time. Raise its price."
            found.append({"text": text, "url": f"{reverse('admin:catalog_aimodel_changelist')}?q={slug}"})
    if now.total.shortfall:
        text = f"{amount(now.total.shortfall)} credits could not be taken: usage beyond what was held and available."
        found.append({"text": text, "url": usage_url(now.window, shortfall__gt=0)})
    for model in AIModel.objects.filter(enabled=True, prices=None)[:TOP]:
        url = reverse("admin:catalog_aimodel_change", args=[model.pk])
        found.append({"text": f"{model.slug} has no price and can't be called.", "url": url})
    low = Wallet.objects.select_related("organization").filter(available__lt=LOW, sequence__gt=1)
    for wallet in low.order_by("available")[:5]:
        url = reverse("admin:credits_wallet_change", args=[wallet.pk])
        text = f"{wallet.organization} has {format_credits(wallet.available)} credits left."
        found.append({"text": text, "url": url})
    return found


def first_steps() -> list[dict[str, Any]]:
    """What an empty installation needs before there is anything to show."""
    has_key = bool(settings.OPENAI_API_KEY or settings.GEMINI_API_KEY)
    return [
        {
            "done": has_key,
            "text": "Set GEMINI_API_KEY or OPENAI_API_KEY and start again; until then a demo model answers.",
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
        {"done": False, "text": "Send the first chat: the API's page shows how.", "url": "/api/docs/"},
    ]


# --- One request ------------------------------------------------------------------------------------------------------


def find_request(request: HttpRequest) -> HttpResponse:
    """The box of the dashboard: on to the request's own page."""
    request_id = request.GET.get("id", "").strip()
    return redirect("admin_request", request_id) if request_id and "/" not in request_id else redirect("admin:index")


def request_page(request: HttpRequest, request_id: str) -> HttpResponse:
    """Everything one request did."""
    rows = requests.found(request_id)
    body = {
        **admin.site.each_context(request),
        "title": f"Request {request_id}",
        "request_id": request_id,
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
