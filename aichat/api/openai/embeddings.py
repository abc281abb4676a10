"""`POST /v1/embeddings`: https://platform.openai.com/docs/api-reference/embeddings/create"""

import base64
import sys
from array import array
from typing import Annotated, Any, ClassVar, Literal

import orjson
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from accounts.authentication import Caller
from accounts.models import Scope
from accounts.permissions import IsUser
from aichat.api.async_views import AsyncView, parse, respond
from aichat.api.fields import LONGEST_TEXT
from aichat.api.openai.answers import EmbeddingList
from aichat.api.openai.whole_answers import WholeAnswer
from aichat.catalog.models import AIModel
from aichat.core.web.openapi import CHAT_HEADERS, charges, may_answer
from aichat.generation.embeddings import Embeddings
from aichat.generation.errors import STATUSES
from aichat.generation.request import GenerationRequest, Result
from aichat.providers.single_calls import Input, Vector

MOST_INPUTS = 2048  # of a request, as OpenAI's
LONGEST_TOKEN_LIST = 8192
LARGEST_TOKEN = 2**31 - 1
One = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]
Token = Annotated[int, Field(ge=0, le=LARGEST_TOKEN)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=LONGEST_TOKEN_LIST)]


class EmbeddingsBody(BaseModel):
    """`POST /v1/embeddings`. Fields without effect on the vectors are accepted."""

    most_values: ClassVar[int] = 303_000  # JSON values of a body: a token is one, and OpenAI takes 300,000 of them
    model_config = ConfigDict(strict=True, extra="ignore")

    model: str = Field(min_length=1, max_length=100)
    input: (
        One
        | Tokens
        | Annotated[list[One], Field(min_length=1, max_length=MOST_INPUTS)]
        | Annotated[list[Tokens], Field(min_length=1, max_length=MOST_INPUTS)]
    ) = Field(description=f"A text, its tokens, or a list of up to {MOST_INPUTS} of either.")
    dimensions: int | None = Field(None, ge=1, le=16_384)
    encoding_format: Literal["float", "base64"] | None = None

    @property
    def inputs(self) -> list[Input]:
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [self.input]  # the tokens of one text
        return [*self.input]


class EmbeddingsView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.EMBEDDINGS

    @extend_schema(
        summary="Embeddings (OpenAI-compatible)",
        request=EmbeddingsBody,
        responses={200: OpenApiResponse(EmbeddingList, "In the order of the inputs.")},
    )
    @may_answer(*STATUSES)
    @charges(*CHAT_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """Vectors of texts. What was embedded before comes from the prompt cache, each input by itself."""
        body = await parse(EmbeddingsBody, request)
        embeddings = Embeddings(body.inputs, body.dimensions)
        asked = GenerationRequest(
            caller=caller, model=body.model, kind=AIModel.Kind.EMBEDDING.value, messages=[], stream=False
        )

        async def prepare() -> tuple[GenerationRequest, WholeAnswer]:
            return asked, WholeAnswer(lambda result: written(result, embeddings, body.encoding_format or "float"))

        return await respond(request, caller, prepare, embeddings.perform)


def written(result: Result, embeddings: Embeddings, encoding: str) -> bytes:
    """The answer as JSON. `encoding` is `float` or `base64`."""
    tokens = embeddings.tokens
    return orjson.dumps(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": as_numbers(vector, encoding)}
                for index, vector in enumerate(embeddings.vectors)
                if vector is not None
            ],
            "model": result.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def as_numbers(vector: Vector, encoding: str) -> Any:
    """A list of numbers, or base64 of little-endian 32-bit floats."""
    if encoding == "float":
        return vector.tolist()
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
