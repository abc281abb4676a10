"""Reads from a query which time and grouping of usage is asked for, and writes the answer's figures as JSON."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext

from accounts.models import AccessToken, Organization, User
from aichat.core.database.batches import column_by_key
from aichat.core.errors import InvalidRequest
from aichat.core.money import format_credits
from aichat.usage.queries import Figures, Key
from aichat.usage.windows import Window

DAYS = 30
LONGEST = timedelta(days=3 * 366)
# What usage may be grouped by, and the columns behind it.
GROUPS: dict[str, tuple[str, ...]] = {
    "day": ("day",),
    "kind": ("kind",),
    "model": ("model",),
    "provider": ("provider",),
    "user": ("user_id",),
    "organization": ("organization_id",),
    "api_key": ("api_key_id",),
    "variant": ("experiment", "variant"),
}


def window_of(query: Mapping[str, str]) -> Window:
    """`from` and `to`: days (`to` is included) or moments; by default the last 30 days. Raises `InvalidRequest`."""
    end = moment(query.get("to", ""), "to", last=True) or timezone.now()
    start = moment(query.get("from", ""), "from") or Window.last_days(DAYS, end).start
    if start >= end:
        raise InvalidRequest(gettext("`from` is not before `to`."), param="from")
    if end - start > LONGEST:
        raise InvalidRequest(gettext("Ask for three years at most."), param="from")
    return Window(start, end)


def moment(text: str, param: str, *, last: bool = False) -> datetime | None:
    """A day's beginning (its end with `last`) or an ISO 8601 moment; UTC unless it says otherwise."""
    if not text:
        return None
    try:
        day = parse_date(text)
        if day:
            return datetime.combine(day + timedelta(days=1) if last else day, time(), UTC)
        found = parse_datetime(text.replace(" ", "+"))  # a `+` of an offset that was not encoded
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise InvalidRequest(
            gettext("Write a day such as 2026-11-23, or a moment such as 2026-11-23T10:00:00Z."), param=param
        )
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def group_of(query: Mapping[str, str], allowed: Iterable[str]) -> str:
    """`group_by`, by default `day`. Raises `InvalidRequest`."""
    group = query.get("group_by", "day")
    if group not in allowed:
        raise InvalidRequest(f"Group by one of {', '.join(allowed)}.", param="group_by")
    return group


def own_figures(figures: Figures) -> dict[str, Any]:
    """What a user sees of their own usage: cost is what they paid."""
    return {
        "requests": figures.requests,
        "failures": figures.failures,
        "input_tokens": figures.input_tokens,
        "output_tokens": figures.output_tokens,
        "images": figures.images,
        "characters": figures.characters,
        "audio_minutes": figures.audio_minutes,
        "credits": format_credits(figures.charged),
    }


def named(group: str, keys: Iterable[Key]) -> dict[Key, dict[str, Any]]:
    """How the keys of a group are written, with the names of people, organizations and API keys."""
    keys = list(keys)
    ids = [key[0] for key in keys]
    match group:
        case "user":
            emails = column_by_key(User, ids, "email")
            return {key: {"user": str(key[0]), "email": emails.get(key[0], "")} for key in keys}
        case "organization":
            names = column_by_key(Organization, ids, "name")
            return {key: {"organization": str(key[0]), "name": names.get(key[0], "")} for key in keys}
        case "api_key":
            names = column_by_key(AccessToken, ids, "name", key="id")
            return {key: {"api_key": str(key[0]) if key[0] else None, "name": names.get(key[0], "")} for key in keys}
        case "day":
            return {key: {"day": as_day(key[0]).isoformat()} for key in keys}
    return {key: dict(zip(GROUPS[group], key, strict=True)) for key in keys}


def as_day(value: Any) -> date:
    return value.date() if isinstance(value, datetime) else value


def ordered(group: str, groups: Mapping[Key, Figures]) -> list[tuple[Key, Figures]]:
    """Days in their order; everything else with the dearest first."""
    if group == "day":
        return sorted(groups.items())
    return sorted(groups.items(), key=lambda item: (-item[1].charged, -item[1].requests, str(item[0])))
