"""What others are told of an image job, after the commit that made it true."""

from collections.abc import Sequence

from aichat import events, measurements
from aichat.generation.images import ImageAttempt
from aichat.images.models import ImageJob


def completed(job: ImageJob, attempts: Sequence[ImageAttempt], charged: int) -> None:
    """Its pictures are stored and paid: `charged` microcredits."""
    measure(attempts, is_over=True, charged=charged)
    served = attempts[-1]
    events.emit(
        events.ImageCompleted(
            user=job.user_id,
            organization=job.organization_id,
            model=served.model.slug,
            provider=served.model.provider.slug,
            images=served.usage.images,
            charged=charged,
        )
    )


def ended(job: ImageJob, attempts: Sequence[ImageAttempt], status: str, code: str) -> None:
    """It is over without a picture."""
    measure(attempts, is_over=True)
    events.emit(events.ImageFailed(user=job.user_id, organization=job.organization_id, status=status, code=code))


def measure(attempts: Sequence[ImageAttempt], *, is_over: bool, charged: int = 0) -> None:
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
            )
        )
