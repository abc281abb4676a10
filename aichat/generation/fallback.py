"""Decides after which failures the next candidate is asked, and which error the client is told when all have failed.

A failure is judged by what it means. Content that one provider refuses (`blocked`) is sent to no other. When the model that
the client named refuses a request, the client must change the request; when a model that we chose refuses it, the next one
may take it. Which reasons fall back is a setting: FALLBACK_ON, or the named model's own `fallback_on`.
"""

from collections.abc import Collection

from aichat.catalog.fallback_reasons import FallbackReason
from aichat.catalog.snapshot import ModelInfo
from aichat.providers.errors import AttemptOutcome, ProviderError

REASONS = {
    AttemptOutcome.RATE_LIMITED: FallbackReason.RATE_LIMIT,
    AttemptOutcome.AUTH_FAILURE: FallbackReason.KEY,
    AttemptOutcome.MODEL_MISSING: FallbackReason.MODEL,
    AttemptOutcome.UNSUPPORTED: FallbackReason.UNSUPPORTED,
    AttemptOutcome.CONTEXT_LENGTH: FallbackReason.CONTEXT_LENGTH,
    AttemptOutcome.INVALID_REQUEST: FallbackReason.INVALID_REQUEST,
}
NEVER = {AttemptOutcome.OK, AttemptOutcome.BLOCKED, AttemptOutcome.TIMEOUT_TOTAL}


def falls_back(error: ProviderError, *, is_named: bool, reasons: Collection[str]) -> bool:
    """Whether the next candidate is asked after `error`; `is_named`: the client named the model that failed."""
    outcome = error.outcome
    if outcome in NEVER or (is_named and outcome.is_refusal):
        return False
    return REASONS.get(outcome, FallbackReason.OUTAGE) in reasons


def may_do_better(model: ModelInfo, error: ProviderError, failed: ModelInfo) -> bool:
    """Whether a candidate is worth asking after another failed: a prompt too long for one needs a larger window."""
    return error.outcome is not AttemptOutcome.CONTEXT_LENGTH or model.context_window > failed.context_window


def error_to_tell(errors: list[ProviderError]) -> ProviderError:
    """The error of a request that no candidate served: an outage, if there was one, else the refusal of the last.

    A request that all candidates refuse is the client's fault. One that met an outage first may succeed later, as it is.
    """
    outages = [error for error in errors if not error.outcome.is_refusal]
    return (outages or errors)[-1]
