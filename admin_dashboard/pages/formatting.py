"""Formats figures for the operator's pages, and links them to the lists of their rows."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from aichat.core.errors import InvalidRequest
from aichat.core.money import CREDIT, format_credits
from aichat.usage.query_params import window_of
from aichat.usage.windows import Window

RANGES = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}


def range_of(query: Mapping[str, str], default: str = "7d") -> tuple[str, Window, str]:
    """Return the name of the requested range (or `custom`), the range itself, and the problem of an invalid custom range."""
    chosen, problem = query.get("range", default), ""
    if chosen == "custom":
        try:
            return chosen, window_of(query), ""
        except InvalidRequest as error:
            problem = error.message
    elif chosen not in RANGES:
        chosen = default
    shown = default if problem else chosen
    window = Window.last(timedelta(hours=24)) if shown == "24h" else Window.last_days(30 if shown == "30d" else 7)
    return chosen, window, problem


# --- Figures ----------------------------------------------------------------------------------------------------------


def amount(microcredits: int) -> str:
    return f"{microcredits / CREDIT:,.0f}" if abs(microcredits) >= 100 * CREDIT else format_credits(microcredits)


def usd(value: Decimal) -> str:
    """Return US dollars with cents, or with four decimal places below one cent."""
    sign, size = "-" if value < 0 else "", abs(value)
    return f"{sign}${size:,.2f}" if size >= 1 or not size else f"{sign}${size:.4f}"


def percent(rate: float) -> str:
    return f"{rate * 100:.1f} %"


def milliseconds(value: int | None) -> str:
    return "–" if value is None else f"{value:,} ms" if value < 10_000 else f"{value / 1000:.1f} s"


# --- Slots of a chart -------------------------------------------------------------------------------------------------


def days(window: Window) -> list[date]:
    first = window.start.astimezone(UTC).date()
    last = (window.end - timedelta(microseconds=1)).astimezone(UTC).date()
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def hours(window: Window) -> list[datetime]:
    first = window.start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    last = window.end - timedelta(microseconds=1)
    return [first + timedelta(hours=number) for number in range(int((last - first).total_seconds() // 3600) + 1)]


def day_label(day: date) -> str:
    return f"{day:%b} {day.day}"


# --- Lists ------------------------------------------------------------------------------------------------------------


def usage_url(window: Window, **more: Any) -> str:
    return listing("usage_usagerecord", window, **more)


def charges_url(window: Window) -> str:
    return listing("credits_ledgerentry", window, kind__exact="CHARGE")


def listing(page: str, window: Window, **more: Any) -> str:
    """Return the address of the admin's list of a window's rows, filtered by `more`."""
    span = {
        "created_at__gte": f"{window.start:%Y-%m-%d %H:%M:%S.%f%z}",
        "created_at__lt": f"{window.end:%Y-%m-%d %H:%M:%S.%f%z}",
    }
    return f"{reverse(f'admin:{page}_changelist')}?{urlencode({**span, **more})}"
