"""The body of `POST /api/v1/chat`, and the event of its stream that is neither the whole answer nor an error."""

from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
)

from aichat.api.fields import MaxTokens, Temperature, Text, items, storable
from aichat.core.web.answer_models import Answer, Maybe

MOST_ATTACHMENTS = 10  # of one message
LONGEST_SYSTEM_PROMPT = 100_000  # characters; it is kept with its conversation


class ChatBody(BaseModel):
    """`POST /api/v1/chat`"""

    model_config = ConfigDict(strict=True, extra="forbid")

    message: Text | None = Field(None, description="The question. Left out only with `replaces`, for another answer.")
    conversation_id: UUID | None = Field(None, description="Continue this conversation; without it a new one begins.")
    parent_id: UUID | None = Field(
        None, description="Go on after this message of the conversation; without it after the latest."
    )
    replaces: UUID | None = Field(
        None,
        description="A message of the conversation: a question, beside which `message` begins a branch, or an answer, to "
        "whose question another is written. Both versions are kept.",
    )
    attachments: Annotated[list[UUID], *items(MOST_ATTACHMENTS)] = Field(
        default_factory=list, description="Files sent before by `POST /api/v1/attachments`, or of an earlier message."
    )
    model: str = Field("auto", min_length=1, max_length=100)
    system: Annotated[str, AfterValidator(storable)] | None = Field(
        None, max_length=LONGEST_SYSTEM_PROMPT, description="System prompt; replaces the conversation's."
    )
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    stream: bool = False
    finish: bool = Field(
        False,
        description="Finish a stream when its client leaves; `POST /api/v1/chat/stop` ends it.",
    )


class StopBody(BaseModel):
    """`POST /api/v1/chat/stop`"""

    model_config = ConfigDict(strict=True, extra="forbid")

    message_id: UUID = Field(description="The answer's: `X-Message-ID` of its stream.")


class ChatDelta(Answer):
    """The event `delta`: a piece of the answer, of the model's thoughts, or of both."""

    content: str
    reasoning: Maybe[str] = None
