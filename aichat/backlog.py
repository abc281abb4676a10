"""Gauges for `/metrics` of work that waits or was given up: holds, image jobs, webhooks, this host's settlement journal."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Min, QuerySet, Sum

from aichat.core.background.journal import SUFFIX
from aichat.core.database import clock
from aichat.core.money import CREDIT
from aichat.images.models import ImageJob, WebhookDelivery
from credits.models import Hold


@dataclass(frozen=True, slots=True)
class Gauge:
    """One gauge. `values` are by the value of its label; a gauge without a label has one, under the empty text."""

    name: str
    meaning: str
    values: Mapping[str, float]
    label: str = ""


Backlog = Sequence[Gauge]


def read() -> Backlog:
    """All gauges; each is one look into an index. Raises what the database raises."""
    now = clock.shared_now()
    held = Hold.objects.filter(state=Hold.State.OPEN).aggregate(count=Count("pk"), amount=Sum("amount"))
    overdue = Hold.objects.filter(state=Hold.State.OPEN, expires_at__lt=now).count()
    jobs = ImageJob.objects.filter(status__in=[ImageJob.Status.QUEUED, ImageJob.Status.RUNNING])
    counts: dict[str, float] = {
        status: jobs.filter(status=status).count() for status in (ImageJob.Status.QUEUED, ImageJob.Status.RUNNING)
    }
    waiting, given_up = (
        WebhookDelivery.objects.filter(state=state)
        for state in (WebhookDelivery.State.WAITING, WebhookDelivery.State.GIVEN_UP)
    )
    return [
        Gauge("aichat_holds_open", "Holds of requests under way.", {"": held["count"]}),
        Gauge("aichat_holds_overdue", "Holds that expired and were not given back.", {"": overdue}),
        Gauge("aichat_held_credits", "Credits in open holds.", {"": (held["amount"] or 0) / CREDIT}),
        Gauge("aichat_image_jobs", "Image jobs that are not over.", counts, "status"),
        Gauge(
            "aichat_image_queue_age_seconds",
            "How long the oldest due job has waited.",
            {"": age(jobs, "run_after", now)},
        ),
        Gauge(
            "aichat_webhooks",
            "Webhooks of image jobs that wait, or were given up (dead letters).",
            {"waiting": waiting.count(), "given_up": given_up.count()},
            "state",
        ),
        Gauge(
            "aichat_webhook_queue_age_seconds",
            "How long the oldest due webhook has waited.",
            {"": age(waiting, "next_at", now)},
        ),
        Gauge(
            "aichat_journal_bytes",
            "The settlement journal on this host; up to 256 KiB a process are settled already.",
            {"": journal_bytes()},
        ),
    ]


def age(rows: "QuerySet[ImageJob] | QuerySet[WebhookDelivery]", column: str, now: datetime) -> float:
    """For how many seconds the oldest due row has been due; 0 when none is."""
    since: datetime | None = rows.aggregate(since=Min(column))["since"]
    return max(0.0, (now - since).total_seconds()) if since else 0.0


def journal_bytes() -> int:
    folder, size = settings.SETTLEMENT_JOURNAL, 0
    for path in folder.glob(f"*{SUFFIX}") if folder else ():
        with suppress(FileNotFoundError):  # all of it was settled meanwhile
            size += path.stat().st_size
    return size
