"""The parts that Gemini's calls besides chats share: asking for one whole answer, and reading refusals and usage."""

from collections.abc import Callable
from typing import Any, TypeVar

from aichat.providers import bodies, http
from aichat.providers.base import Endpoint, Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.gemini.usage import GEMINI
from aichat.providers.single_calls import believed
from aichat.providers.usage import UsageReport

REFUSALS = {"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "RECITATION", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"}
T = TypeVar("T")


async def generate(
    model: str, body: dict[str, Any], endpoint: Endpoint, request_id: str, read: Callable[[dict[str, Any]], T]
) -> T:
    """Ask `generateContent`, and return the result of `read` for the answer. Raises `ProviderError`."""

    headers = {"X-Request-ID": request_id, "x-goog-api-key": endpoint.api_key}
    url = endpoint.url(f"/v1beta/models/{model}:generateContent")
    return await http.post(url, body, headers, endpoint, bodies.json_reader(read))


def parts_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of the answer, thoughts left out. Raises `ProviderError` for a refusal without any."""
    content = _candidate(answer).get("content") or {}
    parts = [part for part in content.get("parts") or () if not part.get("thought")]
    if not parts and is_refused(answer):
        raise ProviderError(AttemptOutcome.BLOCKED)
    return parts


def is_refused(answer: dict[str, Any]) -> bool:
    """Whether a filter stopped the prompt or the answer, whatever came before."""
    blocked = (answer.get("promptFeedback") or {}).get("blockReason")
    return bool(blocked) or reason_of(answer) in REFUSALS


def reason_of(answer: dict[str, Any]) -> str:
    """Why the answer ended, in Gemini's words; empty when it does not say."""
    return str(_candidate(answer).get("finishReason") or "")


def _candidate(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (answer.get("candidates") or [{}])[0]
    return found


def report_of(answer: dict[str, Any]) -> UsageReport:
    """The usage as the answer reports it."""
    report = UsageReport()
    report.read(GEMINI, answer.get("usageMetadata"))
    return report


def usage_of(answer: dict[str, Any]) -> Usage | None:
    """The tokens that the answer reports; None when it reports none that can be believed."""
    return believed(report_of(answer))
