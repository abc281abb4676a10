"""Anthropic's Messages API, spoken directly: https://platform.claude.com/docs/en/api/messages

Its OpenAI-compatible endpoint is not used: that one has no prompt caching and hides thoughts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from aichat.providers import http
from aichat.providers.answers import read_answer
from aichat.providers.anthropic.outgoing import measure
from aichat.providers.anthropic.request import NATIVE, THOUGHT_FORMAT, body, cites, version
from aichat.providers.anthropic.usage import ANTHROPIC
from aichat.providers.base import (
    ChatRequest,
    Delta,
    Endpoint,
    Finished,
    FinishReason,
    PartSink,
    content_parts,
    custom_tools,
)
from aichat.providers.errors import AttemptOutcome, ProviderError, from_body
from aichat.providers.json import as_object, to_json
from aichat.providers.outgoing import Outgoing
from aichat.providers.usage import UsageReport

FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
# The status that an error inside a stream would have had: https://platform.claude.com/docs/en/api/errors
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class AnthropicChat:
    """The chat adapter for Anthropic."""

    async def chat(self, request: ChatRequest, endpoint: Endpoint, sink: PartSink) -> Finished:
        payload, dropped = body(request)

        async def read(response: aiohttp.ClientResponse) -> Finished:
            return await read_answer(response, Reader(request.report, cites=cites(request)), sink, dropped)

        return await http.post(f"{endpoint.base_url}/v1/messages", payload, headers(request, endpoint), endpoint, read)

    def measure(self, request: ChatRequest, endpoint: Endpoint) -> Outgoing:
        return measure(body(request)[0])

    def unsupported(
        self, model: str, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], endpoint: Endpoint
    ) -> str | None:
        """Sound can't be sent, nor tools whose input is free text."""
        return "messages" if content_parts(messages, "input_audio") else custom_tools(messages, parameters)


def headers(request: ChatRequest, endpoint: Endpoint) -> dict[str, str]:
    found = {
        "x-api-key": endpoint.api_key,
        "anthropic-version": version(request),
        "X-Request-ID": request.request_id,
    }
    if betas := (request.parameters.get(NATIVE) or {}).get("betas"):
        found["anthropic-beta"] = ",".join(betas)
    return found


# --- The answer -------------------------------------------------------------------------------------------------------


class Reader:
    """Reads one answer: a whole message, or the events of a stream. With `cites` each text is passed on as a block, too."""

    def __init__(self, report: UsageReport, *, cites: bool = False) -> None:
        self.report = report
        self.cites = cites
        self.texts: dict[int, dict[str, Any]] = {}  # by index, the blocks of text whose citations are kept
        self.reason: str | None = None
        self.stop_sequence: str | None = None
        self.calls = 0
        self.call_of: dict[int, int] = {}  # the index of a block to that of its tool call
        self.without_arguments: set[int] = set()  # blocks of calls of which no argument has come
        self.is_blank = True

    @property
    def is_over(self) -> bool:
        return self.reason is not None

    def read_whole(self, answer: dict[str, Any]) -> list[Delta]:
        if answer.get("type") == "error":
            raise inside_stream(to_json(answer))
        self.is_blank = False
        self.reason, self.stop_sequence = answer.get("stop_reason"), answer.get("stop_sequence")
        self.report.read(ANTHROPIC, answer.get("usage"), answer.get("model"))
        deltas = []
        for index, block in enumerate(answer.get("content") or ()):
            deltas += [self.start(index, block), self.stop(index)]
        return [delta for delta in deltas if delta is not None]

    def read_event(self, event: bytes) -> list[Delta] | None:
        facts = as_object(event)
        match facts.get("type"):
            case "message_start":
                self.is_blank = False
                self.report.read(ANTHROPIC, facts["message"].get("usage"), facts["message"].get("model"))
            case "content_block_start":
                delta = self.start(facts["index"], facts["content_block"])
                return [delta] if delta else []
            case "content_block_delta":
                delta = self.delta(facts["index"], facts["delta"])
                return [delta] if delta else []
            case "content_block_stop":
                delta = self.stop(facts["index"])
                return [delta] if delta else []
            case "message_delta":
                self.reason = facts["delta"].get("stop_reason") or self.reason
                self.stop_sequence = facts["delta"].get("stop_sequence")
                self.report.read(ANTHROPIC, facts.get("usage"))
            case "message_stop":
                return None
            case "error":
                raise inside_stream(event)
        return [Delta()]  # a sign of life

    def start(self, index: int, block: Mapping[str, Any]) -> Delta | None:
        """The delta for the beginning of a block, or for a whole block."""
        match block.get("type"):
            case "text":
                if self.cites:
                    text, citations = str(block.get("text") or ""), block.get("citations") or ()
                    self.texts[index] = {"type": "text", "text": text, "citations": [*citations]}
                return Delta(str(block["text"])) if block.get("text") else None
            case "thinking":
                text, signature = str(block.get("thinking") or ""), str(block.get("signature") or "")
                return self.thought(index, text, signature) if text or signature else None
            case "redacted_thinking":
                detail = {"type": "reasoning.encrypted", "format": THOUGHT_FORMAT, "index": index}
                return Delta(reasoning_details=({**detail, "data": block["data"]},))
            case "tool_use":
                self.call_of[index] = self.calls
                self.calls += 1
                arguments = to_json(block["input"]).decode() if block.get("input") else ""
                if not arguments:
                    self.without_arguments.add(index)
                call = {"index": self.call_of[index], "id": str(block["id"]), "type": "function"}
                return Delta(tool_calls=({**call, "function": {"name": str(block["name"]), "arguments": arguments}},))
            case _:
                return None

    def delta(self, index: int, delta: Mapping[str, Any]) -> Delta | None:
        match delta.get("type"):
            case "text_delta":
                if index in self.texts:
                    self.texts[index]["text"] += str(delta["text"])
                return Delta(str(delta["text"]))
            case "citations_delta" if index in self.texts:
                self.texts[index]["citations"].append(delta["citation"])
                return Delta()
            case "input_json_delta":
                return self.arguments(index, str(delta["partial_json"])) if index in self.call_of else None
            case "thinking_delta":
                return self.thought(index, str(delta["thinking"]), "")
            case "signature_delta":
                return self.thought(index, "", str(delta["signature"]))
            case _:
                return Delta()

    def stop(self, index: int) -> Delta | None:
        """The delta for the end of a block. A call without arguments gets `{}`, as OpenAI's vocabulary has it."""
        if text := self.texts.pop(index, None):
            return Delta(items=(text,)) if text["text"] else None
        return self.arguments(index, "{}") if index in self.without_arguments else None

    def arguments(self, index: int, text: str) -> Delta:
        if text:
            self.without_arguments.discard(index)
        return Delta(tool_calls=({"index": self.call_of[index], "function": {"arguments": text}},))

    def thought(self, index: int, text: str, signature: str) -> Delta:
        detail: dict[str, Any] = {"type": "reasoning.text", "format": THOUGHT_FORMAT, "index": index}
        if text:
            detail["text"] = text
        if signature:
            detail["signature"] = signature
        return Delta(reasoning=text, reasoning_details=(detail,))

    def finished(self) -> Finished:
        """How the answer ended. Raises `ProviderError` when no end was seen."""
        if self.is_blank:
            raise ProviderError(AttemptOutcome.EMPTY, "an answer with nothing in it")
        if self.reason is None:
            raise ProviderError(AttemptOutcome.BROKEN_STREAM, "the answer ended without a stop reason")
        reason = FINISH_REASONS.get(str(self.reason))
        stop_sequence = self.stop_sequence if isinstance(self.stop_sequence, str) else None
        return Finished(reason or "stop", is_known=reason is not None, stop_sequence=stop_sequence)


def inside_stream(raw: bytes) -> ProviderError:
    """The error of an event `{"type": "error", "error": {"type", "message"}}`."""
    error = as_object(raw).get("error")
    kind = error.get("type") if isinstance(error, dict) else ""
    return from_body(STATUSES.get(str(kind), 500), raw)
