"""What Gemini's calls for one whole answer that is no chat have in common: how to ask, what was refused, what was used."""

from collections.abc import Callable
from typing import Any, TypeVar

import aiohttp

from aichat.providers import bodies, http
from aichat.providers.base import Endpoint, Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.gemini.usage import GEMINI
from aichat.providers.usage import UsageReport

REFUSALS = {"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "RECITATION", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"}
T = TypeVar("T")


async def generate(
    model: str, body: dict[str, Any], endpoint: Endpoint, request_id: str, read: Callable[[dict[str, Any]], T]
) -> T:
    """What `read` makes of the object that answers `generateContent`. Raises `ProviderError`."""

    async def whole(response: aiohttp.ClientResponse) -> T:
        return await bodies.read_json(response, read)

    headers = {"X-Request-ID": request_id, "x-goog-api-key": endpoint.api_key}
    url = endpoint.url(f"/v1beta/models/{model}:generateContent")
    return await http.post(url, body, headers, endpoint, whole)


def parts_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of the answer, thoughts left out. Raises `ProviderError` for a refusal without any."""
    candidate = (answer.get("candidates") or [{}])[0]
    parts = [part for part in (candidate.get("content") or {}).get("parts") or () if not part.get("thought")]
    refused = (answer.get("promptFeedback") or {}).get("blockReason") or candidate.get("finishReason") in REFUSALS
    if not parts and refused:
        raise ProviderError(AttemptOutcome.BLOCKED)
    return parts


def reason_of(answer: dict[str, Any]) -> str:
    """Why the answer ended, in Gemini's words; empty when it does not say."""
    return str((answer.get("candidates") or [{}])[0].get("finishReason") or "")


def usage_of(answer: dict[str, Any]) -> Usage | None:
    """The tokens that the answer reports; None when it reports none that can be believed."""
    report = UsageReport()
    report.read(GEMINI, answer.get("usageMetadata"))
    reading = report.reading()
    if not reading.input or reading.doubts:
        return None
    return Usage(
        input_tokens=reading.input,
        output_tokens=reading.output or 0,
        cached_input_tokens=reading.cached,
        reasoning_tokens=reading.reasoning,
    )
