"""Alerts for the operator: told when a condition begins, once however many processes look, and at most once an hour each.

Whoever knows conditions (`admin_dashboard/watching.py`) calls `watch` every so often with all that hold now. The settings
ALERT_… say where the alerts go.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError
from django.db.models import F
from django.utils import timezone

from aichat.core.database import transactions
from aichat.payments.models import AlertMessage, Watched

Channel = AlertMessage.Channel
QUIET = timedelta(hours=1)  # between two alerts of the same condition
Facts = dict[str, Any]


def channels() -> list[tuple[str, str]]:
    """The ways to tell the operator: each channel with an address."""
    urls = [(Channel.WEBHOOK.value, settings.ALERT_WEBHOOK_URL), (Channel.SLACK.value, settings.ALERT_SLACK_URL)]
    return [*((Channel.EMAIL.value, address) for address in settings.ALERT_EMAIL), *(pair for pair in urls if pair[1])]


def tell(kind: str, facts: Facts) -> int:
    """Make the messages of one alert for the operator, in the caller's transaction; return how many there are."""
    rows = [AlertMessage(kind=kind, facts=facts, channel=channel, address=address) for channel, address in channels()]
    AlertMessage.objects.bulk_create(rows)
    return len(rows)


def watch(
    kind: str, found: Mapping[str, Facts], *, lasting: timedelta = timedelta(), now: datetime | None = None
) -> int:
    """Note which conditions of a kind hold now (`found`, by subject), and tell of those that began; return how many.

    A condition is told once it has held for `lasting`. Any number of processes may call this.
    """
    moment = now or timezone.now()
    told = sum(transactions.run_atomic(_look, kind, subject, found[subject], lasting, moment) for subject in found)
    over = Watched.objects.filter(kind=kind).exclude(since=None).exclude(subject__in=list(found))
    over.update(since=None, is_told=False)
    return told


def _look(kind: str, subject: str, facts: Facts, lasting: timedelta, now: datetime) -> bool:
    row = _locked(kind, subject)
    row.since = row.since or now
    is_quiet = row.told_at is not None and now - row.told_at < QUIET
    is_news = not row.is_told and not is_quiet and now - row.since >= lasting
    if is_news:
        row.is_told, row.told_at = True, now
        tell(kind, facts)
    row.save(update_fields=["since", "is_told", "told_at"])
    return is_news


def _locked(kind: str, subject: str) -> Watched:
    """The condition's row, made unless it is there, and written, so that others wait for this transaction's end."""
    which = Watched.objects.filter(kind=kind, subject=subject)
    if not which.update(revision=F("revision") + 1):
        try:
            Watched.objects.create(kind=kind, subject=subject)
        except IntegrityError as error:  # another process made it: run again, and find it
            raise transactions.Conflict(str(error)) from error
    return which.get()
