"""Claims of image jobs: a worker has a job by a lease that it renews. Each step is one conditional UPDATE."""

import logging
from datetime import timedelta
from uuid import uuid4

from django.conf import settings
from django.db import DatabaseError
from django.db.models import F

from aichat.core.database import clock, transactions
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
    """Claim up to `limit` due jobs, the longest waiting first; jobs that another worker claims meanwhile are left out."""
    claimed = []
    # Where Celery hands out the jobs, this loop takes only those that Celery has lost.
    patience = timedelta(seconds=settings.IMAGE_SWEEP_SECONDS if settings.IMAGE_DISPATCHER == "celery" else 0)
    for job in ImageJob.objects.due(clock.shared_now() - patience).order_by("run_after")[:limit]:
        try:
            if job.attempts >= settings.IMAGE_ATTEMPTS:
                give_up(job)
            elif take(job):
                claimed.append(job)
        except DatabaseError as error:
            if transactions.is_unavailable(error):
                raise
            put_aside(job)
        except Exception:
            put_aside(job)
    return claimed


def put_aside(job: ImageJob) -> None:
    """Make a job that can't be claimed or given up wait for another lease, so that it stops nobody else's job."""
    logger.exception("an image job can't be claimed", extra={"job": str(job.pk)})
    job.unchanged().update(run_after=lease_end())


def take(job: ImageJob) -> bool:
    """Claim one job for an attempt. Returns False when another worker was quicker, or its owner has renewed its lease."""
    claim, until = uuid4(), lease_end()
    # `run_after`: the job is still due. Its owner may have renewed its lease since the job was read, and ask a provider now.
    due = job.unchanged().filter(run_after=job.run_after)
    taken = due.update(status=Status.RUNNING, claim=claim, run_after=until, attempts=F("attempts") + 1)
    if taken:
        job.status, job.claim, job.run_after, job.attempts = Status.RUNNING, claim, until, job.attempts + 1
    return bool(taken)


def heartbeat(job: ImageJob) -> bool:
    """Renew the job's lease and its hold. Returns False when the job is no longer this worker's."""
    until = lease_end()
    ours = bool(job.unchanged().update(run_after=until))
    if ours:
        job.run_after = until
        renew_holds([job.hold])
    return ours


def keep_holds_of_queue() -> None:
    """Renew the holds of queued jobs that are past half of their time, the oldest first, `AT_ONCE` at a time.

    So a job's credits stay held however long it waits. A renewed hold is no longer among the oldest, so the next call
    renews others, and the queue may have any length.
    """
    soon = clock.shared_now() + timedelta(seconds=settings.HOLD_TTL / 2)
    ageing = Hold.objects.filter(state=Hold.State.OPEN, expires_at__lt=soon, reference__startswith=HOLD_PREFIX)
    oldest = {hold.pk: hold for hold in ageing.order_by("expires_at", "id")[:AT_ONCE]}
    waiting = ImageJob.objects.filter(status=Status.QUEUED, hold_id__in=list(oldest))
    renew_holds([oldest[hold_id].ref for hold_id in waiting.values_list("hold_id", flat=True)])


def give_up(job: ImageJob) -> bool:
    """Fail a job that was interrupted as often as a job may be tried (IMAGE_ATTEMPTS).

    The job is claimed first, as for an attempt. Returns False when the job is another worker's.
    """
    if not take(job):
        return False
    logger.error("image job given up", extra={"job": str(job.pk), "attempts": job.attempts})
    return fail(job, ApiError("The job was interrupted too often."))
