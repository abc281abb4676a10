"""The bodies of chat completions, as Pydantic models: parsing one takes 0.01 ms, with a serializer of DRF 0.2 ms."""

import re
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
    model_validator,
)

from aichat.api.fields import (
    LONGEST_ADDRESS,
    MOST_BIASES,
    MOST_MESSAGES,
    MOST_PARTS,
    MOST_TOOLS,
    Identifier,
    LimitedText,
    MaxTokens,
    Name,
    Temperature,
    is_image_address,
    items,
)
from aichat.api.openai import tools

FILE_DATA = re.compile(r"(data:[a-z0-9.+-]+/[a-z0-9.+-]+;base64,)?[A-Za-z0-9+/]")
SEED = 2**63  # providers read seeds as signed whole numbers of 64 bits
Item = TypeVar("Item", bound=BaseModel)
OF_AN_ANSWER = {"reasoning_content", "reasoning", "reasoning_details"}
Bias = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, strict=False, allow_inf_nan=False)]


class ImageURL(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    url: str = Field(max_length=LONGEST_ADDRESS)
    detail: Literal["auto", "low", "high"] | None = None

    @field_validator("url")
    @classmethod
    def is_an_image(cls, url: str) -> str:
        if not is_image_address(url):
            raise ValueError("write an https:// address, or the image itself as data:image/png;base64,…")
        return url


class InputAudio(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    data: str = Field(min_length=1, max_length=LONGEST_ADDRESS, description="base64")
    format: str = Field(pattern=r"^[a-z0-9-]{2,10}$", description="wav, mp3 …")


class File(BaseModel):
    """A file in the request itself. One by `file_id` is refused: it would be a file of the operator's account."""

    model_config = ConfigDict(strict=True, extra="ignore")

    file_data: str = Field(max_length=LONGEST_ADDRESS, description="data:application/pdf;base64,…")
    filename: Name | None = None
    file_id: None = Field(None, description="Not supported: send file_data.")

    @field_validator("file_data")
    @classmethod
    def is_a_file(cls, data: str) -> str:
        if not FILE_DATA.match(data):
            raise ValueError("write the file itself as data:application/pdf;base64,…")
        return data


def having(item: Item, kind: str) -> Item:
    """The item, when it has the member that its type names. Raises `ValueError`."""
    if getattr(item, kind) is None:
        raise ValueError(f"what is of type {kind} needs a member {kind}")
    return item


class ContentPart(BaseModel):
    """One piece of a message: text, a picture, a file, sound, or a refusal of the assistant's."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["text", "image_url", "input_audio", "file", "refusal"]
    text: LimitedText | None = None
    image_url: ImageURL | None = None
    input_audio: InputAudio | None = None
    file: File | None = None
    refusal: LimitedText | None = None

    @model_validator(mode="after")
    def has_what_it_says(self) -> Self:
        return having(self, self.type)


class FunctionCall(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    name: Name
    arguments: LimitedText = ""


class CustomCall(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    name: Name
    input: LimitedText = ""


class ToolCall(BaseModel):
    """A call of an earlier answer, sent back. `extra_content` carries Gemini's thought signature."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: Identifier
    type: Literal["function", "custom"] = "function"
    function: FunctionCall | None = None
    custom: CustomCall | None = None
    extra_content: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def has_what_it_says(self) -> Self:
        return having(self, self.type)


class CompletionMessage(BaseModel):
    """An OpenAI message. Members of no consequence (`annotations`, `audio: null` …) are left out.

    An assistant's message may carry the thoughts of the answer it was, which some providers want back: `reasoning_content`
    (or `reasoning`, as OpenRouter calls it) and `reasoning_details`.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: LimitedText | Annotated[list[ContentPart], *items(MOST_PARTS)] | None = None
    name: Name | None = None
    refusal: LimitedText | None = None
    tool_calls: Annotated[list[ToolCall], *items(MOST_TOOLS)] | None = None
    tool_call_id: Identifier | None = None
    function_call: FunctionCall | None = None
    reasoning_content: LimitedText | None = None
    reasoning: LimitedText | None = None
    reasoning_details: Annotated[list[dict[str, JsonValue]], Field(max_length=1000)] | None = None
    extra_content: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def is_whole(self) -> Self:
        if self.content is None and not self.tool_calls and not self.refusal and not self.function_call:
            raise ValueError("a message needs content")
        if self.role == "function" and not self.name:
            raise ValueError("a function message needs the function's name")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a tool message needs tool_call_id")
        parts = self.content if isinstance(self.content, list) else []
        media = {part.type for part in parts} - {"text", "refusal"}
        if media and self.role != "user" and (self.role != "tool" or media != {"image_url"}):
            raise ValueError("only a user's message has pictures, files and sound, and a tool's has pictures")
        return self

    def as_dict(self) -> dict[str, Any]:
        """The message as adapters take it: an assistant's content is there even when it is null, as strict servers want."""
        found = self.model_dump(exclude_unset=True, exclude_none=True)
        if self.role != "assistant":
            return {name: value for name, value in found.items() if name not in OF_AN_ANSWER}
        if reasoning := found.pop("reasoning", None):
            found.setdefault("reasoning_content", reasoning)
        found.setdefault("content", None)
        return found


class Function(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    name: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")
    description: LimitedText | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None


class Grammar(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    syntax: Literal["lark", "regex"]
    definition: LimitedText


class CustomFormat(BaseModel):
    """What the input of a custom tool looks like: any text, or what a grammar allows."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["text", "grammar"]
    grammar: Grammar | None = None

    @model_validator(mode="after")
    def has_its_grammar(self) -> Self:
        return having(self, self.type) if self.type == "grammar" else self


class Custom(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    name: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")
    description: LimitedText | None = None
    format: CustomFormat | None = None


class Tool(BaseModel):
    """A function, or a custom tool, whose input is free text."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["function", "custom"]
    function: Function | None = None
    custom: Custom | None = None

    @model_validator(mode="after")
    def has_what_it_says(self) -> Self:
        return having(self, self.type)

    @property
    def name(self) -> str:
        named: Function | Custom = getattr(self, self.type)
        return named.name


class FunctionName(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    name: Name


class ToolChoice(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["function", "custom"]
    function: FunctionName | None = None
    custom: FunctionName | None = None

    @model_validator(mode="after")
    def has_what_it_says(self) -> Self:
        return having(self, self.type)

    @property
    def name(self) -> str:
        named: FunctionName = getattr(self, self.type)
        return named.name


class ToolSet(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    mode: Literal["auto", "required"]
    tools: Annotated[list[ToolChoice], Field(min_length=1, max_length=128)]


class AllowedTools(BaseModel):
    """A `tool_choice` that lets the model call some of the tools only."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["allowed_tools"]
    allowed_tools: ToolSet


class JSONSchema(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: LimitedText | None = None
    shape: dict[str, JsonValue] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchema | None = None

    @model_validator(mode="after")
    def has_its_schema(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema goes with type json_schema")
        return self


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool | None = None


Choice = str | ToolChoice | AllowedTools | FunctionName | None


def names_of(choice: Choice) -> list[str]:
    """The functions that a `tool_choice` or `function_call` names."""
    match choice:
        case ToolChoice():
            return [choice.name]
        case AllowedTools(allowed_tools=allowed):
            return [each.name for each in allowed.tools]
        case FunctionName(name=name):
            return [name]
        case _:
            return []


class CompletionBody(BaseModel):
    """`POST /v1/chat/completions`: https://platform.openai.com/docs/api-reference/chat/create

    What would change the answer is honoured or refused by name. Everything else a client may send is accepted, and
    passed on where the provider knows it.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    model: str = Field(min_length=1, max_length=100)
    messages: Annotated[list[CompletionMessage], *items(MOST_MESSAGES, least=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(ge=0, le=1, strict=False)] | None = None
    seed: int | None = Field(None, ge=-SEED, lt=SEED)
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Bias], Field(max_length=MOST_BIASES)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = Field(None, pattern=r"^[a-z_]{1,20}$", description="none, low, medium, high …")
    prediction: dict[str, JsonValue] | None = None
    top_k: int | None = Field(None, ge=0, lt=2**31)
    stop: LimitedText | Annotated[list[LimitedText], *items(4)] | None = None
    tools: Annotated[list[Tool], *items(MOST_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | AllowedTools | None = None
    response_format: ResponseFormat | None = None
    n: Literal[1] | None = Field(None, description="Only 1.")
    audio: None = Field(None, description="Not supported.")
    functions: Annotated[list[Function], *items(MOST_TOOLS)] | None = Field(None, description="As `tools`.")
    function_call: Literal["none", "auto"] | FunctionName | None = Field(None, description="As `tool_choice`.")
    web_search_options: None = Field(None, description="Not supported.")
    modalities: Annotated[list[Name], *items(4)] | None = None

    @field_validator("modalities")
    @classmethod
    def is_text(cls, modalities: list[str] | None) -> list[str] | None:
        if modalities not in (None, ["text"]):
            raise ValueError("only text is answered here")
        return modalities

    @field_validator("tool_choice", "function_call")
    @classmethod
    def is_among_the_tools(cls, choice: Choice, info: ValidationInfo) -> Choice:
        functions = info.data.get("functions") or []
        names = {tool.name for tool in info.data.get("tools") or []} | {each.name for each in functions}
        if choice == "required" and not names:
            raise ValueError("there are no tools to choose from")
        if not set(names_of(choice)) <= names:
            raise ValueError("it names a function that is not among the tools")
        return choice

    @field_validator("functions")
    @classmethod
    def is_instead_of_tools(cls, functions: list[Function] | None, info: ValidationInfo) -> list[Function] | None:
        if functions and info.data.get("tools"):
            raise ValueError("send either functions or tools")
        return functions

    def message_dicts(self) -> list[dict[str, Any]]:
        """The messages as they go upstream, in the vocabulary of tools."""
        found = [message.as_dict() for message in self.messages]
        has_functions = [one for one in self.messages if one.function_call or one.role == "function"]
        return tools.of_messages(found) if has_functions else found

    def parameters(self) -> dict[str, Any]:
        """The parameters that go upstream: everything but the conversation and what this server decides."""
        ours = {
            "model",
            "messages",
            "stream",
            "stream_options",
            "max_tokens",
            "max_completion_tokens",
            "n",
            "modalities",
        }
        found = self.model_dump(exclude=ours, exclude_none=True, by_alias=True)
        return found if tools.FIELDS.isdisjoint(found) else tools.of_parameters(found)
