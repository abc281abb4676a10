"""Values of a wrong type inside of items, blocks and tools, which are taken as they come: refused by name, or left out."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from aichat.api.anthropic.schemas import MessagesBody
from aichat.api.anthropic.translation import Translation as FromMessages
from aichat.api.openai.responses.schemas import ResponsesBody
from aichat.api.openai.responses.translation import Translation as FromResponses
from aichat.core.errors import InvalidRequest

HOSTILE: list[Any] = [["a"], {"a": 1}, 5, 10**30, True, None, "", [[{}]]]
CALL = {"type": "function_call", "call_id": "c", "name": "f", "namespace": "n", "arguments": "{}"}
ITEMS: list[dict[str, Any]] = [
    {"type": "message", "role": "user", "content": "Hello"},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
    {"role": "user", "content": [{"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"}]},
    {"role": "user", "content": [{"type": "input_file", "file_data": "data:text/plain;base64,YQ==", "filename": "a"}]},
    {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "YQ==", "format": "wav"}}]},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]},
    CALL,
    {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"},
    {"type": "function_call_output", "call_id": "c", "output": "x"},
    {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "x"}], "encrypted_content": "x"},
    {"type": "item_reference", "id": "msg_1"},
    {"type": "additional_tools", "tools": [{"type": "function", "name": "f"}]},
]
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": "f", "description": "x", "parameters": {"type": "object"}, "strict": True},
    {"type": "custom", "name": "f", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
    {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]},
    {"type": "web_search"},
]
CHOICES: list[dict[str, Any]] = [
    {"type": "function", "name": "f", "namespace": ""},
    {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
]
BLOCKS: list[dict[str, Any]] = [
    {"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "YQ=="}},
    {"type": "document", "title": "t", "context": "c", "source": {"type": "text", "data": "x"}},
    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
    {"type": "tool_use", "id": "i", "name": "n", "input": {"a": 1}},
    {"type": "tool_result", "tool_use_id": "i", "content": [{"type": "tool_reference", "tool_name": "n"}]},
    {"type": "thinking", "thinking": "x", "signature": "s"},
    {"type": "redacted_thinking", "data": "x"},
    {"type": "search_result", "title": "t", "source": "s", "content": [{"type": "text", "text": "x"}]},
    {"type": "server_tool_use", "id": "i", "name": "n", "input": {"a": 1}},
]
CLIENT_TOOLS: list[dict[str, Any]] = [
    {"type": "custom", "name": "n", "input_schema": {"type": "object"}, "description": "x", "defer_loading": True},
    {"type": "bash_20250124", "name": "bash", "defer_loading": True},
]


def spoilt(value: Any) -> Iterator[Any]:
    """The value with each of its members, at any depth, replaced by each hostile value."""
    if isinstance(value, dict):
        for name, member in value.items():
            for other in (*HOSTILE, *spoilt(member)):
                yield {**value, name: other}
    elif isinstance(value, list):
        for place, item in enumerate(value):
            for other in (*HOSTILE, *spoilt(item)):
                yield [*value[:place], other, *value[place + 1 :]]


def refused_or_read(make: Any, schema: Any, body: dict[str, Any], *args: Any) -> None:
    """Translate the body. Only a refusal may come of it, by the schema or by name."""
    try:
        parsed = schema.model_validate_json(json.dumps(body))
    except ValueError:
        return
    try:
        make(parsed, *args)
    except InvalidRequest as refused:
        assert refused.param


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: str(item.get("type") or item["role"]))
def test_a_spoilt_item_of_a_response_is_refused_or_read(item: dict[str, Any]) -> None:
    for other in spoilt(item):
        refused_or_read(FromResponses, ResponsesBody, {"model": "demo", "input": [other, ITEMS[0]]})


def test_a_spoilt_tool_or_choice_of_a_response_is_refused_or_read() -> None:
    for tools in spoilt(TOOLS):
        refused_or_read(FromResponses, ResponsesBody, {"model": "demo", "input": "Hello", "tools": tools})
    for choice in CHOICES:
        for other in spoilt(choice):
            body = {"model": "demo", "input": "Hello", "tools": TOOLS[:1], "tool_choice": other}
            refused_or_read(FromResponses, ResponsesBody, body)


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_a_spoilt_block_of_a_message_is_refused_or_read(role: str) -> None:
    for blocks in spoilt(BLOCKS):
        turn = {"role": role, "content": blocks}
        refused_or_read(FromMessages, MessagesBody, {"model": "demo", "max_tokens": 9, "messages": [turn]}, {})


def test_a_spoilt_setting_of_a_message_is_refused_or_read() -> None:
    settings = {
        "tools": CLIENT_TOOLS,
        "tool_choice": {"type": "tool", "name": "n"},
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
        "metadata": {"user_id": "u"},
    }
    hello = {"model": "demo", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    for other in spoilt(settings):
        refused_or_read(FromMessages, MessagesBody, {**hello, **other}, {})


def test_a_file_of_anthropics_keeps_its_context() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "YQ=="}
    block = {"type": "document", "title": "Report", "context": "Written in May", "source": source}
    turn = {"role": "user", "content": [block]}
    body = MessagesBody.model_validate({"model": "demo", "max_tokens": 9, "messages": [turn]})
    context, file = FromMessages(body, {}).messages[0]["content"]
    assert context == {"type": "text", "text": "Written in May"}
    assert file["file"]["filename"] == "Report"
