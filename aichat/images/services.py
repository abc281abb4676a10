"""The life of an image job. Each step is one commit, guarded by one conditional UPDATE of the job's row."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from django.conf import settings
from django.db import models
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
from aichat.images.models import ImageJob, Picture, WebhookDelivery
from aichat.usage.models import UsageRecord
from credits.limits import limits_of
from credits.models import Hold
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
        reference=f"image:{job_id}",
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


# --- Claim ------------------------------------------------------------------------------------------------------------


def lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.IMAGE_LEASE_SECONDS)


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
    taken = unchanged(job).update(
        status=Status.RUNNING, claim=claim, run_after=until, attempts=models.F("attempts") + 1
    )
    if taken:
        job.status, job.claim, job.run_after, job.attempts = Status.RUNNING, claim, until, job.attempts + 1
    return bool(taken)


def unchanged(job: ImageJob) -> "models.QuerySet[ImageJob]":
    """The job's row, if nobody has claimed it since it was read."""
    return ImageJob.objects.filter(pk=job.pk, status=job.status, claim=job.claim)


def heartbeat(job: ImageJob) -> bool:
    """Renew the lease and the hold; False when the job is no longer ours."""
    job.run_after = lease_end()
    ours = bool(unchanged(job).update(run_after=job.run_after))
    if ours:
        renew_holds([job.hold])
    return ours


def keep_holds_of_queue() -> None:
    """Queued jobs keep their credits held however long they wait: renew what is past half of its time."""
    soon = timezone.now() + timedelta(seconds=settings.HOLD_TTL / 2)
    waiting = ImageJob.objects.filter(status=Status.QUEUED).values_list("hold_id", flat=True)[:1000]
    ageing = Hold.objects.filter(id__in=list(waiting), state=Hold.State.OPEN, expires_at__lt=soon)
    renew_holds([hold.ref for hold in ageing])


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
    if unchanged(job).update(
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
    ours = unchanged(job).update(status=Status.QUEUED, claim=None, run_after=run_after)
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


def give_up(job: ImageJob) -> bool:
    """Its workers died, as often as a job may be tried."""
    logger.error("image job given up", extra={"job": str(job.pk)})
    return fail(job, ApiError("The job was interrupted too often."))


def cancel(job: ImageJob) -> bool:
    """Only a queued job can be cancelled; False when a worker was quicker."""
    return job.status == Status.QUEUED and end(job, Status.CANCELLED)


def end(job: ImageJob, status: str, code: str = "", message: str = "", attempts: Sequence[ImageAttempt] = ()) -> bool:
    ours = db.run_atomic(_end, job, status, code, message, attempts)
    if ours:
        news.ended(job, attempts, status, code)
    return ours


def _end(job: ImageJob, status: str, code: str, message: str, attempts: Sequence[ImageAttempt]) -> bool:
    ended = unchanged(job).update(status=status, error_code=code, error_message=message, finished_at=timezone.now())
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
    reference = f"image:{job.pk}:{db.uuid7().hex[:12]}"
    reserve = Reserve(
        wallet_id=job.organization_id,
        amount=job.hold_amount,
        expires_at=hold_expiry(),
        reference=reference,
        request_id=job.request_id,
    )
    ours = unchanged(job).update(
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


# --- Records ----------------------------------------------------------------------------------------------------------


def usage_record(job: ImageJob, attempt: ImageAttempt) -> UsageRecord:
    rates, now = attempt.model.rates, timezone.now()
    assert rates is not None  # routing leaves out models without a price
    return UsageRecord(
        kind=UsageRecord.Kind.IMAGE,
        request_id=job.request_id,
        organization_id=job.organization_id,
        user_id=job.user_id,
        api_key_id=job.api_key_id,
        requested_model=job.requested_model,
        model=attempt.model.slug,
        provider=attempt.model.provider.slug,
        status=attempt.status,
        attempt=attempt.number,
        final=False,
        fallback=attempt.number > 1,
        input_tokens=attempt.usage.input_tokens,
        output_tokens=attempt.usage.output_tokens,
        images=attempt.usage.images,
        cost_nanousd=rates.cost_nanousd(attempt.usage),
        prices=rates.snapshot().value,
        hold_id=job.hold_id,
        latency_ms=round(attempt.seconds * 1000),
        created_at=now,
        day=now.date(),
    )


def position_in_queue(job: ImageJob) -> int | None:
    """How many jobs run before this one; None unless it is queued."""
    if job.status != Status.QUEUED:
        return None
    return ImageJob.objects.filter(status=Status.QUEUED, run_after__lt=job.run_after).count()
