"""Makes the body of Gemini's generateContent of a chat in OpenAI's vocabulary."""

import mimetypes
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aichat.providers.base import ChatRequest
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.json import arguments_object

# Gemini refuses a function call in the history without the signature it gave it. One that came from another model, or
# whose client dropped the signature, carries this instead: https://ai.google.dev/gemini-api/docs/thought-signatures
UNSIGNED = "skip_thought_signature_validator"
SIGNATURE_FORMAT = "google-gemini-v1"  # of `reasoning_details`, as OpenRouter calls it
SETTINGS = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
THINKING = {
    "none": "LOW",  # what every model of the family knows
    "minimal": "LOW",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
OTHERWISE_KNOWN = {"stop", "tools", "tool_choice", "response_format"}
CALLING_MODES = {"none": "NONE", "auto": "AUTO", "required": "ANY"}
# Models that think whether or not they are asked to: https://ai.google.dev/gemini-api/docs/thinking. Asked for, their
# thoughts are a sign of life.
THINKS_ALWAYS = re.compile(r"gemini-(?:2\.5-pro|2\.5-flash(?!-lite)|[3-9]|[1-9]\d)(?!.*image)")
MEDIA_TYPES = {"image/jpg": "image/jpeg", "audio/x-wav": "audio/wav", "audio/wave": "audio/wav"}
# The words in which Gemini refuses a setting, which it seldom names: "Penalty is not enabled for this model".
REFUSED = {
    "presence_penalty": re.compile("penalty", re.IGNORECASE),
    "frequency_penalty": re.compile("penalty", re.IGNORECASE),
    "temperature": re.compile("temperature", re.IGNORECASE),
    "top_p": re.compile(r"\btop_?p\b", re.IGNORECASE),
    "top_k": re.compile(r"\btop_?k\b", re.IGNORECASE),
    "seed": re.compile(r"\bseed\b", re.IGNORECASE),
    "reasoning_effort": re.compile("thinking", re.IGNORECASE),
}
THOUGHTS = "includeThoughts"
THOUGHTS_REFUSED = re.compile("thought|thinking", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Body:
    """A request's JSON body, and the names of the client's parameters that are not in it."""

    json: dict[str, Any]
    dropped: tuple[str, ...]


def build(request: ChatRequest, without: frozenset[str] = frozenset()) -> Body:
    """The body, without some of the client's parameters (or the wish to see thoughts) that were refused."""
    parameters = {name: value for name, value in request.parameters.items() if name not in without}
    system = list(system_parts(request.messages))
    turns = contents(request.messages)
    found: dict[str, Any] = {
        # Gemini wants a turn of the user's: a lone system message is that, and so is an empty message.
        "contents": turns or [{"role": "user", "parts": system or [{"text": " "}]}],
        "generationConfig": generation_config(request, parameters, without),
    }
    if system and turns:
        found["systemInstruction"] = {"parts": system}
    if tools := parameters.get("tools"):
        found["tools"] = [{"functionDeclarations": [declaration(tool["function"]) for tool in tools]}]
        if choice := parameters.get("tool_choice"):
            found["toolConfig"] = {"functionCallingConfig": calling(choice)}
    return Body(found, tuple(name for name in request.parameters if name in without or not is_known(name, parameters)))


def is_known(name: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a parameter, with the value it was given, can be said in Gemini's format."""
    if name == "reasoning_effort":
        return parameters[name] in THINKING
    return name in SETTINGS or name in OTHERWISE_KNOWN


def without_after(error: ProviderError, request: ChatRequest, body: Body, before: frozenset[str]) -> frozenset[str]:
    """The names to leave out after a refusal, with those left out before; the same set when nothing would help."""
    if error.outcome not in (AttemptOutcome.INVALID_REQUEST, AttemptOutcome.UNSUPPORTED):
        return before
    asked_for_thoughts = THOUGHTS in body.json["generationConfig"].get("thinkingConfig", {})
    if asked_for_thoughts and THOUGHTS_REFUSED.search(str(error)):
        return before | {THOUGHTS}
    return before | set(refused_parameters(error, request)) if request.may_drop else before


def refused_parameters(error: ProviderError, request: ChatRequest) -> list[str]:
    """The client's settings that an error is about."""
    return [name for name, words in REFUSED.items() if name in request.parameters and words.search(str(error))]


# --- The conversation -------------------------------------------------------------------------------------------------


def system_parts(messages: Sequence[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    for message in messages:
        if message["role"] in {"system", "developer"}:
            yield from content_parts(message.get("content"))


def contents(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The turns. Neighbours of one role are one turn: the answers to parallel function calls must be."""
    found: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for message in messages:
        match message["role"]:
            case "system" | "developer":
                continue
            case "assistant":
                calls = message.get("tool_calls") or []
                names |= {call["id"]: call["function"]["name"] for call in calls}
                role, parts = "model", [*signed(content_parts(message.get("content")), message), *function_calls(calls)]
            case "tool":
                role, parts = "user", tool_parts(message, names)
            case _:
                role, parts = "user", content_parts(message.get("content"))
        if found and found[-1]["role"] == role:
            found[-1]["parts"] += parts
        elif parts:
            found.append({"role": role, "parts": parts})
    return found


def signed(parts: list[dict[str, Any]], message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts of an earlier answer, the first with the signature that Gemini gave its text."""
    for detail in message.get("reasoning_details") or ():
        if parts and detail.get("format") == SIGNATURE_FORMAT and isinstance(detail.get("data"), str):
            return [{**parts[0], "thoughtSignature": detail["data"]}, *parts[1:]]
    return parts


def content_parts(content: Any) -> list[dict[str, Any]]:
    """The parts of a message's content; empty texts are left out, because Gemini refuses them."""
    if isinstance(content, str):
        return [{"text": content}] if content else []
    return [found for part in content or [] if (found := content_part(part)) is not None]


def content_part(part: Mapping[str, Any]) -> dict[str, Any] | None:
    match part["type"]:
        case "image_url":
            return media(part["image_url"]["url"], "image/jpeg")
        case "input_audio":
            sound = part["input_audio"]
            return {"inlineData": {"mimeType": f"audio/{sound['format']}", "data": sound["data"]}}
        case "file":
            file = part["file"]
            guess, _ = mimetypes.guess_type(file.get("filename") or "")
            return media(file["file_data"], guess or "application/pdf")
        case _:
            text = part.get("text") or part.get("refusal")
            return {"text": text} if text else None


def media(address: str, default_type: str) -> dict[str, Any]:
    """Data in the request, or an address that Google fetches: https://ai.google.dev/gemini-api/docs/file-input-methods"""
    if address.startswith("https:"):
        kind, _ = mimetypes.guess_type(urlsplit(address).path)
        return {"fileData": {"fileUri": address, **({"mimeType": kind} if kind else {})}}
    head, _, data = address.removeprefix("data:").rpartition(",")
    kind = head.split(";")[0].lower() or default_type
    return {"inlineData": {"mimeType": MEDIA_TYPES.get(kind, kind), "data": data}}


def function_calls(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parts for an assistant's calls. Gemini signs only the first of calls that were made in parallel."""
    parts = []
    for position, call in enumerate(calls):
        name, arguments = call["function"]["name"], call["function"].get("arguments") or ""
        part: dict[str, Any] = {"functionCall": {"id": call["id"], "name": name, "args": arguments_object(arguments)}}
        google = (call.get("extra_content") or {}).get("google")
        signature = google.get("thought_signature") if isinstance(google, dict) else None
        if signature or position == 0:
            part["thoughtSignature"] = signature or UNSIGNED
        parts.append(part)
    return parts


def tool_parts(message: Mapping[str, Any], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """A function's response; its pictures stand behind it in the same turn."""
    call_id = message["tool_call_id"]
    parts = content_parts(message.get("content"))
    output = "".join(part.get("text", "") for part in parts)
    name = names.get(call_id) or message.get("name") or call_id
    response = {"functionResponse": {"id": call_id, "name": name, "response": {"output": output}}}
    return [response, *(part for part in parts if "text" not in part)]


# --- The settings -----------------------------------------------------------------------------------------------------


def generation_config(request: ChatRequest, parameters: Mapping[str, Any], without: frozenset[str]) -> dict[str, Any]:
    config: dict[str, Any] = {"maxOutputTokens": request.max_tokens}
    config |= {SETTINGS[name]: value for name, value in parameters.items() if name in SETTINGS}
    if stop := parameters.get("stop"):
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    if thinking := thinking_config(request.model, parameters, without):
        config["thinkingConfig"] = thinking
    wanted = parameters.get("response_format") or {}
    if wanted.get("type") in {"json_object", "json_schema"}:
        config["responseMimeType"] = "application/json"
    if wanted.get("type") == "json_schema" and "schema" in wanted["json_schema"]:
        config["responseJsonSchema"] = wanted["json_schema"]["schema"]
    return config


def thinking_config(model: str, parameters: Mapping[str, Any], without: frozenset[str]) -> dict[str, Any]:
    level = THINKING.get(parameters.get("reasoning_effort") or "")
    shows = THOUGHTS not in without and (level is not None or THINKS_ALWAYS.search(model) is not None)
    return {**({"thinkingLevel": level} if level else {}), **({THOUGHTS: True} if shows else {})}


def declaration(function: Mapping[str, Any]) -> dict[str, Any]:
    names = {"name": "name", "description": "description", "parameters": "parametersJsonSchema"}
    return {theirs: function[ours] for ours, theirs in names.items() if function.get(ours)}


def calling(choice: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(choice, str):
        return {"mode": CALLING_MODES[choice]}
    return {"mode": "ANY", "allowedFunctionNames": [choice["function"]["name"]]}
