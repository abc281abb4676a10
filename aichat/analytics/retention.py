"""Deletes events that are older than ANALYTICS_RETENTION_DAYS, and those of people who leave."""

from datetime import timedelta

from django.conf import settings

from accounts.models import User
from aichat.analytics.models import Event
from aichat.core.database import batches, clock


def prune() -> int:
    """Delete the events that are too old, in small steps; return how many."""
    if not settings.ANALYTICS_RETENTION_DAYS:
        return 0
    before = clock.shared_now() - timedelta(days=settings.ANALYTICS_RETENTION_DAYS)
    return batches.delete(Event.objects.filter(created_at__lt=before).order_by("created_at"))


def erase(user: User) -> int:
    """Delete the events of a person who leaves for good; return how many."""
    return batches.delete(Event.objects.filter(user_id=user.pk).order_by("-created_at"))
