"""Makes the body of a response of a chat in OpenAI's vocabulary: https://platform.openai.com/docs/api-reference/responses/create

A chat that came in the dialect of Responses carries its items beside the translation, under `NATIVE`: these are sent as
they came. Nothing is sent that would be billed in a way that we don't count (hosted tools, other tiers of service), and
nothing is stored at the provider.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aichat.providers.base import RESPONSES, ChatRequest, content_parts
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.openai.profiles import REASONING_MODEL, TUNING
from aichat.providers.openai.request import names
from aichat.providers.response_items import LOGPROBS, THOUGHTS, thought_items

NATIVE = RESPONSES  # the key of a message (its items) and of the parameters (the request's own members)
# Members of the client's own request that go upstream as they came. Each changes what the model does, none its price.
NATIVE_MEMBERS = (
    "include", "metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "reasoning",
    "safety_identifier", "text", "tool_choice", "tools", "top_logprobs", "truncation", "user",
)  # fmt: skip
SAMPLING = ("temperature", "top_p")
# Parameters of chat completions that have the same name and values here.
SAME = ("metadata", "prompt_cache_key", "safety_identifier", "user", *SAMPLING)
TRANSLATED = {
    "logprobs", "parallel_tool_calls", "reasoning_effort", "response_format", "tool_choice", "tools", "top_logprobs",
    "verbosity",
}  # fmt: skip
# Members that a chat's parameters have other names for.
MEMBERS = {"reasoning": "reasoning_effort", "text": "verbosity"}

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ResponseBody:
    """A request's JSON body, and the names of the client's parameters that are not in it."""

    json: dict[str, Any]
    dropped: tuple[str, ...]


def build(request: ChatRequest, without: frozenset[str] = frozenset()) -> ResponseBody:
    """The body to send, without the members that the server refused."""
    given = request.parameters
    own: Mapping[str, Any] | None = given.get(NATIVE)
    body: dict[str, Any] = {
        "model": request.model,
        "input": list(items(request.messages)),
        "max_output_tokens": request.max_tokens,
        "store": False,
    }
    first = request.messages[0]
    if first["role"] in {"system", "developer"} and isinstance(first.get("content"), str) and len(body["input"]) > 1:
        body["instructions"] = body["input"].pop(0)["content"]
    if request.stream:
        body["stream"] = True
    if own is not None:
        body |= {name: own[name] for name in NATIVE_MEMBERS if own.get(name) is not None}
        body |= {name: given[name] for name in SAMPLING if given.get(name) is not None}
    else:
        body |= settings(given)
    if REASONING_MODEL.search(request.model):
        body["include"] = list(dict.fromkeys([*body.get("include", ()), THOUGHTS]))
    dropped = [name for name in without if name in body and name != "include"]
    if own is None:
        dropped += [name for name in given if name not in {*SAME, *TRANSLATED} and given[name] is not None]
    return ResponseBody({name: value for name, value in body.items() if name not in without}, tuple(dropped))


# --- Settings ---------------------------------------------------------------------------------------------------------


def settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a chat completion as members of a response's body."""
    found: dict[str, Any] = {name: given[name] for name in SAME if given.get(name) is not None}
    if given.get("tools"):
        found["tools"] = [flat_tool(tool) for tool in given["tools"]]
        if given.get("parallel_tool_calls") is not None:
            found["parallel_tool_calls"] = given["parallel_tool_calls"]
        if choice := given.get("tool_choice"):
            found["tool_choice"] = choice if isinstance(choice, str) else flat_choice(choice)
    if effort := given.get("reasoning_effort"):
        found["reasoning"] = {"effort": effort}
    text = {"verbosity": given.get("verbosity"), "format": text_format(given.get("response_format"))}
    if text := {name: value for name, value in text.items() if value is not None}:
        found["text"] = text
    if given.get("logprobs"):
        found |= {"include": [LOGPROBS], "top_logprobs": given.get("top_logprobs") or 0}
    return found


def flat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion's tool in this format. Here functions are strict by default, there they are not: that is kept."""
    if tool["type"] == "custom":
        custom = tool["custom"]
        return {"type": "custom", **custom, **flat_format(custom.get("format"))}
    function = {"parameters": {"type": "object", "properties": {}}, "strict": False, **tool["function"]}
    return {"type": "function", **function}


def flat_format(wanted: Mapping[str, Any] | None) -> dict[str, Any]:
    """The format of a custom tool's input, whose grammar stands one level higher here."""
    if not wanted or wanted.get("type") != "grammar":
        return {}
    return {"format": {"type": "grammar", **wanted["grammar"]}}


def flat_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    kind = choice["type"]
    return {"type": kind, "name": choice[kind]["name"]}


def text_format(wanted: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not wanted or wanted["type"] != "json_schema":
        return dict(wanted) if wanted else None
    return {"type": "json_schema", **wanted["json_schema"]}


def obstacle(chat: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> str | None:
    """The field of a request that this format has no word for, if there is one."""
    if content_parts(chat, "input_audio"):
        return "messages"
    return "stop" if parameters.get("stop") else None


# --- Items ------------------------------------------------------------------------------------------------------------


def items(messages: Sequence[Mapping[str, Any]]) -> Iterator[Item]:
    """The items of a chat: those that came in this dialect as they are, and the other messages translated."""
    custom: set[str] = set()  # the calls of custom tools: their outputs are another type of item
    for message in messages:
        custom |= {call["id"] for call in message.get("tool_calls") or () if call.get("type") == "custom"}
        yield from message[NATIVE] if NATIVE in message else items_of(message, custom)


def items_of(message: Mapping[str, Any], custom: set[str]) -> Iterator[Item]:
    content = message.get("content")
    match message["role"]:
        case "assistant":
            yield from thought_items(message.get("reasoning_details") or ())
            text = content if isinstance(content, str) else "".join(part.get("text") or "" for part in content or ())
            if text or message.get("refusal"):
                yield {"role": "assistant", "content": text or message["refusal"]}
            yield from map(call_item, message.get("tool_calls") or ())
        case "tool":
            call_id = message["tool_call_id"]
            kind = "custom_tool_call_output" if call_id in custom else "function_call_output"
            yield {"type": kind, "call_id": call_id, "output": input_content(content)}
        case role:
            yield {"role": role, "content": input_content(content)}


def input_content(content: Any) -> Any:
    return [input_part(part) for part in content] if isinstance(content, list) else content or ""


def input_part(part: Mapping[str, Any]) -> Item:
    match part["type"]:
        case "image_url":
            image = part["image_url"]
            return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail") or "auto"}
        case "file":
            file = part["file"]
            where = "file_data" if file["file_data"].startswith("data:") else "file_url"
            name = {"filename": file["filename"]} if file.get("filename") and where == "file_data" else {}
            return {"type": "input_file", where: file["file_data"], **name}
        case _:
            return {"type": "input_text", "text": part.get("text") or part.get("refusal") or ""}


def call_item(call: Mapping[str, Any]) -> Item:
    if call.get("type") == "custom":
        return {"type": "custom_tool_call", "call_id": call["id"], **call["custom"]}
    function = call["function"]
    arguments = function.get("arguments") or "{}"
    return {"type": "function_call", "call_id": call["id"], "name": function["name"], "arguments": arguments}


# --- After a refusal --------------------------------------------------------------------------------------------------


def refused(error: ProviderError, request: ChatRequest, body: ResponseBody) -> str | None:
    """The member to leave out after the server refused it; None when there is none that we can do without.

    `include` is ours where the client did not ask for it. A parameter of the client's is left out only if it merely tunes
    the answer, and only with `may_drop`.
    """
    if error.outcome not in (AttemptOutcome.INVALID_REQUEST, AttemptOutcome.UNSUPPORTED):
        return None
    asked = (request.parameters.get(NATIVE) or {}).get("include") or ()
    if "include" in body.json and THOUGHTS not in asked and (names(error, "include") or "ncrypted" in str(error)):
        return "include"
    if not request.may_drop:
        return None
    tuning = [name for name in body.json if MEMBERS.get(name, name) in TUNING]
    return next((name for name in tuning if names(error, name) or (error.param or "").startswith(f"{name}.")), None)
