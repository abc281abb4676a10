"""Pictures that Gemini makes of pictures: https://ai.google.dev/gemini-api/docs/image-generation#image-editing"""

import asyncio
import base64
from dataclasses import replace
from typing import Any, ClassVar

from aichat.providers.base import Endpoint, Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.gemini import calls
from aichat.providers.gemini.images import GeminiImages
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
        return await calls.generate(request.model, body, endpoint, request.request_id, read)


def read(answer: dict[str, Any]) -> ImageEditAnswer:
    images = [base64.b64decode(part["inlineData"]["data"]) for part in calls.parts_of(answer) if part.get("inlineData")]
    if not images:
        blocked = calls.reason_of(answer) in calls.REFUSALS
        raise ProviderError(AttemptOutcome.BLOCKED if blocked else AttemptOutcome.EMPTY, "an answer without an image")
    usage = calls.usage_of(answer)
    return ImageEditAnswer(images[:1], replace(usage, images=1) if usage and usage.output_tokens else None)
