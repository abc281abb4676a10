"""OpenAI's image edits: https://platform.openai.com/docs/api-reference/images/createEdit"""

import base64
import binascii
from typing import Any, ClassVar

import aiohttp

from aichat.providers.base import Endpoint, Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.openai import calls
from aichat.providers.openai.images import OpenAIImages
from aichat.providers.single_calls import ImageEditAnswer, ImageEditRequest


class OpenAIImageEdits:
    tokens_per_image: ClassVar[int] = OpenAIImages.tokens_per_image

    async def edit(self, request: ImageEditRequest, endpoint: Endpoint) -> ImageEditAnswer:
        def form() -> aiohttp.FormData:
            data = aiohttp.FormData()
            fields = {"model": request.model, "prompt": request.prompt, "size": request.size, "n": str(request.n)}
            if "gpt-image" not in request.model:  # which refuses the parameter, and always answers base64
                fields["response_format"] = "b64_json"
            for name, value in fields.items():
                data.add_field(name, value)
            name = "image[]" if len(request.images) > 1 else "image"
            for number, (raw, content_type) in enumerate(request.images):
                filename = f"image{number}.{content_type.partition('/')[2]}"
                data.add_field(name, raw, filename=filename, content_type=content_type)
            if request.mask is not None:
                data.add_field("mask", request.mask, filename="mask.png", content_type="image/png")
            return data

        return await calls.ask("/images/edits", form, endpoint, request.request_id, read)


def read(answer: dict[str, Any]) -> ImageEditAnswer:
    try:
        images = [base64.b64decode(item["b64_json"]) for item in answer["data"] if item.get("b64_json")]
    except binascii.Error as error:
        raise ProviderError(AttemptOutcome.MALFORMED, "an image that is not base64") from error
    if not images:
        raise ProviderError(AttemptOutcome.EMPTY, "an answer without images")
    usage = answer.get("usage")
    if not isinstance(usage, dict) or not usage.get("output_tokens"):
        return ImageEditAnswer(images, None)
    return ImageEditAnswer(
        images,
        Usage(
            input_tokens=int(usage.get("input_tokens") or 0),
            output_tokens=int(usage["output_tokens"]),
            images=len(images),
        ),
    )
