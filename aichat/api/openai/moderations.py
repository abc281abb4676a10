"""`POST /v1/moderations`: https://platform.openai.com/docs/api-reference/moderations/create"""

from typing import Annotated, Literal

import orjson
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema
from pydantic import BaseModel, ConfigDict, Field

from accounts.authentication import Caller
from accounts.models import Scope
from accounts.permissions import IsUser
from aichat.api.async_views import AsyncView, parse, respond
from aichat.api.fields import LimitedText
from aichat.api.openai.answers import ModerationList
from aichat.api.openai.schemas import ImageURL
from aichat.api.openai.whole_answers import WholeAnswer
from aichat.catalog.models import AIModel
from aichat.catalog.routing import AUTO
from aichat.core.web.openapi import CHAT_HEADERS, charges, may_answer
from aichat.generation.errors import STATUSES
from aichat.generation.moderation import moderation
from aichat.generation.request import GenerationRequest, Result

MOST_INPUTS = 512


class TextPart(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["text"]
    text: LimitedText


class ImagePart(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["image_url"]
    image_url: ImageURL


class ModerationsBody(BaseModel):
    """`POST /v1/moderations`"""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str = Field(AUTO, min_length=1, max_length=100)
    input: (
        LimitedText
        | Annotated[list[LimitedText], Field(min_length=1, max_length=MOST_INPUTS)]
        | Annotated[list[TextPart | ImagePart], Field(min_length=1, max_length=MOST_INPUTS)]
    ) = Field(description="A text, a list of texts, or the parts of one message.")


class ModerationsView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.CHAT

    @extend_schema(
        summary="Moderation (OpenAI-compatible)",
        request=ModerationsBody,
        responses={200: OpenApiResponse(ModerationList, "With a verdict for each input.")},
    )
    @may_answer(*STATUSES)
    @charges(*CHAT_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """Says of texts and pictures whether they are harmful. Free."""
        body = await parse(ModerationsBody, request)
        asked = GenerationRequest(
            caller=caller, model=body.model, kind=AIModel.Kind.MODERATION.value, messages=[], stream=False
        )
        call = moderation(body.model_dump(exclude_none=True)["input"], asked.request_id)

        def write(result: Result) -> bytes:
            results = call.answer.results if call.answer else []
            return orjson.dumps({"id": f"modr-{result.id.hex}", "model": result.model, "results": results})

        async def prepare() -> tuple[GenerationRequest, WholeAnswer]:
            return asked, WholeAnswer(write)

        return await respond(request, caller, prepare, call.perform)
