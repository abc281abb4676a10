"""The bodies of Anthropic's Messages API: https://platform.claude.com/docs/en/api/messages

Blocks and tools are taken as they come, because their kinds grow every month: `translation.py` reads what it knows of
them and names what it can't honour. Settings that have no effect here are accepted.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aichat.api.fields import LARGEST_NUMBER, LimitedText, Name

Block = dict[str, Any]
MOST_MESSAGES, MOST_BLOCKS, MOST_TOOLS = 100_000, 20_000, 1_000
Blocks = Annotated[list[Block], Field(max_length=MOST_BLOCKS)]


class InputMessage(BaseModel):
    """A turn. Newer clients also send `system` messages in the middle of a conversation."""

    model_config = ConfigDict(strict=True, extra="ignore")

    role: Literal["user", "assistant", "system"]
    content: LimitedText | Blocks


class MessagesToolChoice(BaseModel):
    """Not called `ToolChoice`: the OpenAPI document has one component of a name, and that is OpenAI's."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["auto", "any", "tool", "none"]
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(BaseModel):
    """`enabled` has a budget of tokens; `adaptive` is guided by `output_config.effort`."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: int | None = Field(None, ge=0, le=LARGEST_NUMBER)
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)

    type: Literal["json_schema"]
    shape: dict[str, Any] = Field(alias="schema")


class OutputConfig(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountBody(BaseModel):
    """`POST /v1/messages/count_tokens`: what a request would send, without its limits."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str = Field(min_length=1, max_length=100)
    messages: Annotated[list[InputMessage], Field(min_length=1, max_length=MOST_MESSAGES)]
    system: LimitedText | Blocks | None = None
    tools: Annotated[list[Block], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: MessagesToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = Field(None, description="The older name of `output_config.format`.")


class MessagesBody(CountBody):
    """`POST /v1/messages`."""

    max_tokens: int = Field(ge=1, le=LARGEST_NUMBER)
    stream: bool | None = None
    stop_sequences: Annotated[list[LimitedText], Field(max_length=100)] | None = None
    temperature: Annotated[float, Field(ge=0, le=1, strict=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, strict=False)] | None = None
    top_k: Annotated[int, Field(ge=0, le=LARGEST_NUMBER)] | None = None
    metadata: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None
    thread: dict[str, Any] | None = Field(None, description="Not supported: conversations are not kept here.")
    container: None = Field(None, description="Not supported: there is no code execution here.")
    mcp_servers: Annotated[list[Any], Field(max_length=0)] | None = Field(None, description="Not supported.")
