"""`POST /v1/images/edits`: https://platform.openai.com/docs/api-reference/images/createEdit"""

import asyncio
import base64
import io
import warnings
from typing import Annotated, Literal

import orjson
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from PIL import Image
from pydantic import BeforeValidator, Field, StringConstraints

from accounts.authentication import Caller
from accounts.models import Scope
from accounts.permissions import IsUser
from aichat.api.async_views import AsyncView, respond
from aichat.api.forms import File, Form, Upload, parse_form
from aichat.api.openai.answers import ImageList
from aichat.api.openai.whole_answers import WholeAnswer
from aichat.catalog.models import AIModel
from aichat.catalog.routing import AUTO
from aichat.core.errors import InvalidRequest
from aichat.core.web.openapi import CHAT_HEADERS, charges, may_answer
from aichat.generation.errors import STATUSES
from aichat.generation.image_edits import image_edit
from aichat.generation.request import GenerationRequest, Result
from aichat.providers.base import SIZES
from aichat.providers.single_calls import ImageEditRequest

MOST_GIVEN, MOST_MADE = 16, 4
LONGEST_PROMPT = 4_000  # characters
LARGEST_PIXELS = 4096 * 4096
TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def as_list(value: Upload | list[Upload]) -> list[Upload]:
    return value if isinstance(value, list) else [value]


Uploads = Annotated[list[File], BeforeValidator(as_list), Field(max_length=MOST_GIVEN)]


class ImageEditForm(Form):
    """`POST /v1/images/edits`, a multipart form; several pictures are sent as `image[]`."""

    prompt: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PROMPT, pattern=r"\S")]
    image: Uploads = Field([])
    images: Uploads = Field([], alias="image[]")
    mask: File | None = None
    model: str = Field(AUTO, min_length=1, max_length=100)
    size: Literal["auto", "1024x1024", "1536x1024", "1024x1536"] = "auto"
    n: int = Field(1, ge=1, le=MOST_MADE)
    response_format: Literal["b64_json"] = Field("b64_json", description="Only b64_json.")
    output_format: Literal["png"] = Field("png", description="Images keep the format their model makes.")
    stream: Literal["false", "False", "0", ""] = Field("false", description="Not supported.")


class ImageEditsView(AsyncView):
    permission_classes = [IsUser]
    scope = Scope.IMAGES

    @extend_schema(
        summary="Image edits (OpenAI-compatible)",
        request={"multipart/form-data": ImageEditForm},
        responses={200: ImageList},
    )
    @may_answer(*STATUSES)
    @charges(*CHAT_HEADERS)
    async def post(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        """Makes pictures of one or more pictures. They are not stored here: the answer has them."""
        form = await parse_form(ImageEditForm, request)
        given = form.image or form.images
        if not given:
            raise InvalidRequest("Send a picture as the file `image`.", param="image")
        images = [(each.content, await asyncio.to_thread(image_type, each.content, "image")) for each in given]
        if form.mask and await asyncio.to_thread(image_type, form.mask.content, "mask") != TYPES["PNG"]:
            raise InvalidRequest("The mask is a PNG.", param="mask")
        asked = GenerationRequest(
            caller=caller, model=form.model, kind=AIModel.Kind.IMAGE.value, messages=[], stream=False
        )
        call = image_edit(
            ImageEditRequest(
                model=form.model,
                prompt=form.prompt,
                images=images,
                mask=form.mask.content if form.mask else None,
                size=SIZES[0] if form.size == "auto" else form.size,
                n=form.n,
                request_id=asked.request_id,
            )
        )

        def write(result: Result) -> bytes:
            made = call.answer.images if call.answer else []
            data = [{"b64_json": base64.b64encode(image).decode()} for image in made]
            return orjson.dumps({"created": (result.id.int >> 80) // 1000, "data": data})

        async def prepare() -> tuple[GenerationRequest, WholeAnswer]:
            return asked, WholeAnswer(write)

        return await respond(request, caller, prepare, call.perform)


def image_type(raw: bytes, param: str) -> str:
    """The content type of a picture. Raises `InvalidRequest` for anything but a PNG, JPEG or WebP within limits."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw), formats=list(TYPES)) as image:
                if image.width * image.height <= LARGEST_PIXELS:
                    return TYPES[image.format or "PNG"]
    except (OSError, SyntaxError, ValueError, Warning):
        raise InvalidRequest("Send a PNG, JPEG or WebP.", param=param) from None
    raise InvalidRequest("The picture has too many pixels: at most 4096 × 4096.", param=param)
