"""Sums up each month: the money that sellers received, the credits that were charged, and what providers bill.

Money is summed by currency and never converted. What was given back counts in the month of its payment.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time

from django.db.models import Q, Sum
from django.db.models.functions import TruncMonth
from django.utils import timezone

from aichat.payments.models import Payment, add_months
from aichat.usage import queries
from aichat.usage.queries import Figures
from aichat.usage.query_params import as_day
from aichat.usage.windows import Window

SHOWN = 6
Money = dict[str, int]  # millionths of a unit, by currency


@dataclass(slots=True)
class Month:
    """A calendar month (UTC), up to now for the running one."""

    window: Window
    received: Money = field(default_factory=lambda: defaultdict(int))
    given_back: Money = field(default_factory=lambda: defaultdict(int))
    figures: Figures = field(default_factory=Figures)

    @property
    def first(self) -> date:
        return self.window.start.date()


def last_months(count: int = SHOWN, now: datetime | None = None) -> list[Month]:
    """Return the running month and those before it, the latest first."""
    moment = now or timezone.now()
    running = datetime.combine(moment.astimezone(UTC).date().replace(day=1), time(), UTC)
    starts = [add_months(running, -number) for number in range(count)]
    found = {start.date(): Month(Window(start, min(add_months(start, 1), moment))) for start in starts}
    whole = Window(starts[-1], moment)
    for (day,), row in queries.sums(whole, ["day"]).items():
        found[as_day(day).replace(day=1)].figures.add(row)
    _count_money(found, starts[-1])
    return list(found.values())


def _count_money(months: dict[date, Month], since: datetime) -> None:
    paid = Payment.objects.filter(is_paid=True, created_at__gte=since).exclude(amount=0)
    groups = paid.annotate(month=TruncMonth("created_at", tzinfo=UTC)).values_list("month", "currency")
    for month, currency, total in groups.annotate(total=Sum("amount")):
        months[month.date()].received[currency] += total
    for row in paid.filter(Q(taken_back__gt=0) | Q(owed__gt=0), credits__gt=0):
        given_back = row.amount * row.refunded // row.credits
        months[row.created_at.astimezone(UTC).date().replace(day=1)].given_back[row.currency] += given_back


def owed() -> int:
    """Return the microcredits that were spent before their payment's refund could take them."""
    return Payment.objects.filter(owed__gt=0).aggregate(total=Sum("owed"))["total"] or 0
