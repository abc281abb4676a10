"""Leases of image jobs when a step comes late: a process was frozen, or waited for the database, between any two steps."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone

from aichat.core.background import lifecycle
from aichat.core.database import executor, transactions
from aichat.core.database.models import uuid7
from aichat.core.errors import ApiError
from aichat.images import claims, completion, jobs, storage, submission, worker
from aichat.images.models import ImageJob, Picture
from aichat.providers import http as http_of_providers
from tests.conftest import Actor
from tests.images.conftest import PNG, Answer, FakeUpstream
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


def files(settings: Any) -> set[str]:
    return {file.relative_to(settings.MEDIA_ROOT).as_posix() for file in Path(settings.MEDIA_ROOT).rglob("*.png")}


def files_of_pictures() -> set[str]:
    return {name for picture in Picture.objects.all() for name in (picture.file, picture.thumbnail)}


def run(job: ImageJob) -> None:
    """Run a claimed job to its end, as a process that stops after it."""

    async def run_and_close() -> None:
        await worker.run_job(job)
        await http_of_providers.close()

    try:
        asyncio.run(run_and_close())
    finally:
        executor.close()


def after(work: Callable[..., Any], happens: Callable[[], Any]) -> Callable[..., Any]:
    """`work`, and what happens right after it has returned."""

    def both(*args: Any, **kwargs: Any) -> Any:
        found = work(*args, **kwargs)
        happens()
        return found

    return both


class Death(BaseException):
    """Stands for the end of a process: no code catches it."""


def die() -> None:
    raise Death


@pytest.mark.parametrize("attempts", [1, 3], ids=["it succeeds", "it is given up"])
def test_no_file_of_an_earlier_attempt_stays_when_the_process_dies_right_after_the_commit(
    transactional_db: None,
    alice: Actor,
    catalog: None,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    attempts: int,
) -> None:
    _, job = running(alice)
    storage.store(job.pk, uuid7(), storage.verify(PNG))  # and then the first worker died
    ImageJob.objects.update(attempts=attempts)
    for name in ("run_repeatable", "run_atomic"):
        monkeypatch.setattr(transactions, name, after(getattr(transactions, name), die))
    with pytest.raises(Death):
        for claimed in claims.claim_due(1):
            run(claimed)
    assert ImageJob.objects.get().status == ("succeeded" if attempts == 1 else "failed")
    assert len(files_of_pictures()) == (2 if attempts == 1 else 0)
    assert files(settings) == files_of_pictures()


def test_pictures_of_a_later_attempt_stay_although_a_failed_one_ends_slowly(
    transactional_db: None, alice: Actor, catalog: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = running(alice, attempts=1)

    def try_again() -> None:
        monkeypatch.undo()
        assert jobs.retry(ImageJob.objects.get())
        for claimed in claims.claim_due(1):
            run(claimed)

    monkeypatch.setattr(transactions, "run_atomic", after(transactions.run_atomic, try_again))
    assert completion.fail(job, ApiError())
    assert ImageJob.objects.get().status == "succeeded"
    assert len(files(settings)) == 2 and files(settings) == files_of_pictures()


def test_a_worker_that_has_lost_its_job_deletes_no_file_of_it(
    transactional_db: None, alice: Actor, catalog: None, settings: Any
) -> None:
    late, _ = running(alice, attempts=1)
    for claimed in claims.claim_due(1):
        run(claimed)
    assert not completion.fail(late, ApiError())
    assert len(files(settings)) == 2 and files(settings) == files_of_pictures()


def lose(job: ImageJob) -> None:
    """Let another worker take the job, which has just asked a provider."""
    job.run_after = timezone.now() - EXPIRED
    ImageJob.objects.filter(pk=job.pk).update(claim=uuid7(), attempts=2)


def test_a_worker_that_has_lost_its_job_while_it_asked_stores_no_picture(
    upstream: FakeUpstream, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = enqueue(alice, model="gpt-image-2")
    assert claims.take(job)

    def draw_late() -> Answer:
        lose(job)
        return upstream.picture("/v1/images/generations", {"n": 1})

    upstream.script = [draw_late]
    stored: list[ImageJob] = []
    monkeypatch.setattr(completion, "store_pictures", lambda job, drawing: stored.append(job))
    run(job)
    assert (len(upstream.requests), stored) == (1, [])
    assert ImageJob.objects.get().status == "running"


def test_a_worker_that_loses_its_job_while_it_stores_the_pictures_deletes_them_before_it_stops(
    transactional_db: None, alice: Actor, catalog: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.IMAGE_LEASE_SECONDS = 0.3
    job = enqueue(alice)
    assert claims.take(job)
    store_pictures, stored = completion.store_pictures, list[Picture]()

    def store_slowly(job: ImageJob, drawing: Any) -> list[Picture]:
        lose(job)
        time.sleep(0.5)  # meanwhile a renewal finds that the lease is lost
        stored.extend(store_pictures(job, drawing))
        return stored

    monkeypatch.setattr(completion, "store_pictures", store_slowly)
    run(job)
    assert len(stored) == 1 and files(settings) == set()


def test_a_request_whose_job_another_worker_has_taken_is_answered_with_that_workers_picture(
    http: httpx.Client, upstream: FakeUpstream, alice: Actor, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.IMAGE_POLL_SECONDS = 0.1

    async def is_frozen(job: ImageJob) -> None:
        await executor.run(expire, job)
        (taken,) = await executor.run(claims.claim_due, 1)
        lifecycle.spawn(worker.run_job(taken))
        assert not await executor.run(claims.heartbeat, job)

    monkeypatch.setattr(submission, "run_job", is_frozen)
    body = {"prompt": "a cat", "model": "gpt-image-2"}
    answer = http.post("/v1/images/generations", json=body, headers=alice.headers)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == 1 and float(answer.headers["X-Credits-Charged"]) > 0
