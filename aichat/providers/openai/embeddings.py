"""OpenAI's embeddings: https://platform.openai.com/docs/api-reference/embeddings"""

import base64
from array import array
from collections.abc import Sequence
from typing import Any, ClassVar

from aichat.providers.base import Endpoint, Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.openai import calls
from aichat.providers.single_calls import EmbeddingAnswer, EmbeddingRequest, Input, Vector, embed_in_batches


class OpenAIEmbeddings:
    """Asks for base64, which is a third as long as numbers."""

    takes_tokens: ClassVar[bool] = True
    encoding = "base64"
    batch = 512  # inputs of one call, so that its answer stays well below `http.LARGEST_ANSWER`

    async def embed(self, request: EmbeddingRequest, endpoint: Endpoint) -> EmbeddingAnswer:
        return await embed_in_batches(request.inputs, self.batch, lambda inputs: self.one(request, inputs, endpoint))

    async def one(self, request: EmbeddingRequest, inputs: Sequence[Input], endpoint: Endpoint) -> EmbeddingAnswer:
        body: dict[str, Any] = {"model": request.model, "input": list(inputs), "encoding_format": self.encoding}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions

        def read(answer: dict[str, Any]) -> EmbeddingAnswer:
            data = sorted(answer["data"], key=lambda item: item.get("index", 0))
            if len(data) != len(inputs):
                raise ProviderError(AttemptOutcome.MALFORMED, "not one vector for each input")
            usage = answer.get("usage") or {}
            tokens = usage.get("prompt_tokens") or usage.get("total_tokens")
            reported = Usage(input_tokens=tokens) if isinstance(tokens, int) and tokens > 0 else None
            return EmbeddingAnswer([vector(item["embedding"]) for item in data], reported)

        return await calls.ask("/embeddings", body, endpoint, request.request_id, read)


class CompatibleEmbeddings(OpenAIEmbeddings):
    """For servers of which many answer with numbers only."""

    encoding = "float"
    batch = 256


def vector(value: Any) -> Vector:
    """A vector from numbers, or from base64 of little-endian 32-bit floats. Raises `ValueError` for anything else."""
    found = array("f", base64.b64decode(value, validate=True)) if isinstance(value, str) else array("f", value)
    if not found:
        raise ValueError("an empty vector")
    return found
