"""Pictures that Gemini makes of pictures: https://ai.google.dev/gemini-api/docs/image-generation#image-editing"""

import asyncio
import base64
from typing import Any, ClassVar

import aiohttp

from aichat.providers import bodies, http
from aichat.providers.base import Endpoint, Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.gemini.images import REFUSALS, GeminiImages
from aichat.providers.single_calls import ImageEditAnswer, ImageEditRequest


class GeminiImageEdits:
    """One call for each picture, since Gemini makes one at a time."""

    tokens_per_image: ClassVar[int] = GeminiImages.tokens_per_image

    async def edit(self, request: ImageEditRequest, endpoint: Endpoint) -> ImageEditAnswer:
        tries = await asyncio.gather(*(self.one(request, endpoint) for _ in range(request.n)), return_exceptions=True)
        made = [each for each in tries if isinstance(each, ImageEditAnswer)]
        if not made:
            raise next(each for each in tries if isinstance(each, BaseException))
        usages = [each.usage for each in made if each.usage]
        usage = Usage(
            input_tokens=sum(each.input_tokens for each in usages),
            output_tokens=sum(each.output_tokens for each in usages),
            images=len(made),
        )
        images = [image for each in made for image in each.images]
        return ImageEditAnswer(images, usage if len(usages) == len(made) else None)

    async def one(self, request: ImageEditRequest, endpoint: Endpoint) -> ImageEditAnswer:
        given = [
            {"inlineData": {"mimeType": kind, "data": base64.b64encode(raw).decode()}} for raw, kind in request.images
        ]
        body = {
            "contents": [{"role": "user", "parts": [*given, {"text": request.prompt}]}],
            "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]},
        }

        async def whole(response: aiohttp.ClientResponse) -> ImageEditAnswer:
            return await bodies.read_json(response, read)

        headers = {"X-Request-ID": request.request_id, "x-goog-api-key": endpoint.api_key}
        url = endpoint.url(f"/v1beta/models/{request.model}:generateContent")
        return await http.post(url, body, headers, endpoint, whole)


def read(answer: dict[str, Any]) -> ImageEditAnswer:
    candidates = answer.get("candidates") or [{}]
    parts = (candidates[0].get("content") or {}).get("parts") or []
    images = [base64.b64decode(part["inlineData"]["data"]) for part in parts if part.get("inlineData")]
    if not images:
        refused = (answer.get("promptFeedback") or {}).get("blockReason") or candidates[0].get(
            "finishReason"
        ) in REFUSALS
        raise ProviderError(AttemptOutcome.BLOCKED if refused else AttemptOutcome.EMPTY, "an answer without an image")
    usage = answer.get("usageMetadata")
    if not isinstance(usage, dict) or not usage.get("candidatesTokenCount"):
        return ImageEditAnswer(images[:1], None)
    return ImageEditAnswer(
        images[:1],
        Usage(
            input_tokens=int(usage.get("promptTokenCount") or 0),
            output_tokens=int(usage["candidatesTokenCount"]) + int(usage.get("thoughtsTokenCount") or 0),
            images=1,
        ),
    )
