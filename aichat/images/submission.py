"""The job of a request for pictures: made now, or found by the request's Idempotency-Key.

The commit that holds the credits stores the job's ID as the key's answer. From then on a repeated request is answered from
the job's row, even if the process that made the job has died.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest

from accounts.authentication import Caller
from accounts.tenancy import owned
from aichat.catalog import routing, snapshot
from aichat.catalog.models import AIModel
from aichat.core.background import lifecycle
from aichat.core.database import executor
from aichat.core.database.models import uuid7
from aichat.core.database.outcomes import OutcomeUnknown
from aichat.core.errors import ApiError
from aichat.flags import evaluation
from aichat.flags.features import BACKGROUND_IMAGES, IMAGES
from aichat.generation.images import able, most_it_can_cost
from aichat.idempotency import renewal
from aichat.idempotency.keys import Answer, IdempotencyInProgress, KeyClaim, key_of
from aichat.images import jobs
from aichat.images.models import ImageJob, jobs_of
from aichat.images.worker import run_job

logger = logging.getLogger(__name__)
# Seconds before each look for a job whose COMMIT got no answer: a minute in all.
WITHDRAW_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0)
STATUS_OF = {"content_blocked": 400, "invalid_request": 400, "provider_error": 502, "provider_timeout": 504}


@dataclass(frozen=True, slots=True)
class Submission:
    """The job of a request. `replayed` says that an earlier request with the same Idempotency-Key made the job."""

    job: ImageJob
    claim: KeyClaim | None = None
    replayed: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return {"Idempotent-Replayed": "true"} if self.replayed else {}


async def ask(request: HttpRequest, caller: Caller, **wanted: Any) -> Submission:
    """Make the job of a request, or find it by the request's Idempotency-Key.

    Raises what `begin` raises, `IdempotencyConflict`, and `IdempotencyInProgress` while the first request is running.
    """
    key = key_of(request)
    if key is None:
        return Submission(await begin(caller, **wanted))
    claimed = await renewal.claim(caller, key, request)
    if isinstance(claimed, Answer):
        job = await executor.run(owned, jobs_of(caller), caller.organization, orjson.loads(claimed.body)["job"])
        if not (job.background or job.is_over):
            raise IdempotencyInProgress
        return Submission(job, replayed=True)
    try:
        return Submission(await begin(caller, claimed, **wanted), claimed)
    except BaseException:
        await lifecycle.finish(renewal.free(claimed))
        raise
    finally:
        renewal.held.discard(claimed)


async def begin(
    caller: Caller,
    claim: KeyClaim | None = None,
    *,
    prompt: str,
    model: str,
    size: str,
    n: int,
    background: bool,
    webhook_url: str = "",
) -> ImageJob:
    """Check the request, hold its credits and write its job.

    Raises `FeatureDisabled`, `ModelNotFound`, `InvalidRequest`, `InsufficientCreditsError`.
    """
    await evaluation.ready()
    evaluation.require(IMAGES, caller)
    if background:
        evaluation.require(BACKGROUND_IMAGES, caller)
    candidates = able(routing.candidates(await snapshot.ready(), caller, model, AIModel.Kind.IMAGE), size)

    def store_replay(job: ImageJob) -> None:
        if claim:
            claim.complete(Answer(202, orjson.dumps({"job": str(job.pk)})))

    job_id = uuid7()
    enqueued = lifecycle.finish(
        executor.run(
            jobs.enqueue,
            caller,
            prompt=prompt,
            model=model,
            size=size,
            n=n,
            background=background,
            webhook_url=webhook_url,
            amount=most_it_can_cost(candidates, prompt, n),
            job_id=job_id,
            store_replay=store_replay,
        )
    )
    try:
        return await enqueued
    except OutcomeUnknown:
        lifecycle.spawn(withdraw(job_id, claim))
        raise


async def withdraw(job_id: UUID, claim: KeyClaim | None) -> None:
    """Cancel a job that may have been made, as soon as the database says that it was, and free its credits and its key."""
    for pause in WITHDRAW_PAUSES:
        await asyncio.sleep(pause)
        try:
            if await executor.run(jobs.withdraw, job_id):
                if claim:
                    await executor.run(claim.forget)
                return
        except DatabaseError as error:
            logger.warning("an image job can't be withdrawn yet: %s", error, extra={"job": str(job_id)})


async def run_now(asked: Submission) -> ImageJob:
    """Run the job to its end, also when the client leaves. Raises the error the job ended with; then its key is free."""
    job = asked.job
    if not job.is_over:
        await lifecycle.finish(_run(asked))
    if job.error_code:
        raise ApiError(job.error_message, code=job.error_code, status=STATUS_OF.get(job.error_code, 503))
    return job


async def _run(asked: Submission) -> None:
    await run_job(asked.job)
    await executor.run(asked.job.refresh_from_db)
    while not asked.job.is_over:  # its lease was lost: another worker has the job
        await asyncio.sleep(settings.IMAGE_POLL_SECONDS)
        await executor.run(asked.job.refresh_from_db)
    if asked.job.error_code and asked.claim:
        await executor.run(asked.claim.forget)
