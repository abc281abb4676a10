"""The task that Celery runs (`aichat/celery.py`)."""

import asyncio

from celery import shared_task

from aichat.core.database import clock
from aichat.images import claims
from aichat.images.models import ImageJob
from aichat.images.worker import run_job
from aichat.providers import http


@shared_task(name="aichat.images.run")  # type: ignore[untyped-decorator]
def run(job_id: str) -> None:
    """Run the job, if it is queued and due."""
    clock.keep_compared()
    job = ImageJob.objects.due(clock.shared_now()).filter(pk=job_id, status=ImageJob.Status.QUEUED).first()
    if job is not None and claims.take(job):
        asyncio.run(_run(job))


async def _run(job: ImageJob) -> None:
    try:
        await run_job(job)
    finally:
        await http.close()
