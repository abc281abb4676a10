"""Finds where the figures of a window are: in the roll-ups, or in the records that the roll-ups do not hold yet.

A whole day is read from the daily roll-ups. The parts of days at the ends of a window are read from the hourly ones, which
are kept for the last days only. Records are read for the rest: the last minutes, and at the ends parts of hours, or parts of
days long past. So no question scans the table of records.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from operator import or_

from django.db.models import Q
from django.utils import timezone

from aichat.usage.models import RollupState

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """From a moment (included) to a moment (not included)."""

    start: datetime
    end: datetime

    @classmethod
    def last(cls, length: timedelta, now: datetime | None = None) -> "Window":
        end = now or timezone.now()
        return cls(end - length, end)

    @classmethod
    def last_days(cls, days: int, now: datetime | None = None) -> "Window":
        """Today and the whole days before it."""
        end = now or timezone.now()
        return cls(midnight(end) - timedelta(days=days - 1), end)

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    def before(self) -> "Window":
        """The window of the same length that ends where this one begins."""
        return Window(self.start - self.length, self.start)

    @property
    def is_hourly(self) -> bool:
        """Whether the window is so short that charts show it by hour."""
        return self.length <= timedelta(hours=48)


def midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.astimezone(UTC).date(), time(), UTC)


def hour_of(moment: datetime) -> datetime:
    """The beginning of a moment's hour."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def whole_day(day: date) -> Window:
    """A UTC day from its first moment to the next day's."""
    start = datetime.combine(day, time(), UTC)
    return Window(start, start + DAY)


def between(start: datetime, end: datetime) -> Q:
    return Q(created_at__gte=start, created_at__lt=end)


@dataclass(frozen=True, slots=True)
class FigureSources:
    """Where the figures of a window are: whole days and hours in the roll-ups, the rest in the records; None is nowhere."""

    days: Q | None
    hours: Q | None
    records: Q | None

    @classmethod
    def of(cls, window: Window, *, by_hour: bool = False) -> "FigureSources":
        """The sources of the window's figures; without days with `by_hour`, and for a short window.

        All of a short window is in the hourly roll-ups, so one query is enough.
        """
        through, hours_from = RollupState.objects.values_list("through", "hours_from").first() or (EPOCH, None)
        has_hours = hours_from is not None and hours_from <= window.start
        found: list[Window] = []
        left = [window]
        if not (by_hour or (window.is_hourly and has_hours)):
            found, left = cut(window, DAY, EPOCH, through)
        days = any_of(Q(day__gte=whole.start.date(), day__lt=whole.end.date()) for whole in found)
        hours, records = [], []
        for span in left:
            found, rest = cut(span, HOUR, hours_from or through, through)
            hours += found
            records += rest
        return cls(
            days,
            any_of(Q(hour__gte=whole.start, hour__lt=whole.end) for whole in hours),
            any_of(between(part.start, part.end) for part in records),
        )


def cut(window: Window, unit: timedelta, since: datetime, through: datetime) -> tuple[list[Window], list[Window]]:
    """The whole units (days, hours) of a window that roll-ups from `since` to `through` hold, and what is left of it.

    The unit in which `through` lies counts as whole when the window ends after it: all that it holds is in the window.
    """
    start = whole_units(max(window.start, since), unit, up=True)
    end = whole_units(window.end, unit) if window.end < through else whole_units(through, unit, up=True)
    known = min(end, through)
    if start >= min(known, window.end):
        return [], [window]
    left = [Window(window.start, start), Window(known, window.end)]
    return [Window(start, end)], [part for part in left if part.start < part.end]


def whole_units(moment: datetime, unit: timedelta, *, up: bool = False) -> datetime:
    """The last end of a unit of UTC before a moment, or with `up` the first after it; the moment itself if it is one."""
    units, part = divmod(moment - EPOCH, unit)
    return EPOCH + (units + (up and bool(part))) * unit


def any_of(conditions: Iterable[Q]) -> Q | None:
    found = list(conditions)
    return reduce(or_, found) if found else None
