"""The API errors for a generation that no candidate could answer."""

from aichat.core.errors import ApiError
from aichat.providers.errors import AttemptOutcome, ProviderError

# What a generation can end with, besides what every route can: for the OpenAPI document.
STATUSES = (402, 403, 409, 502, 504)


class ContentBlocked(ApiError):
    status, code = 400, "content_blocked"
    message = "The provider's safety filter refused this. Nothing was charged."


class ProviderFailed(ApiError):
    status, code = 502, "provider_error"
    message = "The AI provider failed. Nothing was charged for what was not delivered; try again."


class ProviderUnavailable(ApiError):
    status, code = 503, "provider_unavailable"
    message = "The AI provider is not available at the moment. Try again shortly."


class AllLeftAlone(ProviderUnavailable):
    """Every candidate's circuit breaker is open, so no provider was asked."""

    def __init__(self, wait: float) -> None:
        super().__init__(retry_after=max(1.0, wait), outcome="breaker_open")


class ProviderTimeout(ApiError):
    status, code = 504, "provider_timeout"
    message = "The AI provider did not answer in time. Try again."


class RefusedByProvider(ApiError):
    status, code = 400, "invalid_request"


class ContextLengthExceeded(ApiError):
    """The prompt is too long for the model. Clients that know OpenAI's code shorten their history on it."""

    status, code = 400, "context_length_exceeded"


class ServerStopping(ApiError):
    """The server stops, and the time it has for running requests is over."""

    status, code = 503, "overloaded"
    message = "The server is stopping. What was delivered is charged; send the request again."

    def __init__(self) -> None:
        super().__init__(retry_after=1)


class AnswerStopped(ApiError):
    """The client asked to end the answer."""

    status, code = 409, "cancelled"
    message = "The answer was stopped. What had arrived is charged."


class ClientLeft(ApiError):
    """The client left before the end. Only a replay with the same Idempotency-Key returns this error."""

    status, code = 409, "cancelled"
    message = "The client left before this answer was finished: this is what was delivered and charged."


def as_api_error(error: ProviderError) -> ApiError:
    """The API error for a provider's error. Only a refusal of the request itself repeats the provider's words."""
    outcome = error.outcome
    if outcome.is_timeout:
        return ProviderTimeout(outcome=outcome.value)
    match outcome:
        case AttemptOutcome.BLOCKED:
            return ContentBlocked()
        case AttemptOutcome.INVALID_REQUEST | AttemptOutcome.UNSUPPORTED:
            text = f"The AI provider refused the request: {error}"
            return RefusedByProvider(text, param=error.param, reason="refused_by_provider", provider_message=str(error))
        case AttemptOutcome.CONTEXT_LENGTH:
            return ContextLengthExceeded(f"The prompt is too long for the model: {error}", param="messages")
        case AttemptOutcome.RATE_LIMITED | AttemptOutcome.OVERLOADED | AttemptOutcome.UNREACHABLE:
            return ProviderUnavailable(retry_after=error.retry_after or 1, outcome=outcome.value)
        case _:
            return ProviderFailed(outcome=outcome.value)
