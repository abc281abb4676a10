"""Who works on a job: a claim with a lease, renewed while its worker lives. Each step is one conditional UPDATE."""

import logging
from datetime import timedelta
from uuid import uuid4

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from aichat.core.errors import ApiError
from aichat.images.completion import fail
from aichat.images.jobs import HOLD_PREFIX
from aichat.images.models import ImageJob, lease_end
from credits.models import Hold
from credits.services import renew_holds

logger = logging.getLogger(__name__)
Status = ImageJob.Status
AT_ONCE = 1000


def claim_due(limit: int) -> list[ImageJob]:
    """Take up to `limit` due jobs, the longest waiting first. What another worker takes meanwhile is theirs."""
    claimed = []
    # Where Celery hands out the jobs, only those that it has forgotten are taken here.
    patience = timedelta(seconds=settings.IMAGE_SWEEP_SECONDS if settings.IMAGE_DISPATCHER == "celery" else 0)
    for job in ImageJob.objects.due(timezone.now() - patience).order_by("run_after")[:limit]:
        if job.attempts >= settings.IMAGE_ATTEMPTS:
            give_up(job)
        elif take(job):
            claimed.append(job)
    return claimed


def take(job: ImageJob) -> bool:
    claim, until = uuid4(), lease_end()
    taken = job.unchanged().update(status=Status.RUNNING, claim=claim, run_after=until, attempts=F("attempts") + 1)
    if taken:
        job.status, job.claim, job.run_after, job.attempts = Status.RUNNING, claim, until, job.attempts + 1
    return bool(taken)


def heartbeat(job: ImageJob) -> bool:
    """Renew the lease and the hold; False when the job is no longer ours."""
    job.run_after = lease_end()
    ours = bool(job.unchanged().update(run_after=job.run_after))
    if ours:
        renew_holds([job.hold])
    return ours


def keep_holds_of_queue() -> None:
    """Queued jobs keep their credits held however long they wait: renew what is past half of its time, the oldest first.

    What is renewed makes room for the next ones, so that the length of the queue does not matter.
    """
    soon = timezone.now() + timedelta(seconds=settings.HOLD_TTL / 2)
    ageing = Hold.objects.filter(state=Hold.State.OPEN, expires_at__lt=soon, reference__startswith=HOLD_PREFIX)
    oldest = {hold.pk: hold for hold in ageing.order_by("expires_at", "id")[:AT_ONCE]}
    waiting = ImageJob.objects.filter(status=Status.QUEUED, hold_id__in=list(oldest))
    renew_holds([oldest[hold_id].ref for hold_id in waiting.values_list("hold_id", flat=True)])


def give_up(job: ImageJob) -> bool:
    """Its workers died, as often as a job may be tried."""
    logger.error("image job given up", extra={"job": str(job.pk)})
    return fail(job, ApiError("The job was interrupted too often."))
