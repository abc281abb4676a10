"""Keeps the items of answers, so that clients can refer to an item by its ID instead of sending it again."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings

from accounts.authentication import Caller
from aichat.api.models import ResponseItems
from aichat.core.database import batches, clock
from aichat.core.database.statements import NewRow
from aichat.generation.request import Result

ITEM_ID = re.compile(r"(?:msg|rs|fc|ctc|ig|item)_([0-9a-f]{32})[0-9a-f]{2}")  # as `ResponseFormat.new_id` makes them
Items = list[dict[str, Any]]


def rows_of(caller: Caller, items: Callable[[Result], Items]) -> Callable[[Result], Sequence[NewRow]]:
    """A `rows_to_save` of `GenerationRequest`: the settlement inserts the row that keeps the answer's items."""

    def rows_to_save(result: Result) -> Sequence[NewRow]:
        values = {
            "id": result.id,
            "organization_id": caller.organization.pk,
            "items": items(result),
            "created_at": clock.shared_now(),
        }
        return [(ResponseItems, values)]

    return rows_to_save


def find(caller: Caller, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The kept items of the caller's organization, by their IDs. IDs of other or forgotten items are left out."""
    answers = {UUID(found[1]) for item_id in ids if (found := ITEM_ID.fullmatch(item_id))}
    if not answers:
        return {}
    since = clock.shared_now() - timedelta(seconds=settings.RESPONSE_ITEMS_TTL)
    rows = ResponseItems.objects.filter(pk__in=answers, organization_id=caller.organization.pk, created_at__gte=since)
    return {item["id"]: item for items in rows.values_list("items", flat=True) for item in items}


def forget_expired() -> int:
    """Delete the rows that are older than RESPONSE_ITEMS_TTL, in small steps; return how many."""
    before = clock.shared_now() - timedelta(seconds=settings.RESPONSE_ITEMS_TTL)
    return batches.delete(ResponseItems.objects.filter(created_at__lt=before).order_by("created_at"))
