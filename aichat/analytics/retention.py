"""Deletes events that are older than ANALYTICS_RETENTION_DAYS."""

from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from aichat.analytics.models import Event

AT_ONCE = 1000


def prune() -> int:
    """Delete the events that are too old, in small steps; answers how many were deleted."""
    if not settings.ANALYTICS_RETENTION_DAYS:
        return 0
    before = timezone.now() - timedelta(days=settings.ANALYTICS_RETENTION_DAYS)
    return _delete(Event.objects.filter(created_at__lt=before).order_by("created_at"))


def erase(user: User) -> int:
    """Delete the events of a person who leaves for good; answers how many were deleted."""
    return _delete(Event.objects.filter(user_id=user.pk).order_by("-created_at"))


def _delete(events: QuerySet[Event]) -> int:
    deleted = 0
    while keys := list(events.values_list("pk", flat=True)[:AT_ONCE]):
        Event.objects.filter(pk__in=keys).delete()
        deleted += len(keys)
    return deleted
