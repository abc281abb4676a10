"""OpenAI's images by its SDK: https://platform.openai.com/docs/api-reference/images/create"""

import base64
import binascii
from typing import Any, ClassVar

import openai

from aichat.core.telemetry import spans
from aichat.providers.base import SIZES, Endpoint, ImageAnswer, ImageRequest
from aichat.providers.errors import AttemptOutcome, ProviderError, from_status
from aichat.providers.http import retry_after
from aichat.providers.usage import OPENAI, UsageReport

REFUSALS = {"moderation_blocked", "content_policy_violation"}


class OpenAIImages:
    sizes: ClassVar[tuple[str, ...]] = SIZES
    # https://platform.openai.com/docs/guides/image-generation#cost-and-latency: high quality, 1024 × 1536
    tokens_per_image: ClassVar[int] = 6240

    async def images(self, request: ImageRequest, endpoint: Endpoint) -> ImageAnswer:
        # Without this the older models answer with addresses; the newer ones refuse the parameter.
        encoded: dict[str, Any] = {} if "gpt-image" in request.model else {"response_format": "b64_json"}
        client = openai.AsyncOpenAI(
            api_key=endpoint.api_key,
            base_url=endpoint.base_url,
            max_retries=0,
            timeout=openai.Timeout(request.timeout, connect=endpoint.connect_timeout),
            default_headers={"X-Request-ID": request.request_id, **spans.upstream_headers(), **endpoint.headers},
        )
        try:
            async with client:
                answer = await client.images.generate(
                    model=request.model,
                    prompt=request.prompt,
                    n=request.n,
                    size=request.size,
                    **encoded,
                )
        except openai.APIStatusError as error:
            raise status_error(error) from error
        except openai.APITimeoutError as error:
            raise ProviderError(AttemptOutcome.TIMEOUT_ATTEMPT) from error
        except openai.APIConnectionError as error:
            raise ProviderError(AttemptOutcome.UNREACHABLE, "no connection") from error
        except (openai.OpenAIError, ValueError) as error:
            raise ProviderError(
                AttemptOutcome.MALFORMED, f"an answer that is not understood: {type(error).__name__}"
            ) from error
        encodings = [item.b64_json for item in answer.data or [] if item.b64_json]
        if not encodings:
            raise ProviderError(AttemptOutcome.EMPTY, "an answer without images")
        report = UsageReport()
        if answer.usage is not None:
            report.read(OPENAI, answer.usage.to_dict(warnings=False))
        return ImageAnswer([decoded(encoding) for encoding in encodings], report, billed=len(encodings))


def decoded(encoding: str) -> bytes:
    """The bytes of a base64 text; none for what is not base64, which then is no image."""
    try:
        return base64.b64decode(encoding)
    except binascii.Error:
        return b""


def status_error(error: openai.APIStatusError) -> ProviderError:
    if error.code in REFUSALS:
        return ProviderError(AttemptOutcome.BLOCKED, error.message)
    return from_status(error.status_code, error.message, retry_after(error.response.headers.get("Retry-After", "")))
