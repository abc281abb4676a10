"""What Celery runs. See `aichat/celery.py`."""

import asyncio

from django.utils import timezone

from aichat.celery import app
from aichat.images import leases
from aichat.images.models import ImageJob
from aichat.images.worker import run_job
from aichat.providers import wire


@app.task(name="aichat.images.run")  # type: ignore[untyped-decorator]
def run(job_id: str) -> None:
    """Run the job if it is still waiting for its time to come."""
    job = ImageJob.objects.due(timezone.now()).filter(pk=job_id, status=ImageJob.Status.QUEUED).first()
    if job is not None and leases.take(job):
        asyncio.run(_run(job))


async def _run(job: ImageJob) -> None:
    try:
        await run_job(job)
    finally:
        await wire.close()
