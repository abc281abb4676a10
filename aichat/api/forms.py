"""Reads multipart forms with files, for the few endpoints that take them."""

import asyncio
from typing import Annotated, Any, TypeVar

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from pydantic import BaseModel, ConfigDict, ValidationError, WithJsonSchema

from aichat.api.async_views import refusal
from aichat.core.errors import ApiError, InvalidRequest
from aichat.core.web.addresses import deployment_of

B = TypeVar("B", bound="Form")


class Form(BaseModel):
    """A multipart form: its fields are texts, made into what the annotations say, or `Upload`s."""

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)


class Upload:
    """A file of a form, whole in memory: MAX_REQUEST_BYTES bounds it."""

    def __init__(self, file: Any) -> None:
        self.name = file.name or "file"
        self.content_type = file.content_type or "application/octet-stream"
        self.content = file.read()


File = Annotated[Upload, WithJsonSchema({"type": "string", "format": "binary"})]


async def parse_form(form: type[B], request: HttpRequest) -> B:
    """The request's multipart body as `form`. A name that ends in `[]` is a list. Raises `ApiError` naming the field."""
    if request.content_type != "multipart/form-data":
        raise ApiError("Send the body as multipart/form-data.", status=415, code="unsupported_media_type")
    _ = request.body  # read before Django reads the form of it, so that an Idempotency-Key can look at it later
    try:
        facts = await asyncio.to_thread(_fields, request)
    except (MultiPartParserError, SuspiciousOperation) as error:
        raise InvalidRequest(f"The body is no valid form: {error}.") from None
    if deployment := deployment_of(request):
        facts["model"] = deployment
    try:
        return form.model_validate(facts)
    except ValidationError as error:
        raise refusal(error) from None


def _fields(request: HttpRequest) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, values in request.POST.lists():
        facts[name] = values if name.endswith("[]") else values[-1]
    for name, files in request.FILES.lists():
        uploads = [Upload(file) for file in files if isinstance(file, UploadedFile)]
        facts[name] = uploads if name.endswith("[]") or len(uploads) > 1 else uploads[0]
    return facts
