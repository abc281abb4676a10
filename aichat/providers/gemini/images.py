"""Gemini's pictures, made of a prompt or of other pictures: https://ai.google.dev/gemini-api/docs/image-generation

Its image models are chat models that answer with a picture, one a call; several pictures are several calls at once.
"""

import asyncio
import base64
from typing import Any, ClassVar

from aichat.providers import bodies
from aichat.providers.base import Endpoint, ImageAnswer, ImageRequest
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.gemini import calls
from aichat.providers.single_calls import ImageEditAnswer, ImageEditRequest
from aichat.providers.usage import UsageReport

ASPECT_RATIOS = {"1024x1024": "1:1", "1536x1024": "3:2", "1024x1536": "2:3"}


class GeminiImages:
    sizes: ClassVar[tuple[str, ...]] = tuple(ASPECT_RATIOS)
    # https://ai.google.dev/gemini-api/docs/pricing: 1,120 for up to 2K, 2,000 for 4K
    tokens_per_image: ClassVar[int] = 2000

    async def images(self, request: ImageRequest, endpoint: Endpoint) -> ImageAnswer:
        shape = {"imageConfig": {"aspectRatio": ASPECT_RATIOS[request.size]}}
        return await several(request, body(request.prompt, [], shape), endpoint)

    async def edit(self, request: ImageEditRequest, endpoint: Endpoint) -> ImageEditAnswer:
        """Make pictures in the shape of the given ones: `request.size` is not asked for."""
        given = [
            {"inlineData": {"mimeType": kind, "data": base64.b64encode(raw).decode()}} for raw, kind in request.images
        ]
        return ImageEditAnswer.of(await several(request, body(request.prompt, given, {}), endpoint))


def body(prompt: str, given: list[dict[str, Any]], shape: dict[str, Any]) -> dict[str, Any]:
    return {
        "contents": [{"role": "user", "parts": [*given, {"text": prompt}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], **shape},
    }


async def several(request: ImageRequest | ImageEditRequest, body: dict[str, Any], endpoint: Endpoint) -> ImageAnswer:
    """The pictures of those of `request.n` calls that brought one. Raises `ProviderError` when none did."""
    asked = (calls.generate(request.model, body, endpoint, request.request_id, read) for _ in range(request.n))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    delivered = [answer for answer in answers if isinstance(answer, ImageAnswer)]
    if not delivered:
        raise next(answer for answer in answers if isinstance(answer, BaseException))
    return ImageAnswer(
        [image for answer in delivered for image in answer.images],
        UsageReport.together([answer.report for answer in delivered]),
        billed=len(delivered),
    )


def read(answer: dict[str, Any]) -> ImageAnswer:
    found = (part.get("inlineData") or part.get("inline_data") or {} for part in calls.parts_of(answer))
    encoding = next((data["data"] for data in found if data.get("data")), None)
    if encoding is None:
        outcome = AttemptOutcome.BLOCKED if calls.is_refused(answer) else AttemptOutcome.EMPTY
        raise ProviderError(outcome, "an answer without an image")
    return ImageAnswer([bodies.decoded(encoding)], calls.report_of(answer), billed=1)
