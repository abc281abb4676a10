"""A scripted model: whichever provider's format it is asked in, it calls a tool it knows, then answers.

For clients that run tools: each finishes its task in two turns, and the upstream has recorded what it was asked.
"""

import json
from typing import Any

from tests.upstream import Recorded, Reply
from tests.upstream_answers import (
    ANSWER,
    ANTHROPIC_USAGE,
    GEMINI_USAGE,
    OPENAI_USAGE,
    anthropic_events,
    gemini_answer,
    message_item,
    openai_chunk,
    response_answer,
    response_events,
)

# Its answer where JSON is asked for.
STRUCTURED = {"city": "Oslo", "rain": True}
# The tools it knows, with the arguments it gives them.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "get_weather": {"city": "Oslo"},
    "exec_command": {"cmd": "echo hi > out.txt"},
    "exec": {"input": "echo hi > out.txt"},
    "run_shell_command": {"command": "echo hi > out.txt", "is_background": False, "description": "Write hi"},
    "shell": {"command": ["bash", "-lc", "echo hi > out.txt"]},
    "json": STRUCTURED,  # how the AI SDK asks a model that it does not know for an object
    "Bash": {"command": "echo hi > out.txt", "description": "Write hi"},
}


def act(request: Recorded) -> Reply:
    """For `Upstream.choose`."""
    if request.path.endswith("/embeddings"):
        return Reply("recorded", payload=vectors(request.body["input"]))
    offered, is_answered, wants_json = understood(request)
    tool = next((name for name in ARGUMENTS if name in offered), None)
    if tool and not is_answered:
        return Reply("recorded", payload=calling(request, tool, ARGUMENTS[tool]))
    return Reply("recorded", payload=saying(request, json.dumps(STRUCTURED) if wants_json else ANSWER))


def vectors(given: list[Any]) -> dict[str, Any]:
    """An answer to a request for embeddings: one short vector for each input."""
    data = [{"object": "embedding", "index": index, "embedding": [0.25, 0.5]} for index in range(len(given))]
    return {"object": "list", "data": data, "usage": {"prompt_tokens": 2, "total_tokens": 2}}


def understood(request: Recorded) -> tuple[set[str], bool, bool]:
    """The tools that are offered, whether one was answered, and whether JSON is asked for."""
    body = request.body
    match request.provider:
        case "gemini":
            declared = [item for tool in body.get("tools", []) for item in tool["functionDeclarations"]]
            parts = [part for turn in body["contents"] for part in turn["parts"]]
            wants_json = "responseMimeType" in body.get("generationConfig", {})
            return {item["name"] for item in declared}, any("functionResponse" in part for part in parts), wants_json
        case "anthropic":
            blocks = [block for turn in body["messages"] for block in as_list(turn["content"])]
            is_answered = any(block.get("type") == "tool_result" for block in blocks)
            return names(body.get("tools", [])), is_answered, "format" in body.get("output_config", {})
        case _ if is_response(request):
            is_answered = any(str(item.get("type")).endswith("_output") for item in body["input"])
            wants_json = body.get("text", {}).get("format", {}).get("type") == "json_schema"
            return {tool["name"] for tool in body.get("tools", [])}, is_answered, wants_json
        case _:
            functions = [tool["function"] for tool in body.get("tools", [])]
            is_answered = any(message["role"] == "tool" for message in body["messages"])
            wants_json = (body.get("response_format") or {}).get("type") == "json_schema"
            return names(functions), is_answered, wants_json


def names(items: list[dict[str, Any]]) -> set[str]:
    return {item["name"] for item in items}


def as_list(content: Any) -> list[dict[str, Any]]:
    return content if isinstance(content, list) else []


def calling(request: Recorded, tool: str, arguments: dict[str, Any]) -> Any:
    match request.provider:
        case "gemini":
            answer = gemini_answer("", "stop")
            part = {"functionCall": {"name": tool, "args": arguments}, "thoughtSignature": "c2ln"}
            answer["candidates"][0]["content"] = {"role": "model", "parts": [part]}
            return [answer] if request.is_stream else answer
        case "anthropic":
            return anthropic_call(request, tool, arguments)
        case _ if is_response(request):
            return responding(request, [THOUGHT, response_call(request, tool, arguments)])
        case _:
            call = {"index": 0, "id": "call_1", "type": "function"}
            call["function"] = {"name": tool, "arguments": json.dumps(arguments)}
            if request.is_stream:
                end = {**openai_chunk({}, None), "choices": [], "usage": OPENAI_USAGE}
                return [openai_chunk({"tool_calls": [call]}, None), openai_chunk({}, "tool_calls"), end]
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            return {"choices": [choice], "usage": OPENAI_USAGE}


THOUGHT = {
    "type": "reasoning",
    "id": "rs_up",
    "summary": [{"type": "summary_text", "text": "I use it."}],
    "encrypted_content": "c2VhbGVk",
}


def is_response(request: Recorded) -> bool:
    return request.path.endswith("/responses")


def response_call(request: Recorded, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    offered = next(one for one in request.body["tools"] if one["name"] == tool)
    call = {"id": "fc_up", "call_id": "call_1", "name": tool, "status": "completed"}
    if offered["type"] == "custom":
        return {"type": "custom_tool_call", "input": arguments["input"], **call}
    return {"type": "function_call", "arguments": json.dumps(arguments), **call}


def responding(request: Recorded, items: list[dict[str, Any]]) -> Any:
    return response_events(items) if request.is_stream else response_answer(items)


def anthropic_call(request: Recorded, tool: str, arguments: dict[str, Any]) -> Any:
    """With a signed thought before the call."""
    thought = {"type": "thinking", "thinking": "I use it.", "signature": "c2ln"}
    use = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": arguments}
    if not request.is_stream:
        return {"type": "message", "content": [thought, use], "stop_reason": "tool_use", "usage": ANTHROPIC_USAGE}
    begin, *_ = anthropic_events([], None)
    delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
    return [
        begin,
        {"type": "content_block_start", "index": 0, "content_block": {**thought, "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "I use it."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {**use, "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": delta},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]


def saying(request: Recorded, text: str) -> Any:
    match request.provider:
        case "gemini":
            answer = {**gemini_answer(text, "stop"), "usageMetadata": GEMINI_USAGE}
            return [answer] if request.is_stream else answer
        case "anthropic":
            if request.is_stream:
                return anthropic_events([text], "stop")
            content = [{"type": "text", "text": text}]
            return {"type": "message", "content": content, "stop_reason": "end_turn", "usage": ANTHROPIC_USAGE}
        case _ if is_response(request):
            return responding(request, [message_item(text)])
        case _:
            if request.is_stream:
                end = {**openai_chunk({}, None), "choices": [], "usage": OPENAI_USAGE}
                return [openai_chunk({"content": text}, None), openai_chunk({}, "stop"), end]
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            return {"choices": [choice], "usage": OPENAI_USAGE}
