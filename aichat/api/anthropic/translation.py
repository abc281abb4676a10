"""From a request in Anthropic's vocabulary to one in OpenAI's, which every provider's adapter translates from.

Beside the translation each message carries the blocks it was made of, under the key `anthropic`, and the parameters
carry the request's own settings: a Claude model gets those as they came.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from aichat.api.anthropic.schemas import Block, CountBody, MessagesBody, MessagesToolChoice, Thinking
from aichat.api.fields import is_image_address
from aichat.api.headers import MOST_NAMES
from aichat.core.errors import InvalidRequest
from aichat.providers.json import to_json
from aichat.providers.thoughts import whole_thoughts

NATIVE = "anthropic"
CLAUDE = "anthropic-claude-v1"  # the format of a Claude model's own thoughts
# The beginning of other models' thoughts in a block for clients that know only Claude's: see `sealed`.
SEAL = "aichat."
EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
# Tools that the client runs, with a schema that only Claude models know.
CLIENT_TOOLS = ("bash_", "text_editor_", "memory_", "computer_")
# Features that a client may switch on at Anthropic by `anthropic-beta`. None of them changes the price of a token.
BETAS = (
    "claude-code-", "context-management-", "effort-", "fine-grained-tool-streaming-", "interleaved-thinking-",
    "mid-conversation-", "prompt-caching-", "structured-outputs-", "token-efficient-tools-", "advanced-tool-use-",
)  # fmt: skip
# Blocks of an answer that any model gets back. The others are traces of what Anthropic's own tools did.
OF_AN_ANSWER = {"text", "tool_use", "thinking", "redacted_thinking"}
CLEARING = "clear_"  # edits of the context that only leave something out; others make the model write more


class Translation:
    """A request in OpenAI's vocabulary. `dropped` names the parts of the request that are left out for every model."""

    def __init__(self, body: CountBody, headers: Mapping[str, str]) -> None:
        self.dropped: list[str] = []
        self.messages = [*system_messages(body.system)]
        for number, message in enumerate(body.messages):
            self.messages += message_of(message.role, as_blocks(message.content), f"messages.{number}.content")
        self.native_tools = list(self.runnable(body.tools or ()))
        self.parameters = {**dict.fromkeys(claudes_alone(body), True), **self.settings(body)}
        self.parameters[NATIVE] = self.native(body, headers)

    def runnable(self, tools: Iterable[Block]) -> Iterator[Block]:
        """The tools that the client runs. Those that Anthropic runs itself are left out: we don't count what they cost."""
        for number, tool in enumerate(tools):
            kind, where = str(tool.get("type") or "custom"), f"tools.{number}"
            if kind == "custom" or kind.startswith(CLIENT_TOOLS):
                need(tool, "name", str, where)
                if kind == "custom":
                    need(tool, "input_schema", dict, where)
                yield tool
            else:
                self.dropped.append(where)

    def settings(self, body: CountBody) -> dict[str, Any]:
        """The request's settings as OpenAI's parameters."""
        found: dict[str, Any] = {}
        loaded = referenced(body)
        functions = [tool for tool in self.native_tools if not tool.get("defer_loading") or tool.get("name") in loaded]
        if tools := [function_tool(tool) for tool in functions if (tool.get("type") or "custom") == "custom"]:
            found["tools"] = tools
        if body.tool_choice:
            found |= tool_choice(body.tool_choice, {tool["function"]["name"] for tool in tools}, self.native_tools)
        if effort := reasoning_effort(body.thinking, body.output_config.effort if body.output_config else None):
            found["reasoning_effort"] = effort
        wanted = (body.output_config.format if body.output_config else None) or body.output_format
        if wanted:
            schema = {"name": "answer", "schema": wanted.shape, "strict": True}
            found["response_format"] = {"type": "json_schema", "json_schema": schema}
        if isinstance(body, MessagesBody):
            limits = {"stop": body.stop_sequences, "temperature": body.temperature, "top_p": body.top_p}
            found |= {name: value for name, value in limits.items() if value not in (None, [])}
            if body.top_k is not None:
                found["top_k"] = body.top_k
        return found

    def native(self, body: CountBody, headers: Mapping[str, str]) -> dict[str, Any]:
        """The request's own settings, for a Claude model. What would change the price is left out."""
        names = ("tools", "tool_choice", "thinking", "output_config", "stop_sequences", "metadata", "cache_control")
        given = body.model_dump(include=set(names), exclude_unset=True, exclude_none=True, by_alias=True)
        given["tools"] = self.native_tools
        if body.output_format:
            schema = {"format": body.output_format.model_dump(by_alias=True)}
            given["output_config"] = {**given.get("output_config", {}), **schema}
        if isinstance(body, MessagesBody) and body.context_management:
            edits = [edit for edit in as_list(body.context_management.get("edits")) if is_clearing(edit)]
            if edits:
                given["context_management"] = {"edits": edits}
        asked = [name.strip() for name in headers.get("anthropic-beta", "").split(",")]
        if betas := [name for name in asked if name.startswith(BETAS)]:
            given["betas"] = betas
        if version := headers.get("anthropic-version"):
            given["version"] = version
        return given


def claudes_alone(body: CountBody) -> Iterator[str]:
    """The names of what only a Claude model is sent of the messages. Answers of other models name them as left out."""
    blocks = [(message.role, block) for message in body.messages for block in as_blocks(message.content)]
    wanted = (item for _, block in blocks for item in (block, *as_list(block.get("content"))))
    if any(isinstance(item, dict) and isinstance(item.get("citations"), dict) and item["citations"].get("enabled")
           for item in wanted):  # fmt: skip
        yield "citations"
    kinds = {str(block.get("type")) for role, block in blocks if role == "assistant"} - OF_AN_ANSWER
    yield from (f"content.{kind}" for kind in sorted(kinds)[:MOST_NAMES])


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def is_clearing(edit: Any) -> bool:
    return isinstance(edit, dict) and str(edit.get("type")).startswith(CLEARING)


# --- Messages ---------------------------------------------------------------------------------------------------------


def as_blocks(content: str | Sequence[Block]) -> list[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def system_messages(system: str | Sequence[Block] | None) -> list[dict[str, Any]]:
    if not system:
        return []
    blocks = as_blocks(system)
    texts = [need(block, "text", str, f"system.{number}") for number, block in enumerate(blocks)]
    return [{"role": "system", "content": [{"type": "text", "text": text} for text in texts if text], NATIVE: blocks}]


def message_of(role: str, blocks: list[Block], where: str) -> list[dict[str, Any]]:
    """The messages one turn becomes: an answer to several calls is a message for each of them, and one for the rest."""
    for number, block in enumerate(blocks):
        need(block, "type", str, f"{where}.{number}")
    if role == "system":
        found = system_messages(blocks)
    elif role == "assistant":
        found = [assistant_message(blocks, where)]
    else:
        found = user_messages(blocks, where)
    if not found:
        return []
    return [{**found[0], NATIVE: blocks}, *({**message, NATIVE: []} for message in found[1:])]


def user_messages(blocks: Sequence[Block], where: str) -> list[dict[str, Any]]:
    """Answers to calls first, because they must follow the calls. Their pictures follow: a tool's message is text alone."""
    answers: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for number, block in enumerate(blocks):
        place = f"{where}.{number}"
        if block["type"] != "tool_result":
            parts += content_parts(block, place)
            continue
        call_id = need(block, "tool_use_id", str, place)
        inner = [
            part
            for position, item in enumerate(as_blocks(inner_content(block, place)))
            for part in content_parts(item, f"{place}.content.{position}")
        ]
        text = "\n".join(part["text"] for part in inner if part["type"] == "text")
        parts += [part for part in inner if part["type"] != "text"]
        answers.append({"role": "tool", "tool_call_id": call_id, "content": text})
    if len(parts) == 1 and parts[0]["type"] == "text":
        return [*answers, {"role": "user", "content": parts[0]["text"]}]
    return [*answers, {"role": "user", "content": parts}] if parts else answers


def inner_content(block: Block, where: str) -> str | list[Block]:
    """The content of a tool's answer or of a document: text, or blocks."""
    content = block.get("content") or ""
    if isinstance(content, str) or (isinstance(content, list) and all(isinstance(item, dict) for item in content)):
        return content
    raise InvalidRequest(f"{where}.content: write text or a list of blocks.", param=f"{where}.content")


def content_parts(block: Block, where: str) -> list[dict[str, Any]]:
    """A block of a user's turn, or of a tool's answer, as content parts."""
    match block.get("type"):
        case "text":
            text = need(block, "text", str, where)
            return [{"type": "text", "text": text}] if text else []
        case "image":
            url = address(need(block, "source", dict, where), where)
            if not is_image_address(url):
                raise InvalidRequest("Send a picture as base64, or its https:// address.", param=f"{where}.source")
            return [{"type": "image_url", "image_url": {"url": url}}]
        case "document":
            return document(block, where)
        case "search_result":
            texts = "\n".join(str(item.get("text", "")) for item in as_blocks(inner_content(block, where)))
            return [{"type": "text", "text": f"{block.get('title', '')} ({block.get('source', '')})\n{texts}"}]
        case "tool_reference":
            return [{"type": "text", "text": f"The tool {block.get('tool_name', '')} is available now."}]
        case "container_upload":
            raise InvalidRequest("Files in a container can't be read here.", param=where)
        case _:
            return [{"type": "text", "text": to_json(block).decode()}]


def document(block: Block, where: str) -> list[dict[str, Any]]:
    """A document as content parts. A file carries its title as its name; a text is preceded by it."""
    source = need(block, "source", dict, where)
    told = ("title", "context") if source.get("type") in ("text", "content") else ("context",)
    about = "\n".join(str(block[name]) for name in told if block.get(name))
    heading = [{"type": "text", "text": about}] if about else []
    match source.get("type"):
        case "text":
            return [*heading, {"type": "text", "text": need(source, "data", str, f"{where}.source")}]
        case "content":
            inner = as_blocks(inner_content(source, f"{where}.source"))
            return [*heading, *(part for item in inner for part in content_parts(item, f"{where}.source.content"))]
        case _:
            name = str(block.get("title") or "document.pdf")
            file = {"filename": name, "file_data": address(source, where)}
            return [*heading, {"type": "file", "file": file}]


def address(source: Mapping[str, Any], where: str) -> str:
    """A picture or document as an address: `data:` for what is in the request itself."""
    match source.get("type"):
        case "base64":
            kind = need(source, "media_type", str, f"{where}.source")
            return f"data:{kind};base64,{need(source, 'data', str, f'{where}.source')}"
        case "url":
            return str(need(source, "url", str, f"{where}.source"))
        case _:
            raise InvalidRequest("Files are not kept here: send the content itself.", param=f"{where}.source")


def assistant_message(blocks: Sequence[Block], where: str) -> dict[str, Any]:
    """An assistant's turn as one message: its text, its calls and its thoughts."""
    texts, calls, details = [], [], []
    for number, block in enumerate(blocks):
        place = f"{where}.{number}"
        match block["type"]:
            case "text":
                texts.append(need(block, "text", str, place))
            case "tool_use":
                calls.append(tool_call(block, place))
            case "thinking" | "redacted_thinking":
                details += thought(block)
            case _:
                continue  # what Anthropic's own tools did: a Claude model gets it as it came
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    if calls:
        message["tool_calls"] = calls
    if details:
        message["reasoning_details"] = details
    if reasoning := "".join(str(detail.get("text") or detail.get("summary") or "") for detail in details):
        message["reasoning_content"] = reasoning
    return message


def tool_call(block: Block, where: str) -> dict[str, Any]:
    arguments = to_json(block.get("input") or {}).decode()
    function = {"name": need(block, "name", str, where), "arguments": arguments}
    return {"id": need(block, "id", str, where), "type": "function", "function": function}


def thought(block: Block) -> list[dict[str, Any]]:
    """The reasoning details of a thought that the client sends back, unsealed if we sealed them."""
    if block["type"] == "redacted_thinking":
        data = str(block.get("data") or "")
        return unsealed(data) or [{"type": "reasoning.encrypted", "format": CLAUDE, "data": data}]
    signature = str(block.get("signature") or "")
    text = str(block.get("thinking") or "")
    found = unsealed(signature)
    if found:
        return found
    detail = {"type": "reasoning.text", "text": text}
    return [{**detail, "format": CLAUDE, "signature": signature}] if signature else [detail]


def sealed(details: Sequence[Mapping[str, Any]]) -> str:
    """Another model's thoughts as one opaque word, which a client of Claude models keeps and sends back."""
    return SEAL + base64.urlsafe_b64encode(orjson.dumps(whole_thoughts(details))).decode()


def unsealed(word: str) -> list[dict[str, Any]]:
    """The thoughts in a word that `sealed` made; none of any other word, or of one that was tampered with."""
    if not word.startswith(SEAL):
        return []
    try:
        found = orjson.loads(base64.urlsafe_b64decode(word.removeprefix(SEAL)))
    except ValueError:
        return []
    return whole_thoughts(found) if isinstance(found, list) else []


# --- Tools and settings -----------------------------------------------------------------------------------------------


def function_tool(tool: Block) -> dict[str, Any]:
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    if tool.get("strict"):
        function["strict"] = True
    return {"type": "function", "function": function}


def referenced(body: CountBody) -> set[str]:
    """The tools that a search for tools has found: those with `defer_loading` are unknown to the model until then."""
    results = (
        block.get("content")
        for message in body.messages
        for block in (message.content if isinstance(message.content, list) else ())
        if block.get("type") == "tool_result"
    )
    found = (item for result in results if isinstance(result, list) for item in result if isinstance(item, dict))
    return {str(item.get("tool_name")) for item in found if item.get("type") == "tool_reference"}


def tool_choice(choice: MessagesToolChoice, names: set[str], tools: Sequence[Block]) -> dict[str, Any]:
    """The parameters for a choice. `names` are the functions among the `tools`; only a Claude model gets the others."""
    found: dict[str, Any] = {}
    match choice.type:
        case "tool":
            if choice.name not in {tool.get("name") for tool in tools}:
                raise InvalidRequest("tool_choice names no tool that can be called here.", param="tool_choice")
            if choice.name in names:
                found["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
        case "any":
            if not tools:
                raise InvalidRequest("There are no tools to choose from.", param="tool_choice")
            found["tool_choice"] = "required"
        case "none":
            found["tool_choice"] = "none"
        case "auto":
            pass
    if choice.disable_parallel_tool_use and names:
        found["parallel_tool_calls"] = False
    return found if names else {}


def reasoning_effort(thinking: Thinking | None, effort: str | None) -> str | None:
    """How much another model than Claude shall think; None when the client asks for no thoughts."""
    if thinking is None or thinking.type == "disabled":
        return None
    if effort:
        return EFFORTS[effort]
    if thinking.type == "enabled" and thinking.budget_tokens is not None:
        return "low" if thinking.budget_tokens < 4_096 else "medium" if thinking.budget_tokens < 16_384 else "high"
    return "medium"


def need(facts: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """A member of a block. Raises `InvalidRequest` naming the member when it is missing or of another type."""
    value = facts.get(name)
    if not isinstance(value, kind):
        wanted = "a string" if kind is str else "an object"
        raise InvalidRequest(f"{where}.{name}: write {wanted}.", param=f"{where}.{name}")
    return value
