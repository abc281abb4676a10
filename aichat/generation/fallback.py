"""After which failures of a candidate the next one is asked, and which of their errors the client is told.

A failure is judged by what it means. What the user wrote and a provider refuses (`blocked`) goes to nobody else. A request
that is refused by the model the client named is the client's to mend; refused by a model that we chose, it may suit the
next. Which reasons fall back is a setting: FALLBACK_ON, or the named model's own `fallback_on`.
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


def may_do_better(model: ModelInfo, error: ProviderError | None, failed: ModelInfo | None) -> bool:
    """Whether a candidate is worth asking after another failed: a prompt too long for one needs a larger window."""
    if error is None or failed is None or error.outcome is not AttemptOutcome.CONTEXT_LENGTH:
        return True
    return model.context_window > failed.context_window


def error_to_tell(errors: list[ProviderError]) -> ProviderError:
    """The error of a request that no candidate served: an outage, if there was one, else the refusal of the last.

    A request that all candidates refuse is the client's fault. One that met an outage first may succeed later, as it is.
    """
    outages = [error for error in errors if not error.outcome.is_refusal]
    return (outages or errors)[-1]
