"""Translates other ways to offer and choose tools to `tools` and `tool_choice`, which all providers are asked with.

Source: https://platform.openai.com/docs/api-reference/chat/create (`allowed_tools`, and the deprecated `functions` and
`function_call`).
"""

from collections.abc import Mapping
from typing import Any

FIELDS = frozenset({"tools", "tool_choice", "functions", "function_call"})  # the parameters that are about tools


def of_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters with everything about tools in `tools` and `tool_choice`; `parameters` is changed.

    Of `allowed_tools` only those that are allowed are offered, under its mode. `functions` allow one call at most.
    """
    choice = parameters.get("tool_choice")
    if isinstance(choice, Mapping) and choice["type"] == "allowed_tools":
        names = {name_of(tool) for tool in choice["allowed_tools"]["tools"]}
        parameters["tools"] = [tool for tool in parameters["tools"] if name_of(tool) in names]
        parameters["tool_choice"] = choice["allowed_tools"]["mode"]
    return _without_functions(parameters)


def name_of(tool: Mapping[str, Any]) -> str:
    """The name of a function or of a custom tool."""
    return str(tool[tool["type"]]["name"])


def _without_functions(parameters: dict[str, Any]) -> dict[str, Any]:
    functions, choice = parameters.pop("functions", None), parameters.pop("function_call", None)
    if functions is None:
        return parameters
    parameters["tools"] = [{"type": "function", "function": function} for function in functions]
    parameters["parallel_tool_calls"] = False
    if isinstance(choice, Mapping):
        parameters["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif choice is not None:
        parameters["tool_choice"] = choice
    return parameters


def of_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with each `function_call` as a tool call, and each message of role `function` as its answer.

    Calls get IDs by their position; an answer belongs to the latest call of its name.
    """
    ids: dict[str, str] = {}
    translated = []
    for position, message in enumerate(messages):
        if call := message.get("function_call"):
            ids[call["name"]] = call_id = f"call_{position}"
            message = {name: value for name, value in message.items() if name != "function_call"}
            message["tool_calls"] = [{"id": call_id, "type": "function", "function": {"arguments": "", **call}}]
        elif message["role"] == "function":
            message = {
                "role": "tool",
                "tool_call_id": ids.get(message["name"], f"call_{position}"),
                "content": message.get("content") or "",
            }
        translated.append(message)
    return translated
