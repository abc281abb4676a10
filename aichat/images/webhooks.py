"""Webhook deliveries of image jobs: claimed with a lease, sent beside the queue, retried, and given up in the end.

A sender takes due deliveries while their receiver and their organization have room, so that a receiver that accepts and never
answers keeps its own deliveries waiting, and nobody else's.
"""

import asyncio
import logging
import random
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from django.conf import settings
from django.db import models
from django.utils.crypto import salted_hmac

from aichat.core.database import clock, executor, outages
from aichat.core.money import format_credits
from aichat.core.outbound import webhooks
from aichat.core.web.responses import json_bytes
from aichat.images.models import ImageJob, WebhookDelivery

logger = logging.getLogger(__name__)
State = WebhookDelivery.State

MOST_ATTEMPTS = 8
FIRST_WAIT_SECONDS = 5.0  # four times as long after each attempt: the last one comes after about eight hours
GONE = 410  # by Standard Webhooks the receiver wants nothing more
AT_ONCE = 20  # deliveries a process sends at a time
AT_ONCE_EACH = 4  # of these for one receiver (host and port), and for one organization
LEASE = timedelta(seconds=3 * webhooks.TIMEOUT_SECONDS)  # after which the delivery of a process that died is due again


def old_secret_of(organization_id: UUID) -> str:
    """The secret of the header `Aichat-Signature`, which the next release no longer sends."""
    return salted_hmac("aichat.images.webhooks", str(organization_id), algorithm="sha256").hexdigest()


def receiver_of(url: str) -> str:
    """The host and port of a webhook's address, in lower case."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()[:255]


def body_of(job: ImageJob) -> bytes:
    """The message of a job's end, without its pictures: their signed URLs are for whoever asks with a key."""
    error = {"code": job.error_code, "message": job.error_message} if job.error_code else None
    return json_bytes(
        {
            "type": "image.finished",
            "event": "image.finished",  # the name of `type` in earlier releases
            "timestamp": job.finished_at.isoformat() if job.finished_at else None,
            "id": str(job.pk),
            "status": job.status,
            "credits": format_credits(job.charged),
            "error": error,
            "request_id": job.request_id,
            "created_at": job.created_at.isoformat(),
            "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        }
    )


# --- Claims -----------------------------------------------------------------------------------------------------------


def claim_due(room: "Room") -> list[WebhookDelivery]:
    """Claim the due deliveries for which there is room, the longest waiting first."""
    claimed = []
    due = WebhookDelivery.objects.filter(state=State.WAITING, next_at__lte=clock.shared_now())
    due = due.exclude(receiver__in=room.full_receivers()).exclude(organization_id__in=room.full_organizations())
    for row in due.select_related("job").order_by("next_at")[: room.free]:
        if room.has(row) and claim(row):
            room.take(row)
            claimed.append(row)
    return claimed


def claim(row: WebhookDelivery) -> bool:
    """Claim a delivery for one attempt, by one conditional UPDATE. Returns False when another process was quicker."""
    token = uuid4()
    claimed = WebhookDelivery.objects.filter(pk=row.pk, attempts=row.attempts, next_at=row.next_at, state=State.WAITING)
    if not claimed.update(claim=token, attempts=models.F("attempts") + 1, next_at=clock.shared_now() + LEASE):
        return False
    row.claim, row.attempts = token, row.attempts + 1
    return True


def record(row: WebhookDelivery, status_code: int | None, problem: str) -> None:
    """Write down an attempt. A failure changes nothing when another process has the delivery meanwhile, or delivered it."""
    facts = {"status_code": status_code, "problem": problem}
    mine = WebhookDelivery.objects.filter(pk=row.pk)
    if not problem:
        mine.exclude(state=State.DELIVERED).update(state=State.DELIVERED, **facts)
        return
    mine = mine.filter(state=State.WAITING, claim=row.claim)
    if row.attempts >= MOST_ATTEMPTS or status_code == GONE:
        mine.update(state=State.GIVEN_UP, **facts)
        logger.warning("a webhook was given up", extra={"delivery": str(row.pk), "problem": problem})
        return
    wait = FIRST_WAIT_SECONDS * 4 ** (row.attempts - 1) * random.uniform(0.8, 1.2)
    mine.update(next_at=clock.shared_now() + timedelta(seconds=wait), **facts)


def send_again(row: WebhookDelivery) -> bool:
    """Have a delivery that was given up sent again, with all its attempts. Returns False for any other."""
    given_up = WebhookDelivery.objects.filter(pk=row.pk, state=State.GIVEN_UP)
    return bool(given_up.update(state=State.WAITING, attempts=0, next_at=clock.shared_now()))


# --- Sending ----------------------------------------------------------------------------------------------------------


class Room:
    """How many deliveries are being sent, in all and for each receiver and organization."""

    def __init__(self) -> None:
        self.receivers: Counter[str] = Counter()
        self.organizations: Counter[UUID] = Counter()

    @property
    def free(self) -> int:
        return AT_ONCE - self.receivers.total()

    def full_receivers(self) -> list[str]:
        return [receiver for receiver, count in self.receivers.items() if count >= AT_ONCE_EACH]

    def full_organizations(self) -> list[UUID]:
        return [organization for organization, count in self.organizations.items() if count >= AT_ONCE_EACH]

    def has(self, row: WebhookDelivery) -> bool:
        return (
            self.receivers[row.receiver] < AT_ONCE_EACH and self.organizations[row.job.organization_id] < AT_ONCE_EACH
        )

    def take(self, row: WebhookDelivery) -> None:
        self.receivers[row.receiver] += 1
        self.organizations[row.job.organization_id] += 1

    def leave(self, row: WebhookDelivery) -> None:
        self.receivers[row.receiver] -= 1
        self.organizations[row.job.organization_id] -= 1


class WebhookSender:
    """Sends due deliveries, many at a time, until it is stopped."""

    def __init__(self) -> None:
        self.room = Room()
        self.sending: set[asyncio.Task[None]] = set()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until `stop` is called, then finish what is being sent."""
        while not self.stopping.is_set():
            try:
                await self.send_due()
            except Exception as error:
                outages.log_failure(logger, "reading the webhook deliveries", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), settings.IMAGE_POLL_SECONDS)
        if self.sending:
            await asyncio.wait(self.sending)

    async def send_due(self) -> None:
        """Begin to send what is due and has room."""
        if self.room.free > 0:
            for row in await executor.run(claim_due, self.room):
                task = asyncio.get_running_loop().create_task(self.send(row))
                self.sending.add(task)
                task.add_done_callback(self.sending.discard)

    async def send(self, row: WebhookDelivery) -> None:
        try:
            status_code, problem = await post(row)
            await executor.run(record, row, status_code, problem)
        except Exception:
            logger.exception("a webhook delivery is left to its lease", extra={"delivery": str(row.pk)})
        finally:
            self.room.leave(row)

    def stop(self) -> None:
        self.stopping.set()


async def post(row: WebhookDelivery) -> tuple[int | None, str]:
    """Make one attempt. Returns the status code (None without an answer) and the problem."""
    organization, request_id = row.job.organization_id, row.job.request_id
    return await webhooks.post(
        row.url,
        body_of(row.job),
        webhooks.secret_of(organization),
        message_id=f"msg_{row.pk.hex}",
        old_secret=old_secret_of(organization),
        **{"X-Request-ID": request_id},
    )
