"""The errors of the API: each is an `ApiError` with a status and a code.

Subclasses are defined beside what raises them; `aichat/core/web/responses.py` renders them all. The `type` values are
OpenAI's, so that its SDKs raise their own exception classes: https://platform.openai.com/docs/guides/error-codes
"""

from typing import Any

from django.utils.translation import gettext, gettext_noop

TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """An error that a client is meant to see.

    `param` names the field at fault. `retry_after` is in seconds. `extra` are further members of the error object.
    """

    status = 500
    code = "internal_error"
    message = gettext_noop("Something went wrong on our side. Quote the request ID when you report it.")

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "",
        status: int = 0,
        param: str | None = None,
        retry_after: float | None = None,
        **extra: Any,
    ) -> None:
        self.message = message or gettext(self.message)
        self.code = code or self.code
        self.status = status or self.status
        self.param = param
        self.retry_after = retry_after
        self.extra = extra
        super().__init__(self.message)

    def body(self, request_id: str) -> dict[str, Any]:
        """The response body: `{"error": {type, code, message, param, request_id, …}}`."""
        kind = TYPES.get(self.status) or ("invalid_request_error" if self.status < 500 else "api_error")
        return {
            "error": {
                "type": kind,
                "code": self.code,
                "message": self.message,
                "param": self.param,
                "request_id": request_id,
                **self.extra,
            }
        }


class InvalidRequest(ApiError):
    status, code, message = 400, "invalid_request", gettext_noop("The request is not valid.")


class NotAuthenticated(ApiError):
    status, code = 401, "not_authenticated"
    message = gettext_noop(
        "Send a login token or an API key as 'Authorization: Bearer …', or in the header x-api-key or api-key."
    )


class PermissionDenied(ApiError):
    status, code, message = 403, "permission_denied", gettext_noop("Your role does not allow this.")


class NotFound(ApiError):
    status, code, message = 404, "not_found", gettext_noop("There is nothing here, or it is not yours.")


class MethodNotAllowed(ApiError):
    status, code, message = 405, "method_not_allowed", gettext_noop("This method is not allowed here.")


class PayloadTooLarge(ApiError):
    status, code = 413, "payload_too_large"


class RateLimited(ApiError):
    status, code, message = 429, "rate_limit_exceeded", gettext_noop("Too many requests: wait, then try again.")


class Overloaded(ApiError):
    status, code, message = 503, "overloaded", gettext_noop("The server is busy: try again shortly.")


class DatabaseUnavailable(ApiError):
    status, code = 503, "database_unavailable"
    message = gettext_noop(
        "The database does not answer: try again shortly. The same Idempotency-Key is never charged twice."
    )
