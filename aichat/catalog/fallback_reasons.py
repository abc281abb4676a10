"""The reasons for asking the next candidate of a route, as the setting FALLBACK_ON and a model's `fallback_on` name them."""

from enum import StrEnum


class FallbackReason(StrEnum):
    """Names the kinds of failure of a candidate after which the next one may be asked.

    Refused content (`blocked`) is no reason: it is sent to no other provider.
    """

    OUTAGE = "outage"  # no connection, a timeout, an error of the server, an answer that is broken or empty
    RATE_LIMIT = "rate_limit"
    KEY = "key"  # the provider does not accept our key, or our account is empty
    MODEL = "model"  # the provider has no such model
    UNSUPPORTED = "unsupported"  # the request needs what this model or server can't do
    CONTEXT_LENGTH = "context_length"  # the prompt is too long for this model
    INVALID_REQUEST = "invalid_request"  # refused for another reason, perhaps by this provider alone


ALL = tuple(reason.value for reason in FallbackReason)
