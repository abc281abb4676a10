"""Stores product events in batches, in a thread of its own, so that no request waits for the database."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection

from aichat.analytics import forwarding
from aichat.analytics.models import Event, FirstTime, first_time_key
from aichat.core.background.batch_queue import BatchQueue
from aichat.core.database import statements, transactions
from aichat.core.database.models import uuid7
from aichat.core.telemetry import tracing
from aichat.core.telemetry.product_events import ChatCompleted, FirstChat
from aichat.core.telemetry.product_events import ProductEvent as Told

logger = logging.getLogger(__name__)
MOST_KNOWN = 100_000  # users this process remembers to have chatted


class Heard(NamedTuple):
    """An event with the request that caused it, and its time."""

    event: Told
    request_id: str
    at: float  # seconds since 1970


def hear(event: Told) -> None:
    """Queue an event to be stored, and return at once."""
    if settings.ANALYTICS_STORED or forwarding.is_active():
        queue.put(Heard(event, tracing.request_id(), time.time()))


def record(batch: Sequence[Heard]) -> None:
    """Store a batch, and hand it on to where events are forwarded. Raises what the database raises: it is tried again."""
    try:
        rows = [values_of(heard) for heard in batch]
        if settings.ANALYTICS_STORED:
            transactions.run_atomic(statements.insert_values, Event, rows)
        try:
            first = first_chats(batch)
            if forwarding.is_active():
                forwarding.forward([*(Event(**values) for values in rows), *first])
        except Exception:  # these rows are stored: they must not come again
            logger.exception("events were not forwarded")
    finally:
        connection.close()


def values_of(heard: Heard) -> dict[str, Any]:
    """The columns of the `Event` row for an event."""
    return {
        "id": uuid7(),
        "name": heard.event.name,
        "user_id": heard.event.user,
        "organization_id": heard.event.organization,
        "request_id": heard.request_id,
        "facts": heard.event.facts(),
        "created_at": datetime.fromtimestamp(heard.at, UTC),
    }


# --- First times ------------------------------------------------------------------------------------------------------

_known: set[UUID] = set()


def first_chats(batch: Sequence[Heard]) -> list[Event]:
    """Store a `first_chat` event for each user of the batch who had never chatted before; return these events' rows."""
    chats: dict[UUID, Heard] = {}
    for heard in batch:
        if isinstance(heard.event, ChatCompleted) and heard.event.user not in _known:
            chats.setdefault(heard.event.user, heard)
    if not chats:
        return []
    if len(_known) + len(chats) > MOST_KNOWN:
        _known.clear()
    keys = {first_time_key(user, FirstChat.name): user for user in chats}
    for key in FirstTime.objects.filter(pk__in=keys).values_list("pk", flat=True):
        chats.pop(keys[key])
    found = [row for heard in chats.values() if (row := first_chat(heard))]
    _known.update(keys.values())
    return found


def first_chat(heard: Heard) -> Event | None:
    """Store the event of somebody's first chat, and return its row; None when another process was quicker."""
    event = heard.event
    assert isinstance(event, ChatCompleted)
    first = FirstChat(user=event.user, organization=event.organization, model=event.model)
    row = Event(**values_of(heard._replace(event=first)))
    try:
        transactions.run_atomic(_claim, event.user, row)
    except IntegrityError:
        return None
    return row


def _claim(user: UUID, row: Event) -> None:
    FirstTime.objects.create(pk=first_time_key(user, row.name))
    if settings.ANALYTICS_STORED:
        statements.insert([row])


queue: BatchQueue[Heard] = BatchQueue("analytics", record)
