"""OpenAI's pictures, made of a prompt or of other pictures: https://platform.openai.com/docs/api-reference/images"""

from typing import Any, ClassVar

import aiohttp

from aichat.providers import bodies
from aichat.providers.base import SIZES, Endpoint, ImageAnswer, ImageRequest
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.openai import calls
from aichat.providers.single_calls import ImageEditAnswer, ImageEditRequest
from aichat.providers.usage import OPENAI, UsageReport


class OpenAIImages:
    sizes: ClassVar[tuple[str, ...]] = SIZES
    # https://platform.openai.com/docs/guides/image-generation#cost-and-latency: high quality, 1024 × 1536
    tokens_per_image: ClassVar[int] = 6240

    async def images(self, request: ImageRequest, endpoint: Endpoint) -> ImageAnswer:
        return await calls.ask("/images/generations", fields_of(request), endpoint, request.request_id, read)

    async def edit(self, request: ImageEditRequest, endpoint: Endpoint) -> ImageEditAnswer:
        def form() -> aiohttp.FormData:
            data = aiohttp.FormData()
            for name, value in fields_of(request).items():
                data.add_field(name, str(value))
            name = "image[]" if len(request.images) > 1 else "image"
            for number, (raw, content_type) in enumerate(request.images):
                filename = f"image{number}.{content_type.partition('/')[2]}"
                data.add_field(name, raw, filename=filename, content_type=content_type)
            if request.mask is not None:
                data.add_field("mask", request.mask, filename="mask.png", content_type="image/png")
            return data

        return ImageEditAnswer.of(await calls.ask("/images/edits", form, endpoint, request.request_id, read))


def fields_of(request: ImageRequest | ImageEditRequest) -> dict[str, Any]:
    fields = {"model": request.model, "prompt": request.prompt, "n": request.n, "size": request.size}
    # Without this the older models answer with addresses; the newer ones refuse the parameter.
    return fields if "gpt-image" in request.model else {**fields, "response_format": "b64_json"}


def read(answer: dict[str, Any]) -> ImageAnswer:
    images = [bodies.decoded(item["b64_json"]) for item in answer.get("data") or () if item.get("b64_json")]
    if not images:
        raise ProviderError(AttemptOutcome.EMPTY, "an answer without images")
    report = UsageReport()
    report.read(OPENAI, answer.get("usage"))
    return ImageAnswer(images, report, billed=len(images))
