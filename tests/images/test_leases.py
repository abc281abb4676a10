"""Leases of image jobs when a step comes late: a process was frozen, or waited for the database, between any two steps."""

from datetime import timedelta

from django.utils import timezone

from aichat.core.errors import ApiError
from aichat.images import claims, completion, jobs
from aichat.images.models import ImageJob
from tests.conftest import Actor
from tests.images.test_workers import enqueue

EXPIRED = timedelta(seconds=1)


def expire(job: ImageJob) -> None:
    """Let the job's lease run out, as if its worker had been frozen."""
    job.run_after = timezone.now() - EXPIRED
    ImageJob.objects.filter(pk=job.pk).update(run_after=job.run_after)


def running(actor: Actor, **fields: int) -> tuple[ImageJob, ImageJob]:
    """A job whose lease has run out: as its worker has it, and as another one has just read it."""
    job = enqueue(actor)
    ImageJob.objects.filter(pk=job.pk).update(**fields)
    job = ImageJob.objects.get(pk=job.pk)
    assert claims.take(job)
    expire(job)
    return job, ImageJob.objects.get(pk=job.pk)


def test_a_worker_that_renews_its_lease_in_the_last_moment_keeps_its_job(alice: Actor, catalog: None) -> None:
    job, late = running(alice)
    assert claims.heartbeat(job)  # it may ask a provider now
    assert not claims.take(late)
    assert claims.heartbeat(job)


def test_a_worker_that_renews_its_last_lease_in_the_last_moment_is_not_given_up(alice: Actor, catalog: None) -> None:
    job, late = running(alice, attempts=2)
    assert claims.heartbeat(job)
    assert not claims.give_up(late)
    assert ImageJob.objects.get().status == "running"


def test_a_job_that_has_failed_and_is_queued_again_since_it_was_read_is_not_taken_with_its_old_hold(
    alice: Actor, catalog: None
) -> None:
    late = enqueue(alice)
    job = ImageJob.objects.get()
    assert claims.take(job) and completion.fail(job, ApiError())
    assert jobs.retry(ImageJob.objects.get())
    assert not claims.take(late)
    assert ImageJob.objects.get().hold_id != late.hold_id
