"""Tools of the Responses API as functions, which is all that OpenAI's chat vocabulary and other providers have.

A `custom` tool, whose input is free text, becomes a function with one string; the tools of a `namespace` become functions
named for both. `Tools` knows which is which, so that their calls go back to the client as it expects them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from aichat.core.errors import InvalidRequest
from aichat.providers.response_items import flat_name

# Tools that OpenAI runs itself and that clients send with every request. They can't be honoured and are left out; the
# answer says so. Any other hosted tool was asked for on purpose: it is refused.
LEFT_OUT = ("web_search", "tool_search")
INPUT = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input, as plain text."}},
    "required": ["input"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Origin:
    """What the client calls a function: a tool of its own, or of a namespace; `is_custom`: with free text as its input."""

    name: str
    namespace: str = ""
    is_custom: bool = False


class Tools:
    """The functions of a request, by the name that a model sees."""

    def __init__(self) -> None:
        self.functions: dict[str, dict[str, Any]] = {}
        self.origins: dict[str, Origin] = {}
        self.left_out: list[str] = []
        # The tools as the client offers them, for a server that speaks the dialect.
        self.native: list[dict[str, Any]] = []

    def add(self, tools: Iterable[Any], where: str) -> None:
        """Add a list of tools. Raises `InvalidRequest` naming a tool that can't be honoured."""
        for number, tool in enumerate(tools):
            if self.add_one(tool, f"{where}.{number}"):
                self.native.append(as_offered(tool))

    def add_one(self, tool: Any, where: str, namespace: str = "") -> bool:
        """Add a tool, or the tools of a namespace. Returns whether the client runs it, or any of them."""
        kind = str(tool.get("type")) if isinstance(tool, dict) else ""
        if kind == "namespace" and not namespace:
            inner = listed(tool, "tools", where)
            space = named(tool, where)
            are_run = [self.add_one(one, f"{where}.tools.{number}", space) for number, one in enumerate(inner)]
            return any(are_run)
        if kind in {"function", "custom"}:
            origin = Origin(named(tool, where), namespace, is_custom=kind == "custom")
            name = flat_name(origin.name, namespace)
            self.origins[name] = origin
            self.functions[name] = custom_function(tool, name) if origin.is_custom else function(tool, name, where)
            return True
        if kind.startswith(LEFT_OUT):
            self.left_out.append(f"{where}.{kind}")
            return False
        raise InvalidRequest(f"Tools of type {kind!r} can't be run here.", param=f"{where}.type")

    def choice(self, wanted: str | Mapping[str, Any] | None) -> Any:
        """`tool_choice` in OpenAI's chat vocabulary. `allowed_tools` takes the other functions out of the request."""
        if wanted == "required" and not self.functions:
            raise InvalidRequest("There are no tools to choose from.", param="tool_choice")
        if not isinstance(wanted, Mapping):
            return wanted
        if wanted.get("type") == "allowed_tools":
            allowed = {self.name_of(tool) for tool in listed(wanted, "tools", "tool_choice")}
            self.functions = {name: self.functions[name] for name in self.functions if name in allowed}
            mode = wanted.get("mode")
            if mode not in (None, "auto", "required"):
                raise InvalidRequest("Write auto or required.", param="tool_choice.mode")
            return mode if self.functions else None
        return {"type": "function", "function": {"name": self.name_of(wanted)}}

    def name_of(self, wanted: Any) -> str:
        """The function that a choice names."""
        if isinstance(wanted, Mapping) and wanted.get("type") in ("function", "custom"):
            name = flat_name(str(wanted.get("name")), str(wanted.get("namespace") or ""))
            if name in self.functions:
                return name
        raise InvalidRequest("tool_choice names no tool that can be called here.", param="tool_choice")


def as_offered(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as the client sent it, but never loaded later (`defer_loading`): no search for tools can be honoured."""
    found = {name: value for name, value in tool.items() if name != "defer_loading"}
    if tool["type"] == "namespace":
        inner = (one for one in tool["tools"] if not str(one.get("type")).startswith(LEFT_OUT))
        found["tools"] = [as_offered(one) for one in inner]
    return found


def function(tool: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name}
    if isinstance(tool.get("description"), str):
        found["description"] = tool["description"]
    parameters = tool.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidRequest(f"{where}.parameters: write a JSON schema.", param=f"{where}.parameters")
    if parameters:
        found["parameters"] = parameters
    if isinstance(tool.get("strict"), bool):
        found["strict"] = tool["strict"]
    return {"type": "function", "function": found}


def custom_function(tool: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A custom tool as a function. The model is told the grammar of the input in words, because functions have none."""
    description = str(tool.get("description") or "")
    wanted = tool.get("format")
    if isinstance(wanted, dict) and isinstance(wanted.get("definition"), str):
        syntax = wanted.get("syntax") or "grammar"
        description += f"\n\nThe input must match this {syntax}:\n{wanted['definition']}"
    return {"type": "function", "function": {"name": name, "description": description.strip(), "parameters": INPUT}}


def custom_input(arguments: str) -> str:
    """The free text in the arguments of a custom tool's function."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments


def custom_arguments(text: str) -> str:
    return orjson.dumps({"input": text}).decode()


def named(facts: Mapping[str, Any], where: str) -> str:
    name = facts.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{where}.name: write a name.", param=f"{where}.name")
    return name


def listed(facts: Mapping[str, Any], name: str, where: str) -> list[Any]:
    value = facts.get(name)
    if not isinstance(value, list):
        raise InvalidRequest(f"{where}.{name}: write a list.", param=f"{where}.{name}")
    return value
