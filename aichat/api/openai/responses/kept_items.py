"""Items of answers that clients refer to instead of sending them again: written with the settlement, read by their IDs."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from accounts.authentication import Caller
from aichat.api.models import ResponseItems
from aichat.core.database.statements import NewRow
from aichat.generation.request import Result

ITEM_ID = re.compile(r"(?:msg|rs|fc|ctc|ig|item)_([0-9a-f]{32})[0-9a-f]{2}")  # as `ResponseFormat.new_id` makes them
AT_ONCE = 1000
Items = list[dict[str, Any]]


def rows_of(caller: Caller, items: Callable[[Result], Items]) -> Callable[[Result], Sequence[NewRow]]:
    """The row that keeps the items of an answer, for its settlement."""

    def rows_to_save(result: Result) -> Sequence[NewRow]:
        values = {
            "id": result.id,
            "organization_id": caller.organization.pk,
            "items": items(result),
            "created_at": timezone.now(),
        }
        return [(ResponseItems, values)]

    return rows_to_save


def find(caller: Caller, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The kept items of the caller's organization with these IDs; what is not there, or was forgotten, is left out."""
    answers = {UUID(found[1]) for item_id in ids if (found := ITEM_ID.fullmatch(item_id))}
    if not answers:
        return {}
    since = timezone.now() - timedelta(seconds=settings.RESPONSE_ITEMS_TTL)
    rows = ResponseItems.objects.filter(pk__in=answers, organization_id=caller.organization.pk, created_at__gte=since)
    return {item["id"]: item for items in rows.values_list("items", flat=True) for item in items}


def forget_expired() -> int:
    """Delete what is older than RESPONSE_ITEMS_TTL, in small steps; return how many."""
    before = timezone.now() - timedelta(seconds=settings.RESPONSE_ITEMS_TTL)
    old = ResponseItems.objects.filter(created_at__lt=before).order_by("created_at").values_list("pk", flat=True)
    deleted = 0
    while keys := list(old[:AT_ONCE]):
        ResponseItems.objects.filter(pk__in=keys).delete()
        deleted += len(keys)
    return deleted
