"""Gemini's generateContent, spoken directly: https://ai.google.dev/api/generate-content (API version v1beta)

A chat comes in OpenAI's vocabulary. Google's own OpenAI-compatible endpoint is not used: it reports neither thinking
tokens nor the reason of a block.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import aiohttp
import orjson

from aichat.providers import http
from aichat.providers.base import (
    Accepted,
    ChatRequest,
    Delta,
    Endpoint,
    Finished,
    FinishReason,
    PartSink,
    image_urls,
)
from aichat.providers.errors import AttemptOutcome, ProviderError, inside_stream
from aichat.providers.usage import GEMINI, UsageReport

API_VERSION = "v1beta"
BLOCKED = {
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
}  # fmt: skip
GARBLED = {
    "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
}  # fmt: skip
# Gemini refuses a function call in the history without the signature it gave it. One that came from another model, or
# whose client dropped the signature, carries this instead: https://ai.google.dev/gemini-api/docs/thought-signatures
UNSIGNED = "skip_thought_signature_validator"
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
}
CALLING_MODES = {"none": "NONE", "auto": "AUTO", "required": "ANY"}


class GeminiChat:
    async def chat(self, request: ChatRequest, endpoint: Endpoint, sink: PartSink) -> Finished:
        async def read(response: aiohttp.ClientResponse) -> Finished:
            await sink(Accepted())
            reader = Reader(request.report)
            if request.stream:
                await http.read_deltas(response, reader.read_event, sink)
                return reader.finished()
            deltas = await http.read_json(response, reader.read)
            finished = reader.finished()
            for delta in deltas:
                await sink(delta)
            return finished

        verb = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        url = f"{endpoint.base_url}/{API_VERSION}/models/{request.model}:{verb}"
        headers = {"x-goog-api-key": endpoint.api_key, "X-Request-ID": request.request_id}
        return await http.post(url, body(request), headers, endpoint, read)

    def unsupported(
        self, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], endpoint: Endpoint
    ) -> str | None:
        """Images must be in the request: Gemini does not fetch an address, and neither do we, into the operator's network."""
        return "messages" if any(not url.startswith("data:") for url in image_urls(messages)) else None


# --- The request ------------------------------------------------------------------------------------------------------


def body(request: ChatRequest) -> dict[str, Any]:
    system = [
        part
        for message in request.messages
        if message["role"] in {"system", "developer"}
        for part in content_parts(message.get("content"))
    ]
    found: dict[str, Any] = {
        "contents": contents(request.messages),
        "generationConfig": generation_config(request.max_tokens, request.parameters),
    }
    if system:
        found["systemInstruction"] = {"parts": system}
    if tools := request.parameters.get("tools"):
        found["tools"] = [{"functionDeclarations": [declaration(tool["function"]) for tool in tools]}]
        if choice := request.parameters.get("tool_choice"):
            found["toolConfig"] = {"functionCallingConfig": calling(choice)}
    return found


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
                role, parts = "model", [*content_parts(message.get("content")), *function_calls(calls)]
            case "tool":
                role, parts = "user", [function_response(message, names)]
            case _:
                role, parts = "user", content_parts(message.get("content"))
        if found and found[-1]["role"] == role:
            found[-1]["parts"] += parts
        elif parts:
            found.append({"role": role, "parts": parts})
    return found


def content_parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"text": content}] if content else []
    return [content_part(part) for part in content or []]


def content_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "image_url":
        kind, _, data = part["image_url"]["url"].removeprefix("data:").partition(";base64,")
        return {"inlineData": {"mimeType": kind, "data": data}}
    return {"text": part.get("text") or part.get("refusal") or ""}


def function_calls(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of calls made in parallel only the first is signed."""
    parts = []
    for position, call in enumerate(calls):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        part: dict[str, Any] = {"functionCall": {"id": call["id"], "name": name, "args": as_object(arguments)}}
        signature = ((call.get("extra_content") or {}).get("google") or {}).get("thought_signature")
        if signature or position == 0:
            part["thoughtSignature"] = signature or UNSIGNED
        parts.append(part)
    return parts


def function_response(message: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    call_id = message["tool_call_id"]
    output = "".join(part["text"] for part in content_parts(message.get("content")))
    name = names.get(call_id) or message.get("name") or call_id
    return {"functionResponse": {"id": call_id, "name": name, "response": {"output": output}}}


def as_object(arguments: str) -> dict[str, Any]:
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}


def generation_config(max_tokens: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {"maxOutputTokens": max_tokens}
    config |= {SETTINGS[name]: value for name, value in parameters.items() if name in SETTINGS}
    if stop := parameters.get("stop"):
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    if level := THINKING.get(parameters.get("reasoning_effort", "")):
        config["thinkingConfig"] = {"thinkingLevel": level}
    wanted = parameters.get("response_format") or {}
    if wanted.get("type") in {"json_object", "json_schema"}:
        config["responseMimeType"] = "application/json"
    if wanted.get("type") == "json_schema" and "schema" in wanted["json_schema"]:
        config["responseJsonSchema"] = wanted["json_schema"]["schema"]
    return config


def declaration(function: Mapping[str, Any]) -> dict[str, Any]:
    names = {"name": "name", "description": "description", "parameters": "parametersJsonSchema"}
    return {theirs: function[ours] for ours, theirs in names.items() if function.get(ours)}


def calling(choice: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(choice, str):
        return {"mode": CALLING_MODES[choice]}
    return {"mode": "ANY", "allowedFunctionNames": [choice["function"]["name"]]}


# --- The answer -------------------------------------------------------------------------------------------------------


class Reader:
    """Reads the answer's objects: one for a whole answer, many for a stream, all of one shape."""

    def __init__(self, report: UsageReport) -> None:
        self.report = report
        self.reason: str | None = None
        self.calls = 0
        self.is_blank = True

    def read_event(self, event: bytes) -> list[Delta]:
        chunk = http.as_object(event)
        if "error" in chunk:
            raise inside_stream(event)
        return self.read(chunk)

    def read(self, answer: dict[str, Any]) -> list[Delta]:
        self.report.read(GEMINI, answer.get("usageMetadata"))
        if (answer.get("promptFeedback") or {}).get("blockReason"):
            self.reason = "SAFETY"
        candidates = answer.get("candidates") or []
        if not candidates:
            return []
        self.is_blank = False
        self.reason = candidates[0].get("finishReason") or self.reason
        parts = (candidates[0].get("content") or {}).get("parts") or []
        return [delta for part in parts if (delta := self.delta(part))]

    def delta(self, part: dict[str, Any]) -> Delta | None:
        if part.get("thought"):
            return Delta()
        if call := part.get("functionCall"):
            return Delta(tool_calls=(self.tool_call(call, part.get("thoughtSignature")),))
        return Delta(str(part["text"])) if part.get("text") else None

    def tool_call(self, call: dict[str, Any], signature: str | None) -> dict[str, Any]:
        arguments = orjson.dumps(call.get("args") or {}).decode()
        found = {
            "index": self.calls,
            "id": call.get("id") or f"call_{uuid4().hex}",
            "type": "function",
            "function": {"name": str(call["name"]), "arguments": arguments},
        }
        self.calls += 1
        # Where Google's own OpenAI-compatible endpoint puts it: clients that know it send it back.
        return {**found, "extra_content": {"google": {"thought_signature": signature}}} if signature else found

    def finished(self) -> Finished:
        """The end. Raises `ProviderError` when none was seen, or when the model garbled its answer."""
        if self.reason is None and self.is_blank:
            return Finished("stop")  # a 200 with nothing in it
        if self.reason is None:
            raise ProviderError(AttemptOutcome.BROKEN_STREAM, "the answer ended without a finish reason")
        if self.reason in GARBLED:
            raise ProviderError(AttemptOutcome.MALFORMED, f"finish reason {self.reason}")
        return Finished(self.finish_reason(self.reason))

    def finish_reason(self, reason: str) -> FinishReason:
        if reason in BLOCKED:
            return "content_filter"
        if reason == "MAX_TOKENS":
            return "length"
        return "tool_calls" if self.calls else "stop"
