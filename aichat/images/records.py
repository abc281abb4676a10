"""What a job's attempts were, for the usage table."""

from django.utils import timezone

from aichat.generation.images import ImageAttempt
from aichat.images.models import ImageJob
from aichat.usage.models import UsageRecord


def usage_record(job: ImageJob, attempt: ImageAttempt) -> UsageRecord:
    rates, now = attempt.model.rates, timezone.now()
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
        cost_nanousd=rates.cost_nanousd(attempt.usage),
        prices=rates.snapshot().value,
        hold_id=job.hold_id,
        latency_ms=round(attempt.seconds * 1000),
        created_at=now,
        day=now.date(),
    )
