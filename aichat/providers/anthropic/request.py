"""Makes the body of Anthropic's Messages API of a chat in OpenAI's vocabulary: https://platform.claude.com/docs/en/api/messages

A chat that came in Anthropic's own dialect carries its blocks beside the translation, under `NATIVE`. These are sent as
they came, because OpenAI's vocabulary has no words for some of them (`cache_control`, the order of thoughts and calls,
citations). Nothing is sent that Anthropic would bill in a way that we don't count (hosted tools, priority tiers).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aichat.providers.anthropic import models
from aichat.providers.base import ChatRequest
from aichat.providers.json import arguments_object
from aichat.providers.thoughts import whole_thoughts

NATIVE = "anthropic"  # the key of a message (its blocks) and of the parameters (the request's own members)
THOUGHT_FORMAT = "anthropic-claude-v1"  # of reasoning_details: https://openrouter.ai/docs/use-cases/reasoning-tokens
CURRENT_VERSION, VERSION_WITH_SAMPLING = "2026-10-21", "2023-06-01"
VERSIONS = {CURRENT_VERSION, VERSION_WITH_SAMPLING}
SAMPLING = ("temperature", "top_p", "top_k")
# Members of the client's own request that go upstream as they came. Each changes what the model does, none its price.
NATIVE_MEMBERS = ("cache_control", "context_management", "metadata", "output_config", "stop_sequences", "thinking")
# OpenAI's parameters that have a counterpart here. All others are left out, and the client is told their names.
TRANSLATED = {
    "parallel_tool_calls", "reasoning_effort", "response_format", "stop", "tool_choice", "tools", "user",
}  # fmt: skip
CHOICES = {"auto": "auto", "required": "any", "none": "none"}
ONLY_JSON = "Answer with a single JSON object and nothing else."
BAD_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")

Block = dict[str, Any]


def body(request: ChatRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body to send, and the names of the client's parameters that were left out."""
    native: Mapping[str, Any] | None = request.parameters.get(NATIVE)
    turns, system = conversation(request.messages)
    found: dict[str, Any] = {"model": request.model, "max_tokens": request.max_tokens, "messages": turns}
    if request.stream:
        found["stream"] = True
    found |= native_settings(native) if native is not None else settings(request, turns)
    if wants_any_json(request.parameters) and native is None:
        system = [*system, {"type": "text", "text": ONLY_JSON}]
    if system:
        found["system"] = system
    sampling, dropped = sampled(request)
    return {**found, **sampling}, dropped


def version(request: ChatRequest) -> str:
    """The value of `anthropic-version`: the client's own, else the newest under which its parameters are accepted."""
    native: Mapping[str, Any] = request.parameters.get(NATIVE) or {}
    if sampled(request)[0]:
        return VERSION_WITH_SAMPLING
    asked = native.get("version")
    return asked if asked in VERSIONS else CURRENT_VERSION


def sampled(request: ChatRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The sampling parameters the model takes, and the names of all parameters that are left out."""
    given = request.parameters
    asked = [name for name in SAMPLING if given.get(name) is not None]
    known = {*SAMPLING, *TRANSLATED}
    dropped = [] if NATIVE in given else [name for name in given if given[name] is not None and name not in known]
    if not models.takes_sampling(request.model) or is_thinking(request):
        return {}, (*asked, *dropped)
    if "temperature" in asked and "top_p" in asked:  # only one of the two is accepted
        asked.remove("top_p")
        dropped.append("top_p")
    values = {name: given[name] for name in asked}
    if "temperature" in values:
        values["temperature"] = min(1, values["temperature"])  # OpenAI's reaches to 2
    return values, tuple(dropped)


def cites(request: ChatRequest) -> bool:
    """Whether the client asked to have its documents cited, which only its own dialect can say."""
    if NATIVE not in request.parameters:
        return False
    return any(is_cited(block) for message in request.messages for block in message.get(NATIVE) or ())


def is_cited(block: Any) -> bool:
    if not isinstance(block, Mapping):
        return False
    wanted, inner = block.get("citations"), block.get("content")
    if isinstance(wanted, Mapping) and wanted.get("enabled"):
        return True
    return block.get("type") == "tool_result" and isinstance(inner, list) and any(map(is_cited, inner))


def is_thinking(request: ChatRequest) -> bool:
    native: Mapping[str, Any] | None = request.parameters.get(NATIVE)
    if native is not None:
        return bool((native.get("thinking") or {}).get("type", "disabled") != "disabled")
    return request.parameters.get("reasoning_effort") in models.EFFORTS


# --- Settings ---------------------------------------------------------------------------------------------------------


def native_settings(native: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a request that came in this dialect."""
    found = {name: native[name] for name in NATIVE_MEMBERS if native.get(name) is not None}
    if tools := native.get("tools"):
        found["tools"] = list(tools)
        if native.get("tool_choice"):
            found["tool_choice"] = native["tool_choice"]
    return found


def settings(request: ChatRequest, turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tools, thinking, format and limits of a request that came in OpenAI's vocabulary."""
    given = request.parameters
    found: dict[str, Any] = {}
    if stop := given.get("stop"):
        stops = [stop] if isinstance(stop, str) else stop
        found["stop_sequences"] = [text for text in stops if text.strip()]  # blank ones are refused
    if given.get("user"):
        found["metadata"] = {"user_id": str(given["user"])}
    if tools := given.get("tools"):
        found["tools"] = [tool(item) for item in tools]
        found |= choice(given.get("tool_choice"), given.get("parallel_tool_calls"))
    effort = given.get("reasoning_effort")
    is_forced = found.get("tool_choice", {}).get("type") in {"any", "tool"}  # refused together with thinking
    if isinstance(effort, str) and not is_forced and thoughts_are_whole(turns):
        found |= models.thinking(request.model, effort, request.max_tokens)
    wanted = given.get("response_format") or {}
    if wanted.get("type") == "json_schema" and wanted["json_schema"].get("schema"):
        schema = {"type": "json_schema", "schema": wanted["json_schema"]["schema"]}
        found["output_config"] = {**found.get("output_config", {}), "format": schema}
    return found


def wants_any_json(parameters: Mapping[str, Any]) -> bool:
    """Whether JSON without a schema is asked for, which this format can only say in words."""
    wanted = parameters.get("response_format") or {}
    has_schema = wanted.get("type") == "json_schema" and wanted["json_schema"].get("schema")
    return wanted.get("type") in {"json_object", "json_schema"} and not has_schema


def thoughts_are_whole(turns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether thinking may be on: an assistant's turn whose calls are just being answered must begin with its thoughts."""
    last = next((turn for turn in reversed(turns) if turn["role"] == "assistant"), None)
    is_answering = turns and any(block.get("type") == "tool_result" for block in turns[-1]["content"])
    if last is None or not is_answering:
        return True
    return bool(last["content"][0].get("type") in {"thinking", "redacted_thinking"})


def tool(item: Mapping[str, Any]) -> dict[str, Any]:
    function = item["function"]
    found = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    if function.get("description"):
        found["description"] = function["description"]
    if function.get("strict"):
        found["strict"] = True
    return found


def choice(wanted: Any, parallel: Any) -> dict[str, Any]:
    """`tool_choice`; empty when the client left everything to the model."""
    if isinstance(wanted, Mapping):
        found: dict[str, Any] = {"type": "tool", "name": wanted["function"]["name"]}
    elif wanted in CHOICES:
        found = {"type": CHOICES[wanted]}
    else:
        found = {"type": "auto"}
    if parallel is False and found["type"] != "none":
        found["disable_parallel_tool_use"] = True
    return {"tool_choice": found} if found != {"type": "auto"} else {}


# --- Messages ---------------------------------------------------------------------------------------------------------


def conversation(messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[Block]]:
    """The turns, and the blocks of the system prompt. Neighbours of one role become one turn."""
    turns: list[dict[str, Any]] = []
    system: list[Block] = []
    for message in messages:
        role = message["role"]
        if role in {"system", "developer"}:
            if message.get(NATIVE) and turns:
                turns.append({"role": "system", "content": message[NATIVE]})  # the client's own, in its place
            else:
                system += message[NATIVE] if NATIVE in message else text_blocks(message.get("content"))
            continue
        role = "assistant" if role == "assistant" else "user"
        blocks = message[NATIVE] if NATIVE in message else blocks_of(message)
        if turns and turns[-1]["role"] == role:
            turns[-1] = {"role": role, "content": [*turns[-1]["content"], *blocks]}
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns:  # a lone system prompt is a question by itself
        turns, system = [{"role": "user", "content": system or [{"type": "text", "text": "Hello"}]}], []
    return turns, system


def blocks_of(message: Mapping[str, Any]) -> list[Block]:
    match message["role"]:
        case "assistant":
            calls = [call_block(call) for call in message.get("tool_calls") or ()]
            return [*thought_blocks(message), *text_blocks(message.get("content") or message.get("refusal")), *calls]
        case "tool":
            content = text_blocks(message.get("content"))
            return [{"type": "tool_result", "tool_use_id": safe_id(message["tool_call_id"]), "content": content}]
        case _:
            return text_blocks(message.get("content"))


def text_blocks(content: Any) -> list[Block]:
    """The blocks of a message's content; empty texts, which are refused, are left out."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    found = [block(part) for part in content or ()]
    return [item for item in found if item["type"] != "text" or item["text"].strip()]


def block(part: Mapping[str, Any]) -> Block:
    """One content part. `cache_control` on a part is kept: clients of OpenRouter and LiteLLM set it there."""
    extra = {"cache_control": {"type": "ephemeral"}} if part.get("cache_control") else {}
    match part["type"]:
        case "image_url":
            return {"type": "image", "source": source(part["image_url"]["url"]), **extra}
        case "file":
            file = part["file"]
            title = {"title": file["filename"]} if file.get("filename") else {}
            return {"type": "document", "source": source(file["file_data"]), **title, **extra}
        case _:
            return {"type": "text", "text": part.get("text") or part.get("refusal") or "", **extra}


def source(address: str) -> dict[str, str]:
    """The source of a picture or document: the data of a `data:` address, or the address itself."""
    if not address.startswith("data:"):
        return {"type": "url", "url": address}
    kind, _, data = address.removeprefix("data:").partition(";base64,")
    return {"type": "base64", "media_type": "image/jpeg" if kind == "image/jpg" else kind, "data": data}


def thought_blocks(message: Mapping[str, Any]) -> list[Block]:
    """The thoughts that a Claude model signed. Anthropic refuses thoughts without a signature, or of another model."""
    found: list[Block] = []
    for detail in whole_thoughts(message.get("reasoning_details") or ()):
        if detail.get("format") != THOUGHT_FORMAT:
            continue
        if detail["type"] == "reasoning.encrypted":
            found.append({"type": "redacted_thinking", "data": detail.get("data") or ""})
        elif detail.get("signature"):
            found.append({"type": "thinking", "thinking": detail.get("text") or "", "signature": detail["signature"]})
    return found


def call_block(call: Mapping[str, Any]) -> Block:
    function = call["function"]
    return {
        "type": "tool_use",
        "id": safe_id(call["id"]),
        "name": function["name"],
        "input": arguments_object(function.get("arguments") or ""),
    }


def safe_id(call_id: str) -> str:
    """The ID of a call as Anthropic accepts it. Other providers' IDs may have dots or colons."""
    return BAD_IN_AN_ID.sub("_", call_id) or "call"
