"""Gemini's image models by Google's SDK: https://ai.google.dev/gemini-api/docs/image-generation

They are chat models that answer with a picture, one a call; several pictures are several calls at once.
"""

import asyncio
from typing import ClassVar

import httpx2
from google import genai
from google.genai import errors, types

from aichat.core.telemetry import spans
from aichat.providers.base import Endpoint, ImageAnswer, ImageRequest
from aichat.providers.errors import AttemptOutcome, ProviderError, from_status
from aichat.providers.gemini.calls import REFUSALS
from aichat.providers.gemini.usage import GEMINI
from aichat.providers.usage import UsageReport

ASPECT_RATIOS = {"1024x1024": "1:1", "1536x1024": "3:2", "1024x1536": "2:3"}


class GeminiImages:
    sizes: ClassVar[tuple[str, ...]] = tuple(ASPECT_RATIOS)
    # https://ai.google.dev/gemini-api/docs/pricing: 1,120 for up to 2K, 2,000 for 4K
    tokens_per_image: ClassVar[int] = 2000

    async def images(self, request: ImageRequest, endpoint: Endpoint) -> ImageAnswer:
        timeout = httpx2.Timeout(request.timeout, connect=endpoint.connect_timeout)
        async with httpx2.AsyncClient(timeout=timeout) as http:
            client = genai.Client(
                api_key=endpoint.api_key,
                http_options=types.HttpOptions(
                    base_url=endpoint.base_url,
                    api_version="v1beta",
                    headers={"X-Request-ID": request.request_id, **spans.upstream_headers(), **endpoint.headers},
                    httpx_async_client=http,
                ),
            )
            calls = (self.one(client, request) for _ in range(request.n))
            answers = await asyncio.gather(*calls, return_exceptions=True)
        delivered = [answer for answer in answers if isinstance(answer, ImageAnswer)]
        if not delivered:
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        return ImageAnswer(
            [image for answer in delivered for image in answer.images],
            UsageReport.together([answer.report for answer in delivered]),
            billed=len(delivered),
        )

    async def one(self, client: genai.Client, request: ImageRequest) -> ImageAnswer:
        try:
            answer = await client.aio.models.generate_content(
                model=request.model,
                contents=request.prompt,
                config=types.GenerateContentConfig(
                    response_modalities=["TEXT", "IMAGE"],
                    image_config=types.ImageConfig(aspect_ratio=ASPECT_RATIOS[request.size]),
                ),
            )
        except errors.APIError as error:
            raise from_status(error.code, error.message or "") from error
        except httpx2.ConnectTimeout as error:
            raise ProviderError(AttemptOutcome.TIMEOUT_CONNECT) from error
        except httpx2.TimeoutException as error:
            raise ProviderError(AttemptOutcome.TIMEOUT_ATTEMPT) from error
        except httpx2.ConnectError as error:
            raise ProviderError(AttemptOutcome.UNREACHABLE, "no connection") from error
        except (httpx2.HTTPError, ValueError) as error:
            raise ProviderError(
                AttemptOutcome.MALFORMED, f"an answer that is not understood: {type(error).__name__}"
            ) from error
        return self.read(answer)

    def read(self, answer: types.GenerateContentResponse) -> ImageAnswer:
        candidate = answer.candidates[0] if answer.candidates else None
        parts = (candidate.content.parts or []) if candidate and candidate.content else []
        image = next((part.inline_data.data for part in parts if part.inline_data and part.inline_data.data), None)
        if image is None:
            reason = candidate.finish_reason if candidate else None
            refused = answer.prompt_feedback and answer.prompt_feedback.block_reason
            blocked = bool(refused) or (reason is not None and reason.value in REFUSALS)
            raise ProviderError(
                AttemptOutcome.BLOCKED if blocked else AttemptOutcome.EMPTY, "an answer without an image"
            )
        report = UsageReport()
        if answer.usage_metadata:
            report.read(GEMINI, answer.usage_metadata.model_dump(warnings=False))
        return ImageAnswer([image], report, billed=1)
