"""One vocabulary for the failures of providers: adapters raise it, and generation decides by it.

An error's code, type, status or reason says what the provider means; where these say too little, its words do.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import orjson


class AttemptOutcome(StrEnum):
    """How one candidate's turn ended; recorded as the status of the attempt."""

    OK = "ok"
    EMPTY = "empty"
    BLOCKED = "blocked"
    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED = "unsupported"
    CONTEXT_LENGTH = "context_length_exceeded"
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
    def is_refusal(self) -> bool:
        """Whether the provider refused this request, and thereby showed that it is there and well."""
        return self in REFUSALS

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may do better later or elsewhere, whoever named the model."""
        return self not in {AttemptOutcome.OK, AttemptOutcome.TIMEOUT_TOTAL, *REFUSALS}

    @property
    def in_words(self) -> str:
        """What happened, for people who have never seen the code."""
        return IN_WORDS[self]


# BLOCKED: the user's content. INVALID_REQUEST: the request, as far as anybody knows. UNSUPPORTED: something this model
# or server can't do and others can. CONTEXT_LENGTH: the prompt is too long for this model.
REFUSALS = frozenset(
    {
        AttemptOutcome.BLOCKED,
        AttemptOutcome.INVALID_REQUEST,
        AttemptOutcome.UNSUPPORTED,
        AttemptOutcome.CONTEXT_LENGTH,
    }
)

IN_WORDS = {
    AttemptOutcome.OK: "It answered.",
    AttemptOutcome.EMPTY: "It answered without any text.",
    AttemptOutcome.BLOCKED: "Its safety filter refused the content.",
    AttemptOutcome.INVALID_REQUEST: "It refused the request as wrong.",
    AttemptOutcome.UNSUPPORTED: "The model or server can't do what was asked.",
    AttemptOutcome.CONTEXT_LENGTH: "The prompt is longer than the model reads.",
    AttemptOutcome.AUTH_FAILURE: "It refused the key, or the account behind it has no credit.",
    AttemptOutcome.MODEL_MISSING: "It knows no model of this name.",
    AttemptOutcome.RATE_LIMITED: "It asks for fewer requests: its rate limit is reached.",
    AttemptOutcome.OVERLOADED: "It is overloaded or out of order.",
    AttemptOutcome.UNREACHABLE: "There was no connection to it.",
    AttemptOutcome.TIMEOUT_CONNECT: "There was no connection in time (CHAT_CONNECT_TIMEOUT).",
    AttemptOutcome.TIMEOUT_ATTEMPT: "Its whole answer did not come in time (CHAT_ATTEMPT_TIMEOUT).",
    AttemptOutcome.TIMEOUT_FIRST_TOKEN: "Its answer did not begin in time (CHAT_FIRST_TOKEN_TIMEOUT).",
    AttemptOutcome.TIMEOUT_IDLE: "Its answer stopped in the middle (CHAT_IDLE_TIMEOUT).",
    AttemptOutcome.TIMEOUT_TOTAL: "The time of the whole request was over (CHAT_TOTAL_TIMEOUT).",
    AttemptOutcome.BROKEN_STREAM: "Its answer broke off.",
    AttemptOutcome.MALFORMED: "Its answer could not be understood.",
}


class ProviderError(Exception):
    """A call that failed.

    The text is safe to show: keys are blotted out. `retry_after` is in seconds, when the provider said so. `param` is
    the request's field that the provider named. A blameless error says nothing about the provider's health.
    `is_unanswered`: the provider refused by its HTTP `status`, before it began to answer.
    """

    is_unanswered = False
    status = 0

    def __init__(
        self,
        outcome: AttemptOutcome,
        message: str = "",
        *,
        retry_after: float | None = None,
        param: str | None = None,
        is_blameless: bool = False,
    ) -> None:
        super().__init__(message or outcome.value)
        self.outcome = outcome
        self.retry_after = retry_after
        self.param = param
        self.is_blameless = is_blameless or outcome is AttemptOutcome.TIMEOUT_TOTAL


# --- Errors made of answers -------------------------------------------------------------------------------------------

LONGEST_MESSAGE = 2000  # characters of a provider's text that are repeated
DEEPEST_MESSAGE = 20  # objects and lists around that text
BLOCKED, INVALID, UNSUPPORTED = AttemptOutcome.BLOCKED, AttemptOutcome.INVALID_REQUEST, AttemptOutcome.UNSUPPORTED

# Codes, types, statuses and reasons, where the HTTP status alone would mislead.
SAID = {
    "content_filter": BLOCKED,  # Azure, Moonshot
    "content_policy_violation": BLOCKED,
    "moderation_blocked": BLOCKED,
    "data_inspection_failed": BLOCKED,  # Alibaba
    "invalid_prompt": BLOCKED,  # OpenAI's reasoning models, of a prompt that was flagged
    "invalid_api_key": AttemptOutcome.AUTH_FAILURE,
    "insufficient_quota": AttemptOutcome.AUTH_FAILURE,  # the operator's account is empty: no wait would help
    "API_KEY_INVALID": AttemptOutcome.AUTH_FAILURE,  # Gemini says 400
    "FAILED_PRECONDITION": AttemptOutcome.AUTH_FAILURE,  # Gemini: no billing, or not in this country
    "authentication_error": AttemptOutcome.AUTH_FAILURE,
    "model_not_found": AttemptOutcome.MODEL_MISSING,
    "rate_limit_exceeded": AttemptOutcome.RATE_LIMITED,
    "rate_limit_error": AttemptOutcome.RATE_LIMITED,
    "RESOURCE_EXHAUSTED": AttemptOutcome.RATE_LIMITED,
    "overloaded_error": AttemptOutcome.OVERLOADED,
    "context_length_exceeded": AttemptOutcome.CONTEXT_LENGTH,
    "string_above_max_length": AttemptOutcome.CONTEXT_LENGTH,
    "exceed_context_size_error": AttemptOutcome.CONTEXT_LENGTH,  # llama.cpp
    "unsupported_parameter": UNSUPPORTED,
    "unsupported_value": UNSUPPORTED,
    "tool_use_failed": UNSUPPORTED,  # Groq: this model garbled the call
    "model_does_not_support": UNSUPPORTED,
}
# Types that are so common that the words of the error are read before them.
SAID_BY_TYPE = {
    "invalid_request_error": INVALID,
    "not_found_error": AttemptOutcome.MODEL_MISSING,
    "permission_error": AttemptOutcome.AUTH_FAILURE,
    "timeout_error": AttemptOutcome.TIMEOUT_ATTEMPT,
    "INVALID_ARGUMENT": INVALID,
    "BadRequestError": INVALID,  # vLLM
}
# The words of refusals, for providers without codes. They are only looked for in a 400, 403, 413 or 422.
WORDS = [
    (
        BLOCKED,
        re.compile(
            r"violates? (our |the )?(usage|content|safety) (guidelines|polic)|content management policy|"
            r"content exists risk|(was|been|were) flagged|considered high risk|safety (system|filter|check)|"
            r"inappropriate content|data_?inspection_?failed|content[_ ]policy",
            re.IGNORECASE,
        ),
    ),
    (
        AttemptOutcome.CONTEXT_LENGTH,
        re.compile(
            r"maximum context length|context[_ ](length|window|size)|exceeds? the maximum number of tokens|"
            r"(prompt|input|request) (is )?too (long|large)|too many (input )?tokens|"
            r"input token count .{0,40}exceeds|longer than the model|exceeds? the available context",
            re.IGNORECASE,
        ),
    ),
    (
        UNSUPPORTED,
        re.compile(
            r"not (currently )?(supported|enabled|available|permitted)|unsupported|does(n't| not) support|"
            r"unrecognized (request )?argument|unknown (name|field|parameter)|extra inputs are not permitted|"
            r"only the default|failed to call a function",
            re.IGNORECASE,
        ),
    ),
]
KEY = re.compile(
    r"(?i:bearer)\s+[\w.~+/=-]{6,}|\b(?:sk|gsk|xai|pplx|nvapi|hf|r8|tgp|csk)[-_][\w*.-]{6,}|\bAIza[\w-]{10,}|"
    r"\b[A-Za-z0-9_-]{2,10}\*{3,}[A-Za-z0-9_-]{2,10}|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+|"
    r"(?i:api[-_ ]?key|token|secret|password)(?:['\"]?\s*[:=]\s*['\"]?)[\w.~+/-]{6,}",
)


def from_status(status: int, message: str, retry_after: float | None = None) -> ProviderError:
    """The error of an HTTP status that is not a success, with a message of the provider's."""
    return ProviderError(outcome_of_status(status), redacted(message), retry_after=retry_after)


def from_body(status: int, raw: bytes, retry_after: float | None = None) -> ProviderError:
    """The error that a body of an answer says, for the HTTP status that it came with or should have come with."""
    body = _body(raw)
    error = _error_of(body)
    message = text_of_error(error) or text_of_error(body)
    param = error.get("param")
    return ProviderError(
        _outcome(status, error, message),
        redacted(message),
        retry_after=retry_after if retry_after is not None else _retry_delay(error),
        param=param if isinstance(param, str) and param else None,
    )


def inside_stream(raw: bytes) -> ProviderError:
    """The error inside an answer of status 200 (`{"error": …}`); `code` may be the status that fits it."""
    error = _error_of(_body(raw))
    for value in (error.get("code"), error.get("status"), error.get("status_code")):
        digits = str(value)
        if digits.isdecimal() and 400 <= int(digits) < 600:
            return from_body(int(digits), raw)
    said = next((SAID_BY_TYPE[word] for word in _words(error) if word in SAID_BY_TYPE), None)
    return from_body(400 if said is INVALID else 500, raw)


def _outcome(status: int, error: Mapping[str, Any], message: str) -> AttemptOutcome:
    words = list(_words(error))
    said = next((SAID[word] for word in words if word in SAID), None)
    if said:
        return said
    if status in {400, 403, 413, 422}:
        text = f"{message} {' '.join(words)}"
        meant = next((outcome for outcome, pattern in WORDS if pattern.search(text)), None)
        if meant and (status != 403 or meant is BLOCKED):
            return meant
    if status < 500 and status != 400:
        return outcome_of_status(status)
    return next((SAID_BY_TYPE[word] for word in words if word in SAID_BY_TYPE), None) or outcome_of_status(status)


def outcome_of_status(status: int) -> AttemptOutcome:
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


# --- Where the parts of an error stand --------------------------------------------------------------------------------


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(body, list) and body:  # Gemini wraps some errors in a list
        body = body[0]
    return body if isinstance(body, dict) else {}


def _error_of(body: dict[str, Any]) -> dict[str, Any]:
    """The error object: `error`, or the body itself where that is the object (Mistral, xAI, FastAPI)."""
    error = body.get("error")
    if isinstance(error, dict):
        return error
    return {**body, "message": error} if isinstance(error, str) else body


def text_of_error(value: Any, depth: int = DEEPEST_MESSAGE) -> str:
    """The provider's reason in an error object: its `message` or `detail`, which may be text, an object or a list."""
    if isinstance(value, str):
        return value[:LONGEST_MESSAGE]
    if not depth:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (text_of_error(item, depth - 1) for item in value[:10])))[:LONGEST_MESSAGE]
    if not isinstance(value, Mapping):
        return ""
    names = ("message", "detail", "msg", "error", "errors", "reason", "description", "title")
    text = next((text for name in names if (text := text_of_error(value.get(name), depth - 1))), "")
    where = value.get("loc")  # FastAPI's place of a mistake
    return f"{'.'.join(map(str, where))}: {text}" if text and isinstance(where, list) else text


def _words(error: Mapping[str, Any]) -> Iterator[str]:
    """The codes in an error object, those of Azure's inner error and of Google's details too."""
    inner = error.get("innererror") or error.get("metadata")
    for holder in (error, inner if isinstance(inner, Mapping) else {}):
        for name in ("code", "type", "status", "reason", "error_type"):
            if isinstance(holder.get(name), str):
                yield holder[name]
    for detail in _details(error):
        if isinstance(detail.get("reason"), str):
            yield detail["reason"]


def _retry_delay(error: Mapping[str, Any]) -> float | None:
    """Seconds of Google's RetryInfo ("34.07s"), which comes instead of a Retry-After header."""
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            try:
                return max(0.0, float(delay[:-1]))
            except ValueError:
                return None
    return None


def _details(error: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    details = error.get("details")
    return (detail for detail in (details if isinstance(details, list) else []) if isinstance(detail, dict))


def redacted(text: str, *secrets: str) -> str:
    """The text without `secrets` and without whatever looks like a key or a bearer token."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "[redacted]")
    return KEY.sub("[redacted]", text)
