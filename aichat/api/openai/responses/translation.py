"""From a request of the Responses API to OpenAI's chat vocabulary, which every provider's adapter translates from.

Beside its translation each message carries the client's own items under the key `NATIVE`, and the parameters carry the
client's own settings: a server that speaks the dialect too gets those.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from aichat.api.fields import is_image_address
from aichat.api.openai.responses.schemas import Item, ResponsesBody, TextFormat
from aichat.api.openai.responses.tools import Tools, custom_arguments, listed
from aichat.core.errors import InvalidRequest
from aichat.providers.base import RESPONSES
from aichat.providers.response_items import LOGPROBS, THOUGHTS, flat_name, thought_items
from aichat.providers.thoughts import whole_thoughts

NATIVE = RESPONSES
NATIVE_MEMBERS = {
    "metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "top_logprobs", "truncation", "user",
}  # fmt: skip
NO_SUMMARY = ("summary", "none")  # of clients that mean to ask for none
USUAL_TIERS = (None, "auto", "default")  # of service: any other has another price
EFFORTS = {"xhigh": "high", "max": "high"}  # what every reasoning model knows; others pass as they are
TEXTS = {"input_text", "output_text", "text", "summary_text", "reasoning_text"}
# Traces of tools that OpenAI ran for an earlier answer: its text has what they found.
TRACES = {"web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "tool_search_call",
          "tool_search_output"}  # fmt: skip


class Translation:
    """A request in OpenAI's chat vocabulary."""

    def __init__(self, body: ResponsesBody, kept: Mapping[str, Item] | None = None) -> None:
        """`kept` has the items that the request refers to, by their IDs."""
        self.kept = kept or {}
        self.tools = Tools()
        self.tools.add(body.tools or (), "tools")
        self.dropped = self.tools.left_out
        self.messages: list[dict[str, Any]] = []
        self.pictures: list[dict[str, Any]] = []  # of a function's output, for the user's message that follows
        self.thoughts: list[Item] = []  # another server's sealed ones, for the assistant's message that follows
        if body.service_tier not in USUAL_TIERS:
            self.dropped.append("service_tier")
        if body.instructions:
            self.messages.append({"role": "system", "content": body.instructions})
        if isinstance(body.input, str):
            self.messages.append({"role": "user", "content": body.input})
        else:
            for number, item in enumerate(body.input):
                self.add(item, f"input.{number}")
            self.show_pictures()
        if not any(message["role"] != "system" for message in self.messages):
            raise InvalidRequest("input: write a message.", param="input")
        self.parameters = {**self.settings(body), NATIVE: self.native(body)}

    def settings(self, body: ResponsesBody) -> dict[str, Any]:
        """The request's settings as parameters of a chat completion."""
        text = body.text
        choice = self.tools.choice(body.tool_choice)
        found: dict[str, Any] = {
            "temperature": body.temperature,
            "top_p": body.top_p,
            "prompt_cache_key": body.prompt_cache_key,
            "safety_identifier": body.safety_identifier,
            "user": body.user,
            "verbosity": text.verbosity if text else None,
            "response_format": response_format(text.format) if text and text.format else None,
        }
        if self.tools.functions:
            found["tools"] = list(self.tools.functions.values())
            found |= {"tool_choice": choice, "parallel_tool_calls": body.parallel_tool_calls}
        if body.reasoning and body.reasoning.effort:
            found["reasoning_effort"] = EFFORTS.get(body.reasoning.effort, body.reasoning.effort)
        if body.top_logprobs or LOGPROBS in (body.include or ()):
            found |= {"logprobs": True, "top_logprobs": body.top_logprobs}
        return {name: value for name, value in found.items() if value is not None}

    def native(self, body: ResponsesBody) -> dict[str, Any]:
        """The request's own settings. What would change the price is left out."""
        found = body.model_dump(include=NATIVE_MEMBERS, exclude_none=True)
        if self.tools.native:
            found["tools"] = self.tools.native
            if body.tool_choice:
                found["tool_choice"] = body.tool_choice
        if asked := [name for name in body.include or () if name in {LOGPROBS, THOUGHTS}]:
            found["include"] = asked
        if body.text:
            found["text"] = body.text.model_dump(by_alias=True, exclude_none=True)
        if body.reasoning:
            reasoning = body.reasoning.model_dump(exclude_none=True)
            found["reasoning"] = {name: value for name, value in reasoning.items() if (name, value) != NO_SUMMARY}
        return found

    # --- Items --------------------------------------------------------------------------------------------------------

    def add(self, item: Item, where: str) -> None:
        """Add an item to the messages. Raises `InvalidRequest` naming an item that can't be honoured."""
        kind = str(item.get("type") or "message")
        if kind not in {"function_call_output", "custom_tool_call_output", "reasoning"}:
            self.show_pictures()
        if kind not in {"message", "function_call", "custom_tool_call", "reasoning"}:
            self.thoughts = []
        match kind:
            case "message":
                self.add_message(item, where)
            case "function_call":
                self.add_call(item, str(item.get("arguments") or "{}"), where)
            case "custom_tool_call":
                self.add_call(item, custom_arguments(str(item.get("input") or "")), where)
            case "function_call_output" | "custom_tool_call_output":
                self.add_output(item, where)
            case "reasoning":
                self.add_reasoning(item)
            case "additional_tools":
                self.tools.add(listed(item, "tools", where), f"{where}.tools")
            case "item_reference":
                self.add_kept(item, where)
            case _ if kind not in TRACES:
                raise InvalidRequest(f"Items of type {kind!r} can't be read here.", param=f"{where}.type")

    def add_kept(self, item: Item, where: str) -> None:
        kept = self.kept.get(str(item.get("id")))
        if kept is None:
            raise InvalidRequest(
                "There is no such item, or it is no longer kept: send the item itself (with store: false clients do).",
                param=where,
            )
        self.add(kept, where)

    def add_message(self, item: Item, where: str) -> None:
        role, content = str(item.get("role")), item.get("content")
        if role not in {"user", "assistant", "system", "developer"}:
            raise InvalidRequest("Write user, assistant, system or developer.", param=f"{where}.role")
        if not isinstance(content, str | list):
            raise InvalidRequest("A message needs content.", param=f"{where}.content")
        parts = content_parts(content, f"{where}.content")
        if role == "assistant":
            message = self.assistant(item)
            message["content"] = (message["content"] or "") + "".join(part.get("text") or "" for part in parts)
        elif len(parts) == 1 and parts[0]["type"] == "text":
            self.messages.append({"role": role, "content": parts[0]["text"], **own(role, item)})
        elif parts:
            self.messages.append({"role": role, "content": parts, **own(role, item)})

    def add_call(self, item: Item, arguments: str, where: str) -> None:
        call_id, name = item.get("call_id"), item.get("name")
        if not isinstance(call_id, str) or not isinstance(name, str):
            raise InvalidRequest("A call needs call_id and name.", param=where)
        function = {"name": flat_name(name, str(item.get("namespace") or "")), "arguments": arguments}
        call = {"id": call_id, "type": "function", "function": function}
        self.assistant(item).setdefault("tool_calls", []).append(call)

    def add_output(self, item: Item, where: str) -> None:
        call_id, output = item.get("call_id"), item.get("output")
        if not isinstance(call_id, str):
            raise InvalidRequest("An output needs the call_id of its call.", param=f"{where}.call_id")
        if not isinstance(output, str | list):
            raise InvalidRequest("Write the output as text or as a list of parts.", param=f"{where}.output")
        parts = content_parts(output, f"{where}.output")
        self.pictures += [part for part in parts if part["type"] != "text"]
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": text, NATIVE: [sendable(item)]})

    def add_reasoning(self, item: Item) -> None:
        """Add thoughts to the assistant's message with the text or the calls that followed them."""
        sealed = item.get("encrypted_content")
        details = unpacked(sealed)
        if sealed and not details:
            self.thoughts.append(item)
        parts = [part for name in ("summary", "content") for part in objects(item.get(name))]
        text = "\n\n".join(str(part.get("text") or "") for part in parts)
        if not details and not text:
            return
        message = self.assistant(*thought_items(details))
        if details:
            message.setdefault("reasoning_details", []).extend(details)
        if text:
            message["reasoning_content"] = "\n\n".join(filter(None, [message.get("reasoning_content"), text]))

    def assistant(self, *items: Item) -> dict[str, Any]:
        """The assistant's message that is being put together: thoughts, text and calls of one turn are one message."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": None, NATIVE: []})
        self.messages[-1][NATIVE] += [*self.thoughts, *map(sendable, items)]
        self.thoughts = []
        return self.messages[-1]

    def show_pictures(self) -> None:
        """A function's output is text alone in the chat vocabulary: its pictures follow all outputs of the turn."""
        if self.pictures:
            self.messages.append({"role": "user", "content": self.pictures, NATIVE: []})
            self.pictures = []


def own(role: str, item: Item) -> dict[str, list[Item]]:
    """The message's own item; a system message, which an experiment may add to, is its text alone."""
    return {NATIVE: [sendable(item)]} if role == "user" else {}


def sendable(item: Item) -> Item:
    """An item without our ID, for which another server would look in vain. A thought keeps its ID: both are sealed."""
    return item if item.get("type") == "reasoning" else {name: value for name, value in item.items() if name != "id"}


def response_format(wanted: TextFormat) -> dict[str, Any] | None:
    if wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "json_object"}
    schema = {"name": wanted.name, "schema": wanted.shape, "strict": wanted.strict, "description": wanted.description}
    return {"type": "json_schema", "json_schema": {name: value for name, value in schema.items() if value is not None}}


def content_parts(content: str | Sequence[Any], where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [content_part(part, f"{where}.{number}") for number, part in enumerate(content)]


def content_part(part: Any, where: str) -> dict[str, Any]:
    facts: Mapping[str, Any] = part if isinstance(part, dict) else {}
    kind = str(facts.get("type"))
    if kind in TEXTS and isinstance(facts.get("text"), str):
        return {"type": "text", "text": facts["text"]}
    if kind == "refusal":
        return {"type": "text", "text": str(facts.get("refusal") or "")}
    if kind == "input_image" and is_image_address(facts.get("image_url")):
        detail = {"detail": facts["detail"]} if facts.get("detail") in ("low", "high", "auto") else {}
        return {"type": "image_url", "image_url": {"url": facts["image_url"], **detail}}
    if kind == "input_file" and isinstance(facts.get("file_data") or facts.get("file_url"), str):
        name = str(facts.get("filename") or "document.pdf")
        return {"type": "file", "file": {"filename": name, "file_data": facts.get("file_data") or facts["file_url"]}}
    if kind == "input_audio" and is_sound(facts.get("input_audio")):
        return {"type": "input_audio", "input_audio": facts["input_audio"]}
    raise InvalidRequest(f"This part can't be read here (type {kind!r}).", param=where)


def objects(value: Any) -> list[Item]:
    """The objects of a list. Empty for anything else, which only a hostile client sends."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def is_sound(value: Any) -> bool:
    """Whether the value is OpenAI's `input_audio`: an object with base64 (`data`) and the name of its `format`."""
    return isinstance(value, dict) and isinstance(value.get("data"), str) and isinstance(value.get("format"), str)


def packed(details: Sequence[Mapping[str, Any]]) -> str | None:
    """The blocks of thought of whatever model it was, as the `encrypted_content` that the client sends back."""
    return base64.b64encode(orjson.dumps(whole_thoughts(details))).decode() if details else None


def unpacked(content: Any) -> list[dict[str, Any]]:
    """Unpack a text that `packed` made. Returns nothing for a text that another server made."""
    if not isinstance(content, str):
        return []
    try:
        found = orjson.loads(base64.b64decode(content, validate=True))
    except ValueError:
        return []
    return whole_thoughts(found) if isinstance(found, list) else []
