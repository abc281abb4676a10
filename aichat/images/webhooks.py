"""Telling a client's server that a job is over: signed (`aichat/core/outbound/webhooks.py`) and retried."""

from datetime import timedelta
from uuid import UUID

from django.db import models
from django.utils import timezone
from django.utils.crypto import salted_hmac

from aichat.core.database import executor
from aichat.core.money import format_credits
from aichat.core.outbound import webhooks
from aichat.core.web.responses import json_bytes
from aichat.images.models import ImageJob, WebhookDelivery

MOST_ATTEMPTS = 8
FIRST_WAIT_SECONDS = 10.0  # doubled with each attempt: the last one comes after about 20 minutes


def secret_of(organization_id: UUID) -> str:
    """The organization's signing secret, derived from SECRET_KEY: a change of that key changes it."""
    return salted_hmac("aichat.images.webhooks", str(organization_id), algorithm="sha256").hexdigest()


def body_of(job: ImageJob) -> bytes:
    """What is sent: what became of the job, not its pictures, whose signed URLs are for whoever asks with a key."""
    error = {"code": job.error_code, "message": job.error_message} if job.error_code else None
    return json_bytes(
        {
            "event": "image.finished",
            "id": str(job.pk),
            "status": job.status,
            "credits": format_credits(job.charged),
            "error": error,
            "request_id": job.request_id,
            "created_at": job.created_at.isoformat(),
            "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        }
    )


def take_due(limit: int) -> list[WebhookDelivery]:
    """Deliveries whose time has come, taken for one attempt: nobody else sends them meanwhile."""
    now = timezone.now()
    due = WebhookDelivery.objects.filter(state=WebhookDelivery.State.WAITING, next_at__lte=now)
    return [row for row in due.select_related("job").order_by("next_at")[:limit] if take(row)]


def take(row: WebhookDelivery) -> bool:
    wait = FIRST_WAIT_SECONDS * 2**row.attempts
    taken = WebhookDelivery.objects.filter(pk=row.pk, attempts=row.attempts).update(
        attempts=models.F("attempts") + 1, next_at=timezone.now() + timedelta(seconds=wait)
    )
    row.attempts += 1
    return bool(taken)


async def send_due(limit: int = 20) -> None:
    for row in await executor.run(take_due, limit):
        status_code, problem = await post(row)
        await executor.run(record, row, status_code, problem)


async def post(row: WebhookDelivery) -> tuple[int | None, str]:
    """One attempt; answers the status code, if there was an answer, and what was wrong."""
    secret, request_id = secret_of(row.job.organization_id), row.job.request_id
    return await webhooks.post(row.url, body_of(row.job), secret, **{"X-Request-ID": request_id})


def record(row: WebhookDelivery, status_code: int | None, problem: str) -> None:
    """What became of an attempt; the next one's time was set when this one was taken."""
    if not problem:
        row.state = WebhookDelivery.State.DELIVERED
    elif row.attempts >= MOST_ATTEMPTS:
        row.state = WebhookDelivery.State.GIVEN_UP
    row.status_code, row.problem = status_code, problem
    row.save(update_fields=["state", "status_code", "problem"])
