"""Reads the members of OpenAI-format messages and deltas, whatever shape a server gives them.

Lenient about shapes: content may be a string, a list of parts or null; a tool call may lack its index or its ID, and
have its arguments as an object. Strict about meaning: nothing is guessed that the text of an answer depends on.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aichat.providers.base import Delta
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.json import to_json, writable

MOST_TOOL_CALLS = 128
REASONING_NAMES = ("reasoning_content", "reasoning", "thinking")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


# --- Content ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Content:
    """What a message's `content` holds."""

    text: str = ""
    reasoning: str = ""
    images: list[str] = field(default_factory=list)


def read_content(value: Any) -> Content:
    """The text, thoughts and pictures of a content: a string, an object, a list of both, or nothing.

    Mistral's reasoning models answer with parts of type `thinking`: https://docs.mistral.ai/capabilities/reasoning
    """
    found = Content()
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, str):
            found.text += part
        elif isinstance(part, dict):
            _read_part(part, found)
    return found


def _read_part(part: Mapping[str, Any], found: Content) -> None:
    match part.get("type"):
        case "thinking" | "reasoning":
            found.reasoning += text_of(part.get("thinking") or part.get("reasoning") or part.get("text"))
        case "image_url" | "image" | "output_image":
            found.images += image_addresses([part])
        case "refusal":
            found.text += text_of(part.get("refusal"))
        case _:
            found.text += text_of(part.get("text"))


def text_of(value: Any) -> str:
    """The text in a string, an object with one, or a list of both."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return text_of(value.get("text") or value.get("content") or value.get("summary"))
    return "".join(map(text_of, value)) if isinstance(value, list) else ""


def image_addresses(parts: Any) -> list[str]:
    """The addresses of `image_url` parts, as OpenRouter puts them into `message.images`."""
    found = []
    for part in parts if isinstance(parts, list) else []:
        target = part.get("image_url") if isinstance(part, dict) else part
        address = target.get("url") if isinstance(target, dict) else target
        if isinstance(address, str) and address.startswith(("data:image/", "https://")):
            found.append(address)
    return found


def read_reasoning(message: Mapping[str, Any]) -> str:
    """The thoughts of a message as text; servers that write them under two names write the same twice."""
    named = next((text for name in REASONING_NAMES if (text := text_of(message.get(name)))), "")
    return named or text_of(message.get("reasoning_details"))


def objects(value: Any) -> tuple[dict[str, Any], ...]:
    """The objects of a list; nothing of anything else."""
    return tuple(writable(item) for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


# --- Tool calls -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class OpenCall:
    """A tool call as far as it has been read."""

    position: int
    id: str
    name: str = ""
    has_arguments: bool = False
    halves: "SurrogateJoiner" = field(default_factory=lambda: SurrogateJoiner())


class ToolCallReader:
    """Turns a server's tool calls into OpenAI's deltas, each with its index. One reader serves one answer.

    A call is found by its ID, else by its index, else it is the one that was opened last. A new ID with a name opens a
    call (a few servers make up another ID for every delta), and so does a name alone once the last call has arguments.
    """

    def __init__(self) -> None:
        self.calls: list[OpenCall] = []
        self.by_id: dict[str, OpenCall] = {}
        self.by_index: dict[int, OpenCall] = {}

    def read(self, message: Mapping[str, Any], *, is_whole: bool) -> tuple[dict[str, Any], ...]:
        """The tool calls of a message (each item is a call), or of one delta of a stream (an item may go on a call)."""
        items = message.get("tool_calls")
        if not items and isinstance(message.get("function_call"), dict):  # the format of 2023
            items = [{"function": message["function_call"], "index": 0}]
        if isinstance(items, dict):
            items = [items]
        return tuple(self.read_one(item, is_whole=is_whole) for item in items or ())

    def read_one(self, item: dict[str, Any], *, is_whole: bool) -> dict[str, Any]:
        kind = "custom" if isinstance(item.get("custom"), dict) else "function"
        function = item.get(kind) or {}
        name = str(function.get("name") or "")
        given_id = str(item.get("id") or "")
        index = usable_index(item.get("index"))
        call = None if is_whole else self.find(given_id, index, name)
        is_new = call is None
        if call is None:
            call = self.open(given_id, index)
        delta: dict[str, Any] = {"index": call.position}
        if is_new:
            delta |= {"id": call.id, "type": kind}
        delta[kind] = self.function(
            call, name, function, is_new=is_new, text="input" if kind == "custom" else "arguments"
        )
        if isinstance(item.get("extra_content"), dict):  # Google's thought signature
            delta["extra_content"] = item["extra_content"]
        return delta

    def find(self, given_id: str, index: int | None, name: str) -> OpenCall | None:
        """The call that a delta goes on with; None when it begins one."""
        if given_id in self.by_id:
            return self.by_id[given_id]
        if given_id and name:
            return None
        if index is not None:
            return self.by_index.get(index)
        if not self.calls or (name and self.calls[-1].has_arguments):
            return None
        return self.calls[-1]

    def open(self, given_id: str, index: int | None) -> OpenCall:
        if len(self.calls) >= MOST_TOOL_CALLS:
            raise ProviderError(AttemptOutcome.MALFORMED, f"more than {MOST_TOOL_CALLS} tool calls")
        call = OpenCall(len(self.calls), given_id or f"call_{uuid4().hex}")
        self.calls.append(call)
        if given_id:
            self.by_id[given_id] = call
        if index is not None:
            self.by_index[index] = call
        return call

    def function(
        self, call: OpenCall, name: str, function: Mapping[str, Any], *, is_new: bool, text: str
    ) -> dict[str, Any]:
        """The name, unless it was told before, and the arguments or a custom tool's input under `text`."""
        found: dict[str, Any] = {}
        if name and name != call.name:  # some servers repeat the name in every delta, and none sends half of one twice
            call.name += name
            found["name"] = name
        elif is_new:
            found["name"] = name
        arguments = function.get(text)
        if is_new or arguments not in (None, ""):
            found[text] = call.halves.join(as_text(arguments))
            call.has_arguments = call.has_arguments or bool(found[text])
        return found


def usable_index(value: Any) -> int | None:
    """An index as an integer, which servers also write as `"0"` or `0.0`; None for any other value."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number >= 0 and not isinstance(value, bool) else None


def as_text(arguments: Any) -> str:
    """The arguments as JSON text, as OpenAI sends them; some servers send the object itself."""
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else to_json(arguments).decode()


# --- Half characters --------------------------------------------------------------------------------------------------


class SurrogateJoiner:
    """Joins an emoji that a server cut into two deltas: UTF-16 halves that are no characters by themselves."""

    def __init__(self) -> None:
        self.half = ""

    def join(self, text: str) -> str:
        """The text with the half before it, without the half at its end; a half that stays alone becomes `�`."""
        if not text or (not self.half and not LONE_SURROGATE.search(text)):
            return text
        text, self.half = self.half + text, ""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self.half = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def rest(self) -> str:
        """What is left at the end: a replacement for a half that never met the other."""
        half, self.half = self.half, ""
        return "\ufffd" if half else ""


def without_halves(delta: Delta, text: SurrogateJoiner, reasoning: SurrogateJoiner) -> Delta:
    """The delta with its text and thoughts in whole characters."""
    joined, thoughts = text.join(delta.text), reasoning.join(delta.reasoning)
    if joined is delta.text and thoughts is delta.reasoning:
        return delta
    return Delta(
        joined, delta.tool_calls, thoughts, delta.reasoning_details, delta.images, delta.annotations, delta.logprobs
    )
