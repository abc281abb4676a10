"""Forwards product events of the people who agreed, and of nobody else, to PostHog and to a webhook where these are set.

Each receiver has a thread of its own, so a slow or dead one holds up nothing but itself.
"""

import asyncio
import functools
import hashlib
import logging
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from accounts.models import User
from aichat.analytics.models import Event
from aichat.core.background import lifecycle
from aichat.core.background.batch_queue import BatchQueue
from aichat.core.outbound import webhooks
from aichat.core.telemetry.product_events import AMOUNTS
from aichat.core.web.responses import json_bytes

logger = logging.getLogger(__name__)
OPT_OUT = "opt-out"


def is_active() -> bool:
    return bool(settings.POSTHOG_API_KEY or settings.ANALYTICS_WEBHOOK_URL)


def forward(rows: Sequence[Event]) -> None:
    """Hand the rows of those who agreed to every receiver; returns at once."""
    if not is_active() or not rows:
        return
    agreed = consenting({row.user_id for row in rows if row.user_id})
    told = [row for row in rows if row.user_id in agreed]
    if settings.ANALYTICS_WEBHOOK_URL:
        queue = webhook_queue()
        for row in told:
            queue.put(row.body())
    if settings.POSTHOG_API_KEY:
        client = posthog_client(settings.POSTHOG_API_KEY, settings.POSTHOG_HOST)
        for row in told:
            capture(client, row)


def consenting(users: Collection[UUID]) -> set[UUID]:
    """The users who agreed to forwarding. Their own choice decides; without one, ANALYTICS_CONSENT does."""
    found = User.objects.filter(pk__in=users)
    if settings.ANALYTICS_CONSENT == OPT_OUT:
        return set(found.exclude(analytics_consent=False).values_list("pk", flat=True))
    return set(found.filter(analytics_consent=True).values_list("pk", flat=True))


# --- Webhook ----------------------------------------------------------------------------------------------------------


class Undelivered(Exception):
    """The receiver did not take the batch."""


@functools.cache
def webhook_queue() -> BatchQueue[dict[str, Any]]:
    return BatchQueue("analytics webhook", deliver, capacity=10_000, batch=100)


def deliver(events: Sequence[dict[str, Any]]) -> None:
    """Post a batch to ANALYTICS_WEBHOOK_URL. Its ID is made of its events, so that a receiver knows one it has."""
    body = json_bytes({"sent_at": timezone.now().isoformat(), "events": events})
    message_id = f"msg_{hashlib.sha256(json_bytes([event['id'] for event in events])).hexdigest()[:32]}"
    sending = webhooks.post(
        settings.ANALYTICS_WEBHOOK_URL, body, settings.ANALYTICS_WEBHOOK_SECRET, message_id=message_id
    )
    _, problem = asyncio.run(sending)
    if problem:
        raise Undelivered(problem)


# --- PostHog ----------------------------------------------------------------------------------------------------------

PATIENCE = 3.0  # seconds that PostHog gets for the last events when the process ends
_lost = 0


@functools.cache
def posthog_client(key: str, host: str) -> Any:
    """PostHog's official client: it batches, bounds its queue, tries again and gives up by itself.

    It is made in the recorder's thread, after any fork, and is not the package's global client.
    """
    from posthog import Posthog

    return Posthog(key, host=host, max_queue_size=10_000, max_retries=3, timeout=10, on_error=lost)


def capture(client: Any, row: Event) -> None:
    """Give one event to PostHog's client. Amounts are numbers of credits, so that PostHog can add them up."""
    facts = {name: float(value) if name in AMOUNTS else value for name, value in row.told.items()}
    sent = client.capture(
        row.name,
        distinct_id=str(row.user_id),
        properties={**facts, "organization": str(row.organization_id or ""), "request_id": row.request_id},
        timestamp=row.created_at,
        uuid=str(row.pk),
    )
    if sent is None:
        lost(OverflowError("its queue is full"), [row])


def lost(error: Exception, batch: Sequence[Any]) -> None:
    """Count events that PostHog's client gave up, and log that."""
    global _lost
    _lost += len(batch)
    logger.warning("PostHog: %d events were dropped, %d in all (%s)", len(batch), _lost, type(error).__name__)


@lifecycle.on_shutdown
async def _flush() -> None:
    if posthog_client.cache_info().currsize:
        client = posthog_client(settings.POSTHOG_API_KEY, settings.POSTHOG_HOST)
        await asyncio.to_thread(client.flush, PATIENCE)
