"""Measurements, product events and usage records of image jobs."""

from collections.abc import Sequence

from aichat.core.database import clock
from aichat.core.telemetry import measurements, product_events
from aichat.generation.images import ImageAttempt
from aichat.generation.reporting import implausible
from aichat.images.models import ImageJob
from aichat.usage.models import UsageRecord


def completed(job: ImageJob, attempts: Sequence[ImageAttempt], charged: int) -> None:
    """Report a job whose pictures are stored and paid with `charged` microcredits; after the commit."""
    measure(job, attempts, is_over=True, charged=charged)
    served = attempts[-1]
    product_events.emit(
        product_events.ImageCompleted(
            user=job.user_id,
            organization=job.organization_id,
            model=served.model.slug,
            provider=served.model.provider.slug,
            images=served.usage.images,
            charged=charged,
        )
    )


def ended(job: ImageJob, attempts: Sequence[ImageAttempt], status: str, code: str) -> None:
    """Report a job that ended without a picture; after the commit."""
    measure(job, attempts, is_over=True)
    product_events.emit(
        product_events.ImageFailed(user=job.user_id, organization=job.organization_id, status=status, code=code)
    )


def measure(job: ImageJob, attempts: Sequence[ImageAttempt], *, is_over: bool, charged: int = 0) -> None:
    """Note a measurement of each attempt. `charged` (microcredits) is on the last one, when the job `is_over`."""
    for attempt in attempts:
        is_final = is_over and attempt is attempts[-1]
        measurements.note(
            measurements.AttemptEnded(
                kind="image",
                provider=attempt.model.provider.slug,
                model=attempt.model.slug,
                outcome=attempt.status,
                final=is_final,
                seconds=attempt.seconds,
                input_tokens=attempt.usage.input_tokens,
                output_tokens=attempt.usage.output_tokens,
                images=attempt.usage.images,
                charged=charged if is_final else 0,
                fallback=attempt.number > 1,
                source=attempt.source,
            )
        )
        if attempt.reported:
            implausible(job.user_id, job.organization_id, attempt.model, attempt.reported, attempt.usage)


def usage_record(job: ImageJob, attempt: ImageAttempt) -> UsageRecord:
    """The unsaved usage record of one attempt, without a charge."""
    rates, now = attempt.model.rates, clock.shared_now()
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
        source=attempt.source,
        reported=attempt.reported,
        cost_nanousd=rates.cost_nanousd(attempt.billed),
        prices=rates.snapshot().value,
        hold_id=job.hold_id,
        latency_ms=round(attempt.seconds * 1000),
        created_at=now,
        day=now.date(),
    )
