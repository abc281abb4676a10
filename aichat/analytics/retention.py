"""Deletes events that are older than ANALYTICS_RETENTION_DAYS."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from aichat.analytics.models import Event

AT_ONCE = 1000


def prune() -> int:
    """Delete the events that are too old, in small steps; answers how many were deleted."""
    if not settings.ANALYTICS_RETENTION_DAYS:
        return 0
    before = timezone.now() - timedelta(days=settings.ANALYTICS_RETENTION_DAYS)
    old = Event.objects.filter(created_at__lt=before).order_by("created_at").values_list("pk", flat=True)
    deleted = 0
    while keys := list(old[:AT_ONCE]):
        Event.objects.filter(pk__in=keys).delete()
        deleted += len(keys)
    return deleted
