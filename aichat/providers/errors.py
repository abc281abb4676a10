"""One vocabulary for what a call to a provider can come to; adapters raise it, generation decides by it."""

from enum import StrEnum


class Outcome(StrEnum):
    """Recorded as the status of an attempt."""

    OK = "ok"
    EMPTY = "empty"
    BLOCKED = "blocked"
    INVALID_REQUEST = "invalid_request"
    AUTH_FAILURE = "auth_failure"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    UNREACHABLE = "unreachable"
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_ATTEMPT = "timeout_attempt"
    TIMEOUT_FIRST_TOKEN = "timeout_first_token"  # noqa: S105
    TIMEOUT_IDLE = "timeout_idle"
    TIMEOUT_TOTAL = "timeout_total"
    BROKEN_STREAM = "broken_stream"
    MALFORMED = "malformed"

    @property
    def is_timeout(self) -> bool:
        return self.value.startswith("timeout_")

    @property
    def is_retryable(self) -> bool:
        """Whether another candidate may do better. A refusal of the content or of the request would only repeat."""
        return self not in {Outcome.OK, Outcome.BLOCKED, Outcome.INVALID_REQUEST, Outcome.TIMEOUT_TOTAL}


class ProviderError(Exception):
    """A call that did not come to a good end. `retry_after` is in seconds, when the provider said so."""

    def __init__(self, outcome: Outcome, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message or outcome.value)
        self.outcome = outcome
        self.retry_after = retry_after


def from_status(status: int, message: str, retry_after: float | None = None) -> ProviderError:
    """The error of an HTTP status that is not a success."""
    match status:
        case 401 | 403:
            outcome = Outcome.AUTH_FAILURE
        case 408 | 504:
            outcome = Outcome.TIMEOUT_ATTEMPT
        case 429:
            outcome = Outcome.RATE_LIMITED
        case 400 | 404 | 409 | 413 | 415 | 422:
            outcome = Outcome.INVALID_REQUEST
        case _ if status >= 500:
            outcome = Outcome.OVERLOADED
        case _:
            outcome = Outcome.MALFORMED
    return ProviderError(outcome, message, retry_after=retry_after)
