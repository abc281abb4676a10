"""The life of an image job: made, cancelled, retried, deleted. Each step is one commit, guarded by one conditional UPDATE."""

import logging
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

from django.conf import settings
from django.db.models import Sum
from django.utils.translation import gettext_noop

from accounts import file_limits
from accounts.authentication import Caller
from accounts.models import User
from aichat.core.database import clock, transactions
from aichat.core.database.batches import rows_by_key
from aichat.core.database.models import uuid7
from aichat.core.errors import ApiError
from aichat.core.telemetry import spans, tracing
from aichat.generation.reporting import refused
from aichat.images.completion import discard, end
from aichat.images.models import ImageJob, lease_end
from aichat.images.storage import sweep
from credits.services import (
    Reserve,
    Unaffordable,
    apply,
    hold_expiry,
)
from credits.spending_limits import limits_of

logger = logging.getLogger(__name__)
Status = ImageJob.Status
LIKELY_SIZE = 2 * 2**20  # bytes of a picture that is not drawn yet
HOLD_PREFIX = "image:"  # with which the references of the jobs' holds begin


class JobIsRunning(ApiError):
    status, code = 409, "invalid_request"
    message = gettext_noop("This job is running: it can be deleted once it is over.")


def room_of(user_id: UUID) -> int:
    """How many bytes a person's pictures take, with those that are being drawn."""
    return ImageJob.objects.filter(user_id=user_id).aggregate(size=Sum("files_size"))["size"] or 0


# --- Begin ------------------------------------------------------------------------------------------------------------


def enqueue(
    caller: Caller,
    *,
    prompt: str,
    model: str,
    size: str,
    n: int,
    background: bool,
    amount: int,
    webhook_url: str = "",
    job_id: UUID | None = None,
    store_replay: Callable[[ImageJob], None] = lambda job: None,
) -> ImageJob:
    """Hold `amount` microcredits and write the job, in one commit. Raises `InsufficientCreditsError`, `NoRoom`.

    A job that is not for the background is made claimed: the caller of this function runs the job. `store_replay` writes
    into the same commit what answers a repeated Idempotency-Key.
    """
    job_id = job_id or uuid7()
    reserve = Reserve(
        wallet_id=caller.organization.pk,
        amount=amount,
        expires_at=hold_expiry(),
        reference=f"{HOLD_PREFIX}{job_id}",
        limits=limits_of(caller),
    )
    key = caller.api_key
    job = ImageJob(
        id=job_id,
        organization=caller.organization,
        user=caller.user,
        api_key_id=key.stable_id if key else None,
        request_id=tracing.request_id(),
        traceparent=spans.traceparent() or None,
        run_after=clock.shared_now(),
        prompt=prompt,
        requested_model=model,
        size=size,
        n=n,
        files_size=n * LIKELY_SIZE,
        background=background,
        webhook_url=webhook_url,
        hold_id=reserve.hold.id,
        hold_amount=amount,
        hold_reference=reserve.hold.reference,
    )
    if not background:
        job.status, job.claim, job.attempts, job.run_after = Status.RUNNING, uuid4(), 1, lease_end()
    try:
        with spans.step("reserve"):
            transactions.run_repeatable(_enqueue, reserve, job, store_replay)
    except Unaffordable as error:
        refused(caller, model, error)
        raise
    if background:
        dispatch(job)
    return job


def _enqueue(reserve: Reserve, job: ImageJob, store_replay: Callable[[ImageJob], None]) -> None:
    if apply([reserve])[0].or_raise().repeated and ImageJob.objects.filter(pk=job.pk).exists():
        return  # an earlier run was committed, and the answer to its COMMIT was lost
    file_limits.check(job.user_id)  # the wallet is locked: of two jobs at the same moment the second sees the first
    ImageJob.objects.bulk_create([job])
    store_replay(job)


def dispatch(job: ImageJob) -> None:
    """Send the job to Celery, where Celery is the dispatcher. While the broker is away, the queue's loop finds the job."""
    if settings.IMAGE_DISPATCHER == "celery":
        try:
            from celery import current_app  # most installations have no Celery to load

            current_app.send_task("aichat.images.run", args=[str(job.pk)], retry=False)
        except Exception as error:
            logger.warning("the broker does not answer: %s", type(error).__name__, extra={"job": str(job.pk)})


# --- End --------------------------------------------------------------------------------------------------------------


def cancel(job: ImageJob) -> bool:
    """Cancel a queued job. Returns False when the job is not queued (any more)."""
    return job.status == Status.QUEUED and end(job, Status.CANCELLED)


def withdraw(job_id: UUID) -> bool:
    """Cancel a job that nobody was told of, because the answer to its COMMIT was lost. Returns False if it was not made."""
    job = ImageJob.objects.filter(pk=job_id).first()
    return job is not None and (job.is_over or end(job, Status.CANCELLED))


def retry(job: ImageJob) -> bool:
    """Put a failed job into the queue again, with a new hold. Raises `InsufficientCreditsError`."""
    if job.status != Status.FAILED or not transactions.run_atomic(_retry, job):
        return False
    dispatch(job)
    return True


def _retry(job: ImageJob) -> bool:
    # No spending limits: an administrator decides that the job is tried again.
    reference = f"{HOLD_PREFIX}{job.pk}:{uuid7().hex[:12]}"
    reserve = Reserve(
        wallet_id=job.organization_id,
        amount=job.hold_amount,
        expires_at=hold_expiry(),
        reference=reference,
        request_id=job.request_id,
    )
    ours = job.unchanged().update(
        status=Status.QUEUED,
        claim=None,
        attempts=0,
        run_after=clock.shared_now(),
        error_code="",
        error_message="",
        finished_at=None,
        background=True,
        files_size=job.n * LIKELY_SIZE,
        hold_id=reserve.hold.id,
        hold_reference=reference,
    )
    if ours:
        apply([reserve])[0].or_raise()
    return bool(ours)


def purge(days: int, *, batch: int = 200) -> int:
    """Delete the jobs that ended over `days` days ago, with their files, not their bills. Returns how many."""
    clock.keep_compared()
    before, deleted = clock.shared_now() - timedelta(days=days), 0
    over = [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED]
    while True:
        jobs = list(ImageJob.objects.filter(status__in=over, finished_at__lt=before)[:batch])
        for job in jobs:
            delete(job)
        deleted += len(jobs)
        if len(jobs) < batch:
            return deleted


def erase(user: User) -> None:
    """Delete all jobs of a person who leaves for good, with their files. Raises `JobIsRunning`: try again later."""
    for batch in rows_by_key(ImageJob.objects.filter(user_id=user.pk)):
        for job in batch:
            if not cancel(job):
                delete(job)
    for batch in rows_by_key(ImageJob.objects.filter(user_id=user.pk)):  # those that were cancelled
        for job in batch:
            delete(job)


def delete(job: ImageJob) -> None:
    """Cancel a queued job, or delete a finished one with its files. Raises `JobIsRunning`."""
    if job.status == Status.QUEUED and cancel(job):
        return
    current = ImageJob.objects.filter(pk=job.pk).first()
    if current is None:
        return  # another request has deleted the job
    if not current.is_over:
        raise JobIsRunning
    # Files before the row: a process that dies in between leaves a row to delete again, not files that nobody finds.
    discard(list(current.pictures.all()))
    deleted, _ = transactions.run_atomic(current.unchanged().delete)
    if not deleted and ImageJob.objects.filter(pk=job.pk).exists():
        raise JobIsRunning  # an administrator has it tried again since
    sweep(job.pk)
