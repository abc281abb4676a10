"""The body of `POST /v1/responses`: https://platform.openai.com/docs/api-reference/responses/create

Items and tools are taken as they come, because their kinds grow every month: `translation.py` reads what it knows and
names what it can't honour.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aichat.api.fields import LARGEST_NUMBER, LimitedText, Temperature

Item = dict[str, Any]
MOST_ITEMS, MOST_TOOLS = 100_000, 1_000


class TextFormat(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: LimitedText | None = None
    shape: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def has_its_schema(self) -> Self:
        if self.type == "json_schema" and (self.shape is None or self.name is None):
            raise ValueError("json_schema needs a name and a schema")
        return self


class TextConfig(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed", "none"] | None = None


class ResponsesBody(BaseModel):
    """A request for a response. What would change the answer and can't be honoured is refused by name."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str = Field(min_length=1, max_length=100)
    input: LimitedText | Annotated[list[Item], Field(min_length=1, max_length=MOST_ITEMS)]
    instructions: LimitedText | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=LARGEST_NUMBER)] | None = None
    tools: Annotated[list[Item], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | Item | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(ge=0, le=1, strict=False)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: Annotated[list[LimitedText], Field(max_length=50)] | None = None
    metadata: dict[str, Any] | None = None
    prompt_cache_key: LimitedText | None = None
    prompt_cache_retention: LimitedText | None = None
    safety_identifier: LimitedText | None = None
    service_tier: LimitedText | None = Field(None, description="Only the usual one; others are left out.")
    truncation: LimitedText | None = None
    user: LimitedText | None = None
    store: bool | None = Field(None, description="false: the answer's items can't be referred to.")
    previous_response_id: None = Field(None, description="Not supported: nothing is kept. Send the whole input.")
    conversation: None = Field(None, description="Not supported: nothing is kept. Send the whole input.")
    prompt: None = Field(None, description="Not supported: send the text.")
    background: Literal[False] | None = Field(None, description="Not supported.")
