"""One vocabulary for what a call to a provider can come to; adapters raise it, generation decides by it."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import orjson


class AttemptOutcome(StrEnum):
    """Recorded as the status of an attempt."""

    OK = "ok"
    EMPTY = "empty"
    BLOCKED = "blocked"
    INVALID_REQUEST = "invalid_request"
    AUTH_FAILURE = "auth_failure"
    MODEL_MISSING = "model_missing"
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
        return self not in {
            AttemptOutcome.OK,
            AttemptOutcome.BLOCKED,
            AttemptOutcome.INVALID_REQUEST,
            AttemptOutcome.TIMEOUT_TOTAL,
        }


class ProviderError(Exception):
    """A call that did not come to a good end.

    `retry_after` is in seconds, when the provider said so. A blameless one says nothing about the provider's health.
    """

    def __init__(
        self,
        outcome: AttemptOutcome,
        message: str = "",
        *,
        retry_after: float | None = None,
        is_blameless: bool = False,
    ) -> None:
        super().__init__(message or outcome.value)
        self.outcome = outcome
        self.retry_after = retry_after
        self.is_blameless = is_blameless or outcome is AttemptOutcome.TIMEOUT_TOTAL


# What providers say in their error's code, status or reason, where the HTTP status alone would mislead.
SAID = {
    "content_filter": AttemptOutcome.BLOCKED,  # Azure
    "content_policy_violation": AttemptOutcome.BLOCKED,
    "moderation_blocked": AttemptOutcome.BLOCKED,
    "invalid_api_key": AttemptOutcome.AUTH_FAILURE,
    "insufficient_quota": AttemptOutcome.AUTH_FAILURE,  # the operator's account is empty: no wait would help
    "API_KEY_INVALID": AttemptOutcome.AUTH_FAILURE,  # Gemini says 400
    "FAILED_PRECONDITION": AttemptOutcome.AUTH_FAILURE,  # Gemini: no billing, or not in this country
    "model_not_found": AttemptOutcome.MODEL_MISSING,
    "rate_limit_exceeded": AttemptOutcome.RATE_LIMITED,
    "RESOURCE_EXHAUSTED": AttemptOutcome.RATE_LIMITED,
}


def from_status(status: int, message: str, retry_after: float | None = None) -> ProviderError:
    """The error of an HTTP status that is not a success."""
    return ProviderError(_by_status(status), message, retry_after=retry_after)


def from_body(status: int, raw: bytes, retry_after: float | None = None) -> ProviderError:
    """The error of an answer that is not a success, or of an error inside a stream, from its body in either format."""
    error = _error_of(raw)
    said = next((SAID[word] for word in _words(error) if word in SAID), None)
    message = error.get("message")
    return ProviderError(
        said or _by_status(status),
        message if isinstance(message, str) else "",
        retry_after=retry_after if retry_after is not None else _retry_delay(error),
    )


def _by_status(status: int) -> AttemptOutcome:
    match status:
        case 401 | 402 | 403:
            return AttemptOutcome.AUTH_FAILURE
        case 404:
            return AttemptOutcome.MODEL_MISSING
        case 408 | 504:
            return AttemptOutcome.TIMEOUT_ATTEMPT
        case 429:
            return AttemptOutcome.RATE_LIMITED
        case 400 | 409 | 413 | 415 | 422:
            return AttemptOutcome.INVALID_REQUEST
        case _ if status >= 499:  # 499: Gemini cancelled it
            return AttemptOutcome.OVERLOADED
        case _:
            return AttemptOutcome.MALFORMED


def _error_of(raw: bytes) -> dict[str, Any]:
    """The error object of OpenAI's or Google's format; empty when there is none."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(body, list) and body:  # Gemini wraps some errors in a list
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _words(error: dict[str, Any]) -> Iterator[str]:
    for value in (error.get("code"), error.get("type"), error.get("status")):
        if isinstance(value, str):
            yield value
    for detail in _details(error):
        if isinstance(detail.get("reason"), str):
            yield detail["reason"]


def _retry_delay(error: dict[str, Any]) -> float | None:
    """Seconds of Google's RetryInfo ("34.07s"), which comes instead of a Retry-After header."""
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            try:
                return max(0.0, float(delay[:-1]))
            except ValueError:
                return None
    return None


def _details(error: dict[str, Any]) -> Iterator[dict[str, Any]]:
    details = error.get("details")
    return (detail for detail in (details if isinstance(details, list) else []) if isinstance(detail, dict))


def inside_stream(raw: bytes) -> ProviderError:
    """The error of an event `{"error": …}`; Gemini's and OpenRouter's carry the status they would have answered."""
    code = _error_of(raw).get("code")
    return from_body(code if isinstance(code, int) else 500, raw)
