"""The body of `POST /api/v1/chat`, and the event of its stream that is neither the whole answer nor an error."""

from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
)

from aichat.api.fields import MaxTokens, Temperature, Text, storable
from aichat.core.web.answer_models import Answer, Maybe

LONGEST_SYSTEM_PROMPT = 100_000  # characters; it is kept with its conversation


class ChatBody(BaseModel):
    """`POST /api/v1/chat`"""

    model_config = ConfigDict(strict=True, extra="forbid")

    message: Text
    conversation_id: UUID | None = Field(None, description="Continue this conversation; without it a new one begins.")
    model: str = Field("auto", min_length=1, max_length=100)
    system: Annotated[str, AfterValidator(storable)] | None = Field(
        None, max_length=LONGEST_SYSTEM_PROMPT, description="System prompt; replaces the conversation's."
    )
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    stream: bool = False


class ChatDelta(Answer):
    """The event `delta`: a piece of the answer, of the model's thoughts, or of both."""

    content: str
    reasoning: Maybe[str] = None
