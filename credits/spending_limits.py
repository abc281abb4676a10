"""Spending limits of keys, users and organizations.

A reservation is counted in the transaction that moves the credits, by one conditional UPDATE as on a wallet.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid5

from django.db.models import F
from django.utils import timezone

from accounts.authentication import Caller
from accounts.models import SpendLimits
from aichat.core.money import format_credits
from credits.models import Limit, SpendCounter
from credits.operations import Unaffordable

FOREVER = date(1970, 1, 1)


class SpendLimitReached(Unaffordable):
    """A spending limit refuses a reservation.

    The answer is 402 `insufficient_credits` for a limit without a period, else 429 `quota_exceeded` with the reset time.
    """

    def __init__(self, limit: Limit, *, required: int, left: int) -> None:
        self.affordable = left
        needed, free = format_credits(required), format_credits(left)
        facts: dict[str, Any] = {"limit": limit.name, "required": needed, "available": free}
        message = f"This can cost up to {needed} credits and {free} are left of the spending limit of {limit.name}."
        if limit.resets_at is None:
            super().__init__(message, status=402, code="insufficient_credits", **facts)
            return
        wait = (limit.resets_at - timezone.now()).total_seconds()
        super().__init__(
            message,
            status=429,
            code="quota_exceeded",
            retry_after=max(1, wait),
            resets_at=limit.resets_at.isoformat().replace("+00:00", "Z"),
            **facts,
        )


def limits_of(caller: Caller) -> list[Limit]:
    """The limits that the caller's spending must fit in. No query is made: authentication has loaded the rows."""
    if not caller.has_spend_limit:
        return []
    found = []
    key = caller.api_key
    if key:
        if key.spend_limit is not None:
            found.append(Limit("this API key", uuid5(key.stable_id, "ever"), FOREVER, key.spend_limit))
        found += _periods("this API key", key.stable_id, key)
    if caller.membership:
        found += _periods("this member of the team", caller.membership.pk, caller.membership)
    found += _periods("this user", caller.user.pk, caller.user)
    found += _periods("this organization", caller.organization.pk, caller.organization)
    return found


def _periods(name: str, owner_id: UUID, limits: SpendLimits) -> list[Limit]:
    found = []
    if limits.spend_limit_day is not None:
        found.append(_daily(f"{name} for a day", owner_id, limits.spend_limit_day))
    if limits.spend_limit_month is not None:
        found.append(_monthly(f"{name} for a month", owner_id, limits.spend_limit_month))
    return found


def _daily(name: str, owner_id: UUID, amount: int) -> Limit:
    today = timezone.now().date()
    return Limit(name, uuid5(owner_id, "day"), today, amount, resets_at=_midnight(today + timedelta(days=1)))


def _monthly(name: str, owner_id: UUID, amount: int) -> Limit:
    first = timezone.now().date().replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Limit(name, uuid5(owner_id, "month"), first, amount, resets_at=_midnight(following))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def count(limit: Limit, amount: int) -> bool:
    """Count `amount` microcredits against the limit; return False, and count nothing, when the limit has no room."""
    row = SpendCounter.objects.filter(pk=limit.counter_id)
    if row.filter(starts=limit.starts, spent__lte=limit.amount - amount).update(spent=F("spent") + amount):
        return True
    if row.filter(starts__lt=limit.starts).update(starts=limit.starts, spent=0):
        return count(limit, amount)
    counter = row.first()
    if counter is None:
        SpendCounter.objects.create(pk=limit.counter_id, starts=limit.starts)
        return count(limit, amount)
    # A later period has begun, here or by the clock of another host: it is counted there, and never corrected downwards.
    later = row.filter(starts__gt=limit.starts, spent__lte=limit.amount - amount)
    return bool(later.update(spent=F("spent") + amount))


def correct(counter_id: UUID, starts: date, change: int) -> None:
    """Add `change` microcredits to the counter of the period `starts`; a later period's counter stays as it is."""
    if change:
        SpendCounter.objects.filter(pk=counter_id, starts=starts).update(spent=F("spent") + change)


def reached(limit: Limit, required: int) -> SpendLimitReached:
    """The error for a reservation of `required` microcredits that the limit has no room for."""
    spent = SpendCounter.objects.values_list("spent", flat=True).get(pk=limit.counter_id)
    return SpendLimitReached(limit, required=required, left=max(0, limit.amount - spent))
