"""How an image job ends: pictures and charge, another try later, or failure. Each end is one commit."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from django.conf import settings
from django.core.files.storage import default_storage

from aichat.core.database import clock, transactions
from aichat.core.errors import ApiError
from aichat.generation.errors import as_api_error
from aichat.generation.images import Drawing, ImageAttempt
from aichat.images import reporting
from aichat.images.models import ImageJob, Picture, WebhookDelivery
from aichat.images.reporting import usage_record
from aichat.images.storage import Verified, store, stored_files
from aichat.images.webhooks import receiver_of
from aichat.usage.models import UsageRecord
from credits.services import (
    OperationResult,
    Release,
    Settle,
    apply,
    notice_if_low,
    renew_holds,
)

logger = logging.getLogger(__name__)
Status = ImageJob.Status
LONGEST_BACKOFF = 300.0


def finish(job: ImageJob, drawing: "Drawing[Verified]", pictures: Sequence[Picture] = ()) -> bool:
    """Write what became of a run: pictures and charge, another try later, or failure.

    `pictures` are stored already, and not yet in the database. Called again after an unknown outcome, the function finds
    what it had written. Returns False when the job was another worker's: then nothing was written.
    """
    if pictures:
        return succeed(job, drawing, pictures)
    assert drawing.error is not None
    if job.background and drawing.error.outcome.is_retryable and job.attempts < settings.IMAGE_ATTEMPTS:
        return retry_later(job, drawing)
    return fail(job, as_api_error(drawing.error), drawing.attempts)


def store_pictures(job: ImageJob, drawing: "Drawing[Verified]") -> list[Picture]:
    """Store the files of the images. Returns unsaved rows; raises what the storage raises, and then keeps no file."""
    pictures: list[Picture] = []
    try:
        for image in drawing.images:
            picture = Picture(job=job, content_type=image.content_type, width=image.width, height=image.height)
            picture.file, picture.thumbnail = store(job.pk, picture.pk, image)
            pictures.append(picture)
    except BaseException:
        with suppress(Exception):  # the storage that failed may fail again; the next attempt deletes what is left
            discard(pictures)
        raise
    return pictures


def succeed(job: ImageJob, drawing: "Drawing[Verified]", pictures: Sequence[Picture]) -> bool:
    """Settle the job in one commit. Returns False, and deletes the files again, when another worker has the job.

    Raises `OutcomeUnknown`, and then leaves the files where they are: their job may be paid.
    """
    delete_leftovers(job, pictures)
    result = transactions.run_repeatable(_succeed, job, drawing, pictures)
    if result is None:
        discard(pictures)
        return False
    notice_if_low(result, job.user_id)
    reporting.completed(job, drawing.attempts, result.charged)
    return True


def _succeed(job: ImageJob, drawing: "Drawing[Verified]", pictures: Sequence[Picture]) -> OperationResult | None:
    served = drawing.served.model
    charge = min(drawing.charge, job.hold_amount)
    operation = Settle(hold=job.hold, charge=charge, request_id=job.request_id) if charge else Release(hold=job.hold)
    result = None
    if job.unchanged().update(
        status=Status.SUCCEEDED,
        model=served.slug,
        provider=served.provider.slug,
        finished_at=clock.shared_now(),
    ):
        result = apply([operation])[0]
        ImageJob.objects.filter(pk=job.pk).update(
            charged=result.charged, files_size=sum(image.size for image in drawing.images)
        )
        records = [usage_record(job, attempt) for attempt in drawing.attempts]
        records[-1].final, records[-1].charged, records[-1].shortfall = True, result.charged, result.shortfall
        records[-1].reference = job.hold_reference if result.charged else ""
        UsageRecord.objects.bulk_create(records)
        Picture.objects.bulk_create(pictures)
        announce(job)
    elif ImageJob.objects.filter(pk=job.pk, status=Status.SUCCEEDED, claim=job.claim).exists():
        result = apply([operation])[0]  # an earlier run was committed: the ledger answers with its charge
    return result


def announce(job: ImageJob) -> None:
    """Write the job's webhook delivery, in the commit that ends the job: so its receiver is told in any case.

    A job that failed and was tried again ends once more: its delivery begins anew, and an attempt under way counts for
    nothing.
    """
    again = {"state": WebhookDelivery.State.WAITING, "attempts": 0, "claim": None, "next_at": clock.shared_now()}
    if job.webhook_url and not WebhookDelivery.objects.filter(job=job).update(**again, status_code=None, problem=""):
        row = WebhookDelivery(
            job=job,
            url=job.webhook_url,
            receiver=receiver_of(job.webhook_url),
            organization_id=job.organization_id,
            next_at=clock.shared_now(),
        )
        WebhookDelivery.objects.bulk_create([row])


def delete_leftovers(job: ImageJob, pictures: Sequence[Picture] = ()) -> None:
    """Delete the files that earlier attempts of a running job left behind, as a worker does that dies before its commit.

    A worker calls this before it ends the attempt: if it dies in between, the job goes on, and its next worker calls this.
    The files are listed before the job is known to be still the worker's. So none of them is of a later attempt,
    however long this process is frozen between two steps. A storage that is away keeps no job from its end.
    """
    if job.attempts < 2:
        return
    kept = {name for picture in pictures for name in (picture.file, picture.thumbnail)}
    try:
        leftovers = set(stored_files(job.pk)) - kept
        if leftovers and job.unchanged().exists():
            for name in leftovers:
                default_storage.delete(name)
    except Exception as error:  # each storage has errors of its own
        logger.warning("an image job's old files can't be deleted: %r", error, extra={"job": str(job.pk)})


def discard(pictures: Sequence[Picture]) -> None:
    for picture in pictures:
        picture.delete_files()


def retry_later(job: ImageJob, drawing: "Drawing[Verified]") -> bool:
    """Put the job back into the queue, for a later time after each attempt, and record the failed attempts.

    Returns False when the job was another worker's.
    """
    assert drawing.error is not None
    delete_leftovers(job)
    wait = max(drawing.error.retry_after or 0, min(LONGEST_BACKOFF, settings.IMAGE_BACKOFF_SECONDS * 2**job.attempts))
    ours = transactions.run_atomic(_retry_later, job, clock.shared_now() + timedelta(seconds=wait), drawing.attempts)
    if ours:
        reporting.measure(job, drawing.attempts, is_over=False)
    return ours


def _retry_later(job: ImageJob, run_after: datetime, attempts: Sequence[ImageAttempt]) -> bool:
    ours = job.unchanged().update(status=Status.QUEUED, claim=None, run_after=run_after)
    if ours:
        UsageRecord.objects.bulk_create(usage_record(job, attempt) for attempt in attempts)
        renew_holds([job.hold])
    return bool(ours)


def fail(job: ImageJob, error: ApiError, attempts: Sequence[ImageAttempt] = ()) -> bool:
    """End the job without a picture: its credits are free again. Returns False when the job was another worker's."""
    delete_leftovers(job)
    return end(job, Status.FAILED, error.code, error.message[:500], attempts)


def end(job: ImageJob, status: str, code: str = "", message: str = "", attempts: Sequence[ImageAttempt] = ()) -> bool:
    """End the job in one commit as failed or cancelled, and report it. Returns False when the job has changed meanwhile."""
    ours = transactions.run_atomic(_end, job, status, code, message, attempts)
    if ours:
        reporting.ended(job, attempts, status, code)
    return ours


def _end(job: ImageJob, status: str, code: str, message: str, attempts: Sequence[ImageAttempt]) -> bool:
    ended = job.unchanged().update(
        status=status, error_code=code, error_message=message, files_size=0, finished_at=clock.shared_now()
    )
    if ended:
        apply([Release(hold=job.hold)])
        records = [usage_record(job, attempt) for attempt in attempts]
        if records:
            records[-1].final = True
            UsageRecord.objects.bulk_create(records)
        announce(job)
    return bool(ended)
