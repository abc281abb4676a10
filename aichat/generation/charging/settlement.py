"""The two commits of a generation: one that reserves, one that settles and records everything."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from time import monotonic
from typing import Any

from aichat.catalog.snapshot import ModelInfo
from aichat.core.database import clock
from aichat.core.database.models import uuid7
from aichat.core.database.statements import Encoded, NewRow
from aichat.core.errors import ApiError
from aichat.generation.charging.group_commit import Unit
from aichat.generation.request import GenerationRequest, Result, no_rows, store_nothing
from aichat.providers.base import Usage
from aichat.providers.usage import UsageReport
from aichat.usage.models import UsageRecord
from credits.models import HoldRef
from credits.services import (
    OperationResult,
    Release,
    Reserve,
    Settle,
    available_to,
    hold_expiry,
    is_low,
    notice_if_low,
)
from credits.spending_limits import limits_of

# Seconds a settlement is tried again while the database is away: what was delivered is paid, as long as the process lives.
SETTLE_PATIENCE = inf
NO_USAGE = Usage()


@dataclass(slots=True)
class Attempt:
    """One candidate's turn: `report` is what its provider says it used, `usage` what the bill says."""

    model: ModelInfo
    number: int
    started: float
    accepted: bool = False
    is_finished: bool = False  # its provider said that the answer is over
    first_token_at: float | None = None
    status: str = ""
    usage: Usage | None = None
    source: str = UsageRecord.Source.EXACT
    report: UsageReport = field(default_factory=UsageReport)
    reported: dict[str, Any] | None = None  # the provider's figures, when they were not believed
    cached: bool = False  # the answer was there already: no provider bills us for it
    error: ApiError | None = None
    span: Any = None  # while it is open, and spans are made


def reservation(request: GenerationRequest, amount: int) -> tuple[HoldRef, Unit]:
    """The unit of the first commit, and the hold that its commit makes. The unit may be refused with `Unaffordable`."""
    operation = Reserve(
        wallet_id=request.caller.organization.pk,
        amount=amount,
        hold_id=request.id,
        expires_at=hold_expiry(),
        request_id=request.request_id,
        limits=limits_of(request.caller),
    )
    return operation.hold, Unit(operation=operation)


def settlement(
    request: GenerationRequest, hold: HoldRef | None, attempts: Sequence[Attempt], result: Result | None, charge: int
) -> Unit:
    """The unit of the second commit: the charge (0: the hold is released), a usage record per attempt, the rows to save.

    `result` is None when nothing was delivered, `hold` is None when the answer costs nothing. Settling twice changes
    nothing. The unit may fail with `IdempotencyInProgress`: this attempt was taken for dead, and a later one has its key.
    """
    is_alone = request.rows_to_save is no_rows and request.store_replay is store_nothing
    writing = _Writing(request, hold, attempts, result, clock.shared_now(), monotonic(), is_alone)
    return Unit(
        operation=_operation(request, hold, charge),
        wallet_of=None if hold else request.caller.organization,
        write=writing,
        writes_ahead=is_alone,
        committed=writing.committed,
        patience=SETTLE_PATIENCE,
    )


@dataclass(slots=True)
class _Writing:
    """The rows of a settlement. Called again, it looks whether an earlier try had committed and only its answer was lost.

    `is_alone`: the records are all the rows, and nothing else is stored.
    """

    request: GenerationRequest
    hold: HoldRef | None
    attempts: Sequence[Attempt]
    result: Result | None
    now: datetime
    ended: float
    is_alone: bool
    tried: bool = False

    def __call__(self, operation_result: OperationResult) -> list[NewRow]:
        if earlier := self.earlier(operation_result):
            organization = self.request.caller.organization
            # A repeated operation moves nothing, so its result does not give the free credits.
            operation_result.available = available_to([organization])[organization.pk]
            self.answer(earlier.charged, operation_result)
            return []
        rows: list[NewRow] = [(UsageRecord, values) for values in self.records(operation_result)]
        if self.is_alone:
            return rows
        if self.result is not None:
            self.answer(operation_result.charged, operation_result)
            rows += self.request.rows_to_save(self.result)
        if self.result is not None or operation_result.charged:
            error = self.attempts[-1].error if self.attempts else None
            self.request.store_replay(self.result or Result(self.request.id, self.request.request_id), error)
        return rows

    def committed(self, operation_result: OperationResult) -> None:
        """Tell the result what stands, and the person when little is left. Called after the commit."""
        self.answer(operation_result.charged, operation_result)
        notice_if_low(operation_result, self.request.caller.user.pk)

    def earlier(self, operation_result: OperationResult) -> UsageRecord | None:
        """A usage record that an earlier try committed, if there was one: the ledger says so, without a hold `tried`."""
        tried, self.tried = self.tried, True
        if self.hold:
            return UsageRecord.objects.filter(hold_id=self.hold.id).first() if operation_result.repeated else None
        return UsageRecord.objects.filter(pk=self.request.id).first() if tried else None

    def answer(self, charged: int, operation_result: OperationResult) -> None:
        """Tell the result what was charged and what is left."""
        if self.result is not None:
            self.result.charged, self.result.available = charged, operation_result.available
            self.result.credits_low = is_low(operation_result.available)

    def records(self, operation_result: OperationResult) -> list[dict[str, Any]]:
        records = [_record(self.request, attempt, self.now, self.ended) for attempt in self.attempts]
        if records:
            last = records[-1]
            last |= {"final": True, "charged": operation_result.charged, "shortfall": operation_result.shortfall}
            if self.hold:
                last["hold_id"] = self.hold.id
                last["reference"] = self.hold.reference if operation_result.charged else ""
            else:
                last["id"] = self.request.id  # by which another try finds it
            if last["cached"]:
                last["saved"] -= operation_result.charged
            last["finish_reason"] = (self.result.finish_reason or "") if self.result else ""
        return records


def _operation(request: GenerationRequest, hold: HoldRef | None, charge: int) -> Settle | Release | None:
    if hold is None:
        return None
    # A reservation does not wait for the disk, so a crash of the database may have lost the hold.
    if not charge:
        return Release(hold=hold, hold_may_be_lost=True)
    return Settle(hold=hold, charge=charge, request_id=request.request_id, hold_may_be_lost=True)


def _record(request: GenerationRequest, attempt: Attempt, now: datetime, ended: float) -> dict[str, Any]:
    """The columns of an attempt's usage record; an instance would cost as much as writing it."""
    usage, rates = attempt.usage or NO_USAGE, attempt.model.rates
    assert rates is not None  # routing leaves out models without a price
    cost = rates.cost_nanousd(usage)
    key = request.caller.api_key
    return {
        "id": uuid7(),
        "request_id": request.request_id,
        "organization_id": request.caller.organization.pk,
        "user_id": request.caller.user.pk,
        "api_key_id": key.stable_id if key else None,
        "kind": request.kind,
        "requested_model": request.model,
        "model": attempt.model.slug,
        "provider": attempt.model.provider.slug,
        "status": attempt.status,
        "attempt": attempt.number,
        "final": False,
        "streamed": request.stream,
        "cached": attempt.cached,
        "fallback": attempt.number > 1,
        "experiment": request.treatment.experiment,
        "variant": request.treatment.variant,
        "unit": request.treatment.unit,
        "finish_reason": "",
        "input_tokens": usage.input_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "images": usage.images,
        "characters": usage.characters,
        "audio_ms": usage.audio_ms,
        "source": attempt.source,
        "reported": Encoded(attempt.reported) if attempt.reported else None,
        "charged": 0,
        "shortfall": 0,
        "cost_nanousd": 0 if attempt.cached else cost,
        "saved": rates.charge(usage) if attempt.cached else 0,
        "saved_nanousd": cost if attempt.cached else 0,
        "prices": rates.snapshot(),
        "hold_id": None,
        "reference": "",
        "latency_ms": round((ended - attempt.started) * 1000),
        "first_token_ms": round((attempt.first_token_at - attempt.started) * 1000) if attempt.first_token_at else None,
        "created_at": now,
        "day": now.date(),
    }
