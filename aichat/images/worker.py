"""Runs image jobs: of a request, and of the queue, inside a serving process or as `manage.py run_image_worker`."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from accounts.models import AccessToken
from aichat.catalog import routing, snapshot
from aichat.catalog.models import AIModel
from aichat.core.background import lifecycle
from aichat.core.database import clock, executor, outages, transactions
from aichat.core.errors import ApiError
from aichat.core.telemetry import spans, tracing
from aichat.generation.images import Drawing, able, draw
from aichat.images import claims, completion
from aichat.images.models import ImageJob, Picture
from aichat.images.storage import Verified, verify
from aichat.images.webhooks import WebhookSender
from aichat.providers.errors import AttemptOutcome, ProviderError

logger = logging.getLogger(__name__)
RENEW_AGAIN_SECONDS = 0.5  # after a renewal that failed
SETTLE_AGAIN_SECONDS = 1.0
AFTER_OUTAGE_SECONDS = 3.0  # in which running jobs renew their leases, before anybody takes what has expired
STORAGE_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between two tries to store pictures
UNSTORED = "unstored"  # the status of an attempt whose pictures could not be stored


async def run_job(job: ImageJob) -> None:
    """Run a claimed job to its end and renew its lease meanwhile. An error ends the job, never the worker."""
    tracing.begin(job.request_id, job.traceparent or "")
    tracing.bind(user=job.user_id, organization=job.organization_id)
    with spans.step("image job", {"aichat.request_id": job.request_id, "aichat.job": str(job.pk)}, kind="CONSUMER"):
        running = asyncio.ensure_future(_run(job))
        pause = settings.IMAGE_LEASE_SECONDS / 3
        while not (await asyncio.wait({running}, timeout=pause))[0]:
            pause = await _keep(job, running)
        with suppress(asyncio.CancelledError):
            await running


async def _keep(job: ImageJob, running: "asyncio.Task[None]") -> float:
    """Renew the job's lease, or cancel the run of a job that another worker has. Returns the seconds until the next time.

    While the database is away nobody else can take the job either, so the run goes on.
    """
    try:
        if not await executor.run(claims.heartbeat, job):
            running.cancel()
    except DatabaseError as error:
        logger.warning("the lease of an image job can't be renewed: %s", error, extra={"job": str(job.pk)})
        return RENEW_AGAIN_SECONDS
    return settings.IMAGE_LEASE_SECONDS / 3


class LeaseLost(Exception):
    """Another worker has the job."""


async def _confirm(job: ImageJob) -> None:
    """Have the job's lease before a provider is asked, who bills every picture that is drawn, and before files are stored.

    A worker that was frozen or without a database for longer than its lease renews it first, as soon as the database
    answers. Raises `LeaseLost`.
    """
    while clock.shared_now() >= job.run_after:
        try:
            if not await executor.run(claims.heartbeat, job):
                raise LeaseLost
        except DatabaseError:
            await asyncio.sleep(RENEW_AGAIN_SECONDS)


async def _run(job: ImageJob) -> None:
    try:
        # No caller: whether the job's owner may use the model was checked when the job was made.
        found = routing.candidates(await snapshot.ready(), None, job.requested_model, AIModel.Kind.IMAGE)
        if len(found) > 1 and job.api_key_id:
            slugs = await executor.run(models_of_key, job.api_key_id)
            found = [model for model in found if not slugs or model.is_named_in(slugs)] or found[:1]
        candidates = able(found, job.size)
        drawing = await draw(
            candidates,
            prompt=job.prompt,
            size=job.size,
            n=job.n,
            request_id=job.request_id,
            check=verify,
            confirm=partial(_confirm, job),
        )
        if drawing.images:
            await _confirm(job)
        with spans.step("settle"):
            await _to_its_end(complete(job, drawing))
    except LeaseLost:
        logger.warning("an image job is left to the worker that has it now", extra={"job": str(job.pk)})
    except ApiError as error:
        await executor.run(completion.fail, job, error)
    except Exception:
        logger.exception("image job failed")
        await executor.run(completion.fail, job, ApiError())


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work`, also when this run is cancelled because its lease is lost: then `work` deletes what it has stored.

    The run's worker waits for the run before it stops, and so for `work`.
    """
    ending = asyncio.ensure_future(work)
    while not ending.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({ending})
    await ending


def models_of_key(key_id: UUID) -> list[str]:
    """The slugs of the models that an API key may use; empty: all."""
    slugs = AccessToken.objects.filter(id=key_id).values_list("allowed_models", flat=True).first()
    return list(slugs or ())


async def complete(job: ImageJob, drawing: Drawing[Verified]) -> None:
    """Store and settle what was drawn, again and again while the storage or the database is away.

    A storage that stays away for `STORAGE_PAUSES` ends the attempt: its cost is recorded, and the job is tried again later.
    """
    pictures = await stored(job, drawing) if drawing.images else ()
    while True:
        try:
            await executor.run(completion.finish, job, drawing, pictures)
            return
        except DatabaseError as error:
            if not transactions.is_unavailable(error):
                completion.discard(pictures)
                raise
            logger.warning("the database is away; ending an image job again: %s", error, extra={"job": str(job.pk)})
        await asyncio.sleep(SETTLE_AGAIN_SECONDS)


async def stored(job: ImageJob, drawing: Drawing[Verified]) -> Sequence[Picture]:
    """The pictures' unsaved rows, once their files are stored.

    When the storage stays away there are none: then the drawing has an error, and its attempt the status `UNSTORED`.
    """
    for pause in (*STORAGE_PAUSES, None):
        try:
            return await executor.run(completion.store_pictures, job, drawing)
        except Exception as error:  # each storage has errors of its own
            logger.warning("pictures can't be stored: %r", error, extra={"job": str(job.pk)})
        if pause is not None:
            await asyncio.sleep(pause)
    drawing.served.status = UNSTORED
    drawing.images, drawing.error = [], ProviderError(AttemptOutcome.UNREACHABLE, "the storage of pictures is away")
    return ()


class ImageWorker:
    """Takes jobs from the queue and runs `concurrency` of them at a time."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.running: set[asyncio.Task[None]] = set()
        self.stopping = asyncio.Event()
        self.webhooks = WebhookSender()
        self.rests_until = 0.0  # monotonic seconds

    async def run(self) -> None:
        """Work until `stop` is called; then take no new job, and finish those that run. Webhooks go beside the queue."""
        sending = asyncio.get_running_loop().create_task(self.webhooks.run())
        while not self.stopping.is_set():
            try:
                await executor.run(clock.keep_compared)
                await executor.run(claims.keep_holds_of_queue)
                free = self.concurrency - len(self.running)
                if free and monotonic() >= self.rests_until:
                    for job in await executor.run(claims.claim_due, free):
                        self.start(job)
            except Exception as error:
                outages.log_failure(logger, "reading the queue of image jobs", error)
                self.rests_until = monotonic() + AFTER_OUTAGE_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), settings.IMAGE_POLL_SECONDS)
        if self.running:
            logger.info("finishing %d image jobs", len(self.running))
            await asyncio.gather(*self.running, return_exceptions=True)
        self.webhooks.stop()
        await sending

    def start(self, job: ImageJob) -> None:
        task = asyncio.get_running_loop().create_task(self.watched(job))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def watched(self, job: ImageJob) -> None:
        try:
            await run_job(job)
            logger.info("image job ended", extra={"job": str(job.pk), "attempt": job.attempts})
        except Exception:
            logger.exception("image job left to its lease", extra={"job": str(job.pk)})

    def stop(self) -> None:
        self.stopping.set()


_embedded: tuple[ImageWorker, asyncio.Task[None]] | None = None


@lifecycle.on_startup
async def start_embedded() -> None:
    """Start a worker inside the serving process, so that background images need no other process."""
    global _embedded
    if settings.IMAGE_WORKER_CONCURRENCY:
        worker = ImageWorker(settings.IMAGE_WORKER_CONCURRENCY)
        _embedded = worker, asyncio.get_running_loop().create_task(worker.run())


@lifecycle.on_shutdown
async def stop_embedded() -> None:
    global _embedded
    if _embedded:
        worker, task = _embedded
        _embedded = None
        worker.stop()
        await task
