"""Gemini's embeddings: https://ai.google.dev/api/embeddings"""

import math
from array import array
from collections.abc import Sequence
from typing import Any, ClassVar

from aichat.providers import bodies, http
from aichat.providers.base import Endpoint, Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.single_calls import EmbeddingAnswer, EmbeddingRequest, Input, Vector, embed_in_batches

BATCH = 100  # inputs that `batchEmbedContents` takes


class GeminiEmbeddings:
    takes_tokens: ClassVar[bool] = False

    async def embed(self, request: EmbeddingRequest, endpoint: Endpoint) -> EmbeddingAnswer:
        return await embed_in_batches(request.inputs, BATCH, lambda inputs: self.one(request, inputs, endpoint))

    async def one(self, request: EmbeddingRequest, inputs: Sequence[Input], endpoint: Endpoint) -> EmbeddingAnswer:
        name = f"models/{request.model}"
        shorter = {} if request.dimensions is None else {"outputDimensionality": request.dimensions}
        body = {"requests": [{"model": name, "content": {"parts": [{"text": text}]}, **shorter} for text in inputs]}

        def read(answer: dict[str, Any]) -> EmbeddingAnswer:
            vectors = [array("f", item["values"]) for item in answer["embeddings"]]
            if len(vectors) != len(inputs) or not all(vectors):
                raise ProviderError(AttemptOutcome.MALFORMED, "not one vector for each input")
            tokens = (answer.get("usageMetadata") or {}).get("promptTokenCount")
            reported = Usage(input_tokens=tokens) if isinstance(tokens, int) and tokens > 0 else None
            return EmbeddingAnswer([normalised(each) if shorter else each for each in vectors], reported)

        headers = {"X-Request-ID": request.request_id, "x-goog-api-key": endpoint.api_key}
        url = endpoint.url(f"/v1beta/{name}:batchEmbedContents")
        return await http.post(url, body, headers, endpoint, bodies.json_reader(read))


def normalised(vector: Vector) -> Vector:
    """The vector scaled to length 1: shortened ones of Gemini's are not, and clients compare by the dot product."""
    length = math.sqrt(sum(value * value for value in vector))
    return array("f", (value / length for value in vector)) if length else vector
