"""The life of an image job. Each step is one commit, guarded by one conditional UPDATE of the job's row."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts.authentication import Caller
from aichat import db, tracing
from aichat.errors import ApiError
from aichat.generation.failures import as_api_error
from aichat.generation.images import Drawing, ImageAttempt
from aichat.generation.news import refused
from aichat.images import news
from aichat.images.files import Verified, store, sweep
from aichat.images.models import ImageJob, Picture, WebhookDelivery, lease_end
from aichat.images.records import usage_record
from aichat.usage.models import UsageRecord
from credits.limits import limits_of
from credits.services import (
    Outcome,
    Release,
    Reserve,
    Settle,
    Unaffordable,
    apply,
    hold_expiry,
    notice_if_low,
    renew_holds,
)

logger = logging.getLogger(__name__)
Status = ImageJob.Status
LONGEST_BACKOFF = 300.0
HOLD_PREFIX = "image:"  # of the references of their holds


class JobIsRunning(ApiError):
    status, code = 409, "invalid_request"
    message = "This job is running: it can be deleted once it is over."


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
    seal: Callable[[ImageJob], None] = lambda job: None,
) -> ImageJob:
    """Hold `amount` microcredits and write the job, in one commit. Raises `InsufficientCreditsError`.

    A job that is not for the background is born claimed: whoever called this runs it. `seal` writes what else belongs
    into that commit (the answer of an Idempotency-Key).
    """
    job_id = db.uuid7()
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
        api_key_id=key.id if key else None,
        request_id=tracing.request_id(),
        prompt=prompt,
        requested_model=model,
        size=size,
        n=n,
        background=background,
        webhook_url=webhook_url,
        hold_id=reserve.hold.id,
        hold_amount=amount,
        hold_reference=reserve.hold.reference,
    )
    if not background:
        job.status, job.claim, job.attempts, job.run_after = Status.RUNNING, uuid4(), 1, lease_end()
    try:
        db.run_atomic(_enqueue, reserve, job, seal)
    except Unaffordable as error:
        refused(caller, model, error)
        raise
    if background:
        dispatch(job)
    return job


def _enqueue(reserve: Reserve, job: ImageJob, seal: Callable[[ImageJob], None]) -> None:
    apply([reserve])[0].or_raise()
    ImageJob.objects.bulk_create([job])
    seal(job)


def dispatch(job: ImageJob) -> None:
    """Tell Celery, where it is the dispatcher. Without its broker the job waits for the sweep: its row is the truth."""
    if settings.IMAGE_DISPATCHER == "celery":
        try:
            # By name, and imported only where it is used: most installations have no Celery to load.
            import_string("aichat.celery.app").send_task("aichat.images.run", args=[str(job.pk)], retry=False)
        except Exception as error:
            logger.warning("the broker does not answer: %s", type(error).__name__, extra={"job": str(job.pk)})


# --- End --------------------------------------------------------------------------------------------------------------


def finish(job: ImageJob, drawing: "Drawing[Verified]") -> bool:
    """Write what became of a run: pictures and charge, another try later, or failure. False: the job was not ours."""
    if drawing.images:
        return succeed(job, drawing)
    assert drawing.error is not None
    if job.background and drawing.error.outcome.is_retryable and job.attempts < settings.IMAGE_ATTEMPTS:
        return retry_later(job, drawing)
    return fail(job, as_api_error(drawing.error), drawing.attempts)


def succeed(job: ImageJob, drawing: "Drawing[Verified]") -> bool:
    """Store the files, then settle in one commit; when the job is no longer ours the files go again."""
    pictures = []
    for image in drawing.images:
        picture = Picture(job=job, content_type=image.content_type, width=image.width, height=image.height)
        picture.file, picture.thumbnail = store(job.pk, picture.pk, image)
        pictures.append(picture)
    try:
        outcome = db.run_atomic(_succeed, job, drawing, pictures)
    except BaseException:
        discard(pictures)
        raise
    if outcome is None:
        discard(pictures)
        return False
    if job.attempts > 1:
        sweep(job.pk, [name for picture in pictures for name in (picture.file, picture.thumbnail)])
    notice_if_low(outcome, job.user_id)
    news.completed(job, drawing.attempts, outcome.charged)
    return True


def _succeed(job: ImageJob, drawing: "Drawing[Verified]", pictures: list[Picture]) -> Outcome | None:
    served = drawing.served.model
    outcome = None
    if job.unchanged().update(
        status=Status.SUCCEEDED,
        model=served.slug,
        provider=served.provider.slug,
        finished_at=timezone.now(),
    ):
        charge = drawing.charge
        operation = (
            Settle(hold=job.hold, charge=charge, request_id=job.request_id) if charge else Release(hold=job.hold)
        )
        outcome = apply([operation])[0]
        ImageJob.objects.filter(pk=job.pk).update(charged=outcome.charged)
        records = [usage_record(job, attempt) for attempt in drawing.attempts]
        records[-1].final, records[-1].charged, records[-1].shortfall = True, outcome.charged, outcome.shortfall
        records[-1].reference = job.hold_reference if outcome.charged else ""
        UsageRecord.objects.bulk_create(records)
        Picture.objects.bulk_create(pictures)
        announce(job)
    return outcome


def announce(job: ImageJob) -> None:
    """In the commit that ends the job, so that no end goes untold."""
    if job.webhook_url:
        WebhookDelivery.objects.bulk_create([WebhookDelivery(job=job, url=job.webhook_url)])


def discard(pictures: Sequence[Picture]) -> None:
    for picture in pictures:
        picture.delete_files()


def retry_later(job: ImageJob, drawing: "Drawing[Verified]") -> bool:
    """Back into the queue, later each time; the failed attempts are on record."""
    assert drawing.error is not None
    wait = max(drawing.error.retry_after or 0, min(LONGEST_BACKOFF, settings.IMAGE_BACKOFF_SECONDS * 2**job.attempts))
    ours = db.run_atomic(_retry_later, job, timezone.now() + timedelta(seconds=wait), drawing.attempts)
    if ours:
        news.measure(drawing.attempts, is_over=False)
    return ours


def _retry_later(job: ImageJob, run_after: datetime, attempts: Sequence[ImageAttempt]) -> bool:
    ours = job.unchanged().update(status=Status.QUEUED, claim=None, run_after=run_after)
    if ours:
        UsageRecord.objects.bulk_create(usage_record(job, attempt) for attempt in attempts)
        renew_holds([job.hold])
    return bool(ours)


def fail(job: ImageJob, error: ApiError, attempts: Sequence[ImageAttempt] = ()) -> bool:
    """The job is over without a picture: its credits are free again."""
    failed = end(job, Status.FAILED, error.code, error.message[:500], attempts)
    if failed and job.attempts > 1:
        sweep(job.pk)
    return failed


def cancel(job: ImageJob) -> bool:
    """Only a queued job can be cancelled; False when a worker was quicker."""
    return job.status == Status.QUEUED and end(job, Status.CANCELLED)


def end(job: ImageJob, status: str, code: str = "", message: str = "", attempts: Sequence[ImageAttempt] = ()) -> bool:
    ours = db.run_atomic(_end, job, status, code, message, attempts)
    if ours:
        news.ended(job, attempts, status, code)
    return ours


def _end(job: ImageJob, status: str, code: str, message: str, attempts: Sequence[ImageAttempt]) -> bool:
    ended = job.unchanged().update(status=status, error_code=code, error_message=message, finished_at=timezone.now())
    if ended:
        apply([Release(hold=job.hold)])
        records = [usage_record(job, attempt) for attempt in attempts]
        if records:
            records[-1].final = True
            UsageRecord.objects.bulk_create(records)
        announce(job)
    return bool(ended)


def retry(job: ImageJob) -> bool:
    """Put a failed job into the queue again, with a hold of its own. Raises `InsufficientCreditsError`."""
    if job.status != Status.FAILED or not db.run_atomic(_retry, job):
        return False
    dispatch(job)
    return True


def _retry(job: ImageJob) -> bool:
    reference = f"{HOLD_PREFIX}{job.pk}:{db.uuid7().hex[:12]}"
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
        run_after=timezone.now(),
        error_code="",
        error_message="",
        finished_at=None,
        background=True,
        hold_id=reserve.hold.id,
        hold_reference=reference,
    )
    if ours:
        apply([reserve])[0].or_raise()
    return bool(ours)


def purge(days: int, *, batch: int = 200) -> int:
    """Delete the jobs that ended over `days` days ago, with their files; answers how many. Their bills stay."""
    before, deleted = timezone.now() - timedelta(days=days), 0
    over = [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED]
    while True:
        jobs = list(ImageJob.objects.filter(status__in=over, finished_at__lt=before)[:batch])
        for job in jobs:
            delete(job)
        deleted += len(jobs)
        if len(jobs) < batch:
            return deleted


def delete(job: ImageJob) -> None:
    """A queued job is cancelled, a finished one is deleted with its files. Raises `JobIsRunning`."""
    if job.status == Status.QUEUED and cancel(job):
        return
    job.refresh_from_db()
    if not job.is_over:
        raise JobIsRunning
    pictures = list(job.pictures.all())
    job_id = job.pk
    job.delete()
    discard(pictures)
    sweep(job_id)
