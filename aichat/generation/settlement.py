"""The two commits of a generation: one that reserves, one that settles and records everything."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from django.utils import timezone

from aichat import db
from aichat.catalog.snapshot import ModelInfo
from aichat.errors import ApiError
from aichat.generation.call import Call, Result
from aichat.idempotency.claims import IdempotencyInProgress
from aichat.providers.base import Usage
from aichat.usage.models import UsageRecord
from credits.limits import limits_of
from credits.models import HoldRef
from credits.services import Outcome, Release, Reserve, Settle, apply, hold_expiry, is_low, notice_if_low


@dataclass(slots=True)
class Attempt:
    """One candidate's turn."""

    model: ModelInfo
    number: int
    started: float
    accepted: bool = False
    first_token_at: float | None = None
    status: str = ""
    usage: Usage | None = None
    source: str = UsageRecord.Source.EXACT
    error: ApiError | None = None


def reserve(call: Call, amount: int) -> HoldRef:
    """The first commit. Raises `InsufficientCreditsError`."""
    operation = Reserve(
        wallet_id=call.caller.organization.pk,
        amount=amount,
        hold_id=call.id,
        expires_at=hold_expiry(),
        request_id=call.request_id,
        limits=limits_of(call.caller),
    )
    apply([operation])[0].or_raise()
    return operation.hold


def settle(call: Call, hold: HoldRef, attempts: Sequence[Attempt], result: Result | None, charge: int) -> Outcome:
    """The second commit: the charge (0: the hold is released), a usage record per attempt, and what the caller keeps.

    `result` is None when nothing was delivered. Settling twice changes nothing. Raises `IdempotencyInProgress`.
    """
    now, ended = timezone.now(), monotonic()
    try:
        outcome = db.run_atomic(_settle, call, hold, attempts, result, charge, now, ended)
    except IdempotencyInProgress:
        # This attempt was taken for dead, and a later one has its key: what it made is not charged.
        db.run_atomic(_settle, call, hold, attempts, None, 0, now, ended)
        raise
    notice_if_low(outcome, call.caller.user.pk)
    return outcome


def _settle(
    call: Call,
    hold: HoldRef,
    attempts: Sequence[Attempt],
    result: Result | None,
    charge: int,
    now: datetime,
    ended: float,
) -> Outcome:
    operation = Settle(hold=hold, charge=charge, request_id=call.request_id) if charge else Release(hold=hold)
    outcome = apply([operation])[0]
    if outcome.repeated and (earlier := UsageRecord.objects.filter(hold_id=hold.id).first()):
        # An earlier try had committed, and only its answer was lost.
        if result is not None:
            result.charged, result.available = earlier.charged, outcome.available
            result.credits_low = is_low(outcome.available)
        return outcome
    records = [_record(call, attempt, now, ended) for attempt in attempts]
    if records:
        last = records[-1]
        last.final, last.charged, last.shortfall = True, outcome.charged, outcome.shortfall
        last.hold_id = hold.id
        last.reference = hold.reference if outcome.charged else ""
        last.finish_reason = (result.finish_reason or "") if result else ""
        UsageRecord.objects.bulk_create(records)
    if result is not None:
        result.charged, result.available = outcome.charged, outcome.available
        result.credits_low = is_low(outcome.available)
        call.remember(result)
    if result is not None or outcome.charged:
        call.seal(result or Result(call.id, call.request_id), attempts[-1].error if attempts else None)
    return outcome


def _record(call: Call, attempt: Attempt, now: datetime, ended: float) -> UsageRecord:
    usage, rates = attempt.usage or Usage(), attempt.model.rates
    assert rates is not None  # routing leaves out models without a price
    key = call.caller.api_key
    return UsageRecord(
        request_id=call.request_id,
        organization_id=call.caller.organization.pk,
        user_id=call.caller.user.pk,
        api_key_id=key.id if key else None,
        requested_model=call.model,
        model=attempt.model.slug,
        provider=attempt.model.provider.slug,
        status=attempt.status,
        attempt=attempt.number,
        final=False,
        streamed=call.stream,
        fallback=attempt.number > 1,
        experiment=call.treatment.experiment,
        variant=call.treatment.variant,
        unit=call.treatment.unit,
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        source=attempt.source,
        cost_nanousd=rates.cost_nanousd(usage),
        prices=rates.snapshot(),
        latency_ms=round((ended - attempt.started) * 1000),
        first_token_ms=round((attempt.first_token_at - attempt.started) * 1000) if attempt.first_token_at else None,
        created_at=now,
        day=now.date(),
    )
