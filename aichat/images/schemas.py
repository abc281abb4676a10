"""The request bodies of the image endpoints, and the last event of a watch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from aichat.core.outbound.webhooks import reachable
from aichat.core.web.answer_models import Answer

LONGEST_PROMPT = 4000  # characters; what the strictest of the providers takes
MOST_IMAGES = 4


WebhookUrl = Annotated[
    str,
    StringConstraints(max_length=500, pattern=r"^(https?://[^\s/]+\S*)?$"),
    AfterValidator(reachable),
]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PROMPT, pattern=r"\S")]


class ImageBody(BaseModel):
    """The body of `POST /api/v1/images`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    prompt: Prompt
    model: str = Field("auto", min_length=1, max_length=100)
    size: str = Field("1024x1024", pattern=r"^\d{3,4}x\d{3,4}$")
    n: int = Field(1, ge=1, le=MOST_IMAGES)
    background: bool = False
    webhook_url: WebhookUrl = Field("", description="Gets a signed POST when the job is over.")


class OpenAIImageBody(BaseModel):
    """The body of `POST /v1/images/generations`: https://platform.openai.com/docs/api-reference/images/create"""

    model_config = ConfigDict(strict=True, extra="ignore")

    prompt: Prompt
    model: str = Field("auto", min_length=1, max_length=100)
    size: str | None = Field(None, pattern=r"^(auto|\d{3,4}x\d{3,4})$")
    n: int | None = Field(None, ge=1, le=MOST_IMAGES)
    response_format: Literal["b64_json", "url"] | None = None
    stream: Literal[False] | None = Field(None, description="Not supported.")
    output_format: Literal["png"] | None = Field(None, description="Images keep the format their model makes.")
    background: Literal["auto", "opaque"] | None = None


class DeletedJob(Answer):
    """The event of a watch whose job was deleted."""

    id: str
    status: Literal["deleted"]
