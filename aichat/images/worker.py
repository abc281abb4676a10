"""Runs image jobs: of a request, and of the queue, inside a serving process or as `manage.py run_image_worker`."""

import asyncio
import logging
from contextlib import suppress

from django.conf import settings

from aichat.catalog import routing
from aichat.catalog.models import AIModel
from aichat.core.background import lifecycle
from aichat.core.database import executor
from aichat.core.errors import ApiError
from aichat.core.telemetry import tracing
from aichat.generation.images import able, draw
from aichat.generation.pipeline import catalog
from aichat.images import claims, completion, webhooks
from aichat.images.models import ImageJob
from aichat.images.storage import verify

logger = logging.getLogger(__name__)


async def run_job(job: ImageJob) -> None:
    """Run a claimed job to its end and renew its lease meanwhile. An error ends the job, never the worker."""
    tracing.begin(job.request_id)
    tracing.bind(user=job.user_id, organization=job.organization_id)
    running = asyncio.ensure_future(_run(job))
    while not (await asyncio.wait({running}, timeout=settings.IMAGE_LEASE_SECONDS / 3))[0]:
        if not await executor.run(claims.heartbeat, job):
            running.cancel()  # the lease ran out, somebody else has the job
            with suppress(asyncio.CancelledError):
                await running
            return
    await running


async def _run(job: ImageJob) -> None:
    try:
        # Whether its owner may use the model was asked when the job was made.
        found = routing.candidates(await catalog(), None, job.requested_model, AIModel.Kind.IMAGE)
        candidates = able(found, job.size)
        drawing = await draw(
            candidates, prompt=job.prompt, size=job.size, n=job.n, request_id=job.request_id, check=verify
        )
        await lifecycle.finish(executor.run(completion.finish, job, drawing))
    except ApiError as error:
        await executor.run(completion.fail, job, error)
    except Exception:
        logger.exception("image job failed")
        await executor.run(completion.fail, job, ApiError())


class ImageWorker:
    """Takes jobs from the queue and runs `concurrency` of them at a time."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.running: set[asyncio.Task[None]] = set()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until `stop` is called; then take no new job, and finish those that run."""
        while not self.stopping.is_set():
            try:
                await executor.run(claims.keep_holds_of_queue)
                free = self.concurrency - len(self.running)
                await webhooks.send_due()
                for job in await executor.run(claims.claim_due, free) if free else []:
                    self.start(job)
            except Exception:
                logger.exception("the queue of image jobs can't be read")
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), settings.IMAGE_POLL_SECONDS)
        if self.running:
            logger.info("finishing %d image jobs", len(self.running))
            await asyncio.gather(*self.running, return_exceptions=True)

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
