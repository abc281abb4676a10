"""Answers in Anthropic's vocabulary: a message, or the events of a stream.

https://platform.claude.com/docs/en/api/messages and https://platform.claude.com/docs/en/build-with-claude/streaming
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from aichat.api.anthropic.errors import error_event
from aichat.api.anthropic.translation import CLAUDE, sealed
from aichat.api.headers import answer_headers, stream_headers
from aichat.core.errors import ApiError
from aichat.core.web import responses, sse
from aichat.generation.request import Completed, Failed, GenerationEvent, Piece, Result, Started, as_function
from aichat.providers.base import FinishReason
from aichat.providers.json import arguments_object
from aichat.providers.thoughts import whole_thoughts

STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
Block = dict[str, Any]


def message(result: Result, content: list[Block]) -> dict[str, Any]:
    """A `message` object; a reply that has not ended has no stop reason."""
    return {
        "id": f"msg_{result.id.hex}",
        "type": "message",
        "role": "assistant",
        "model": result.model,
        "content": content,
        **stop(result),
        "usage": usage(result),
    }


def stop(result: Result) -> dict[str, Any]:
    """Why the message ended. A stop sequence is named only where the provider names it."""
    reason = STOP_REASONS[result.finish_reason] if result.finish_reason else None
    return {"stop_reason": "stop_sequence" if result.stop_sequence else reason, "stop_sequence": result.stop_sequence}


def usage(result: Result) -> dict[str, Any]:
    """Tokens as Anthropic counts them: what was read from a cache, or written to one, is beside the input."""
    tokens = result.usage
    return {
        "input_tokens": tokens.input_tokens - tokens.cached_input_tokens - tokens.cache_write_tokens,
        "cache_creation_input_tokens": tokens.cache_write_tokens,
        "cache_read_input_tokens": tokens.cached_input_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_tokens - tokens.cache_write_1h_tokens,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h_tokens,
        },
        "output_tokens": tokens.output_tokens,
        "output_tokens_details": {"thinking_tokens": tokens.reasoning_tokens},
    }


def content(result: Result) -> list[Block]:
    """The blocks of a whole answer: thoughts, text, calls of tools."""
    found = thoughts(result.reasoning, result.reasoning_details)
    if result.items:
        found += map(text_block, result.items)
    elif result.text:
        found.append({"type": "text", "text": result.text})
    for call in result.tool_calls:
        function = as_function(call)
        arguments = arguments_object(function["arguments"])
        found.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments})
    return found


def text_block(item: Block) -> Block:
    """A Claude model's own block of text, with what it cites."""
    return item if item["citations"] else {"type": "text", "text": item["text"]}


def thoughts(text: str, details: Sequence[dict[str, Any]]) -> list[Block]:
    """The blocks of thought: a Claude model's own; else one block, whose signature holds what the model needs back."""
    if any(detail.get("format") == CLAUDE for detail in details):
        return claude_thoughts(details)
    if not text and not details:
        return []
    return [{"type": "thinking", "thinking": text, "signature": sealed(details) if details else ""}]


def claude_thoughts(details: Sequence[dict[str, Any]]) -> list[Block]:
    return [
        {"type": "redacted_thinking", "data": detail.get("data", "")}
        if detail["type"] == "reasoning.encrypted"
        else {"type": "thinking", "thinking": detail.get("text", ""), "signature": detail.get("signature", "")}
        for detail in whole_thoughts(details)
        if detail.get("format") == CLAUDE
    ]


@dataclass(slots=True)
class MessageFormat:
    """Encodes answers as messages. In a stream each block is begun and ended by an event, so it knows the open block."""

    blocks: int = 0  # begun so far
    is_open: bool = False
    kind: str = ""  # of the open block
    call: int = -1  # whose arguments the open block has
    details: list[dict[str, Any]] = field(default_factory=list)  # of another model's thoughts, for the end of the block

    def whole(self, result: Result) -> tuple[bytes, dict[str, str]]:
        headers = answer_headers(result)
        return responses.json_bytes(message(result, content(result))), headers

    def headers(self, event: GenerationEvent) -> dict[str, str]:
        return stream_headers(event)

    def encode(self, event: GenerationEvent) -> bytes:
        match event:
            case Started(result):
                start = {"type": "message_start", "message": message(result, [])}
                return encoded(start) + encoded({"type": "ping"})
            case Piece():
                return b"".join(encoded(part) for part in self.parts(event))
            case Completed(result):
                end = {"type": "message_delta", "delta": stop(result), "usage": usage(result)}
                # On a copy: the settlement words the end too, for a replay, and may do so more than once.
                events = [*copy.copy(self).close(), end, {"type": "message_stop"}]
                return b"".join(encoded(part) for part in events)
            case Failed(error):
                return self.encode_error(error)
            case _:
                assert_never(event)

    def encode_error(self, error: ApiError) -> bytes:
        """The official SDKs raise `APIStatusError` for it."""
        return encoded(error_event(error))

    def parts(self, piece: Piece) -> list[dict[str, Any]]:
        """The events that a piece of the answer becomes."""
        found: list[dict[str, Any]] = []
        if piece.reasoning or piece.reasoning_details:
            found += self.thought(piece)
        if piece.text:
            found += self.open("text", {"type": "text", "text": ""})
            found.append(self.delta({"type": "text_delta", "text": piece.text}))
        for call in piece.tool_calls:
            found += self.tool_use(call)
        for item in piece.items:
            found += [self.delta({"type": "citations_delta", "citation": each}) for each in item["citations"]]
            found += self.close()
        return found

    def thought(self, piece: Piece) -> list[dict[str, Any]]:
        claudes = [detail for detail in piece.reasoning_details if detail.get("format") == CLAUDE]
        if claudes:
            return [event for detail in claudes for event in self.claude_thought(detail)]
        found = self.open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        self.details += piece.reasoning_details
        if piece.reasoning:
            found.append(self.delta({"type": "thinking_delta", "thinking": piece.reasoning}))
        return found

    def claude_thought(self, detail: dict[str, Any]) -> list[dict[str, Any]]:
        if detail["type"] == "reasoning.encrypted":
            block = {"type": "redacted_thinking", "data": detail["data"]}
            return [*self.close(), *self.open("redacted_thinking", block), *self.close()]
        kind = f"thinking {detail.get('index')}"
        found = self.open(kind, {"type": "thinking", "thinking": "", "signature": ""})
        if detail.get("text"):
            found.append(self.delta({"type": "thinking_delta", "thinking": detail["text"]}))
        if detail.get("signature"):
            found.append(self.delta({"type": "signature_delta", "signature": detail["signature"]}))
        return found

    def tool_use(self, call: dict[str, Any]) -> list[dict[str, Any]]:
        function = as_function(call)
        found: list[dict[str, Any]] = []
        if call["index"] != self.call:
            self.call = call["index"]
            block = {"type": "tool_use", "id": call.get("id", ""), "name": function.get("name", ""), "input": {}}
            found += [*self.close(), *self.open("tool_use", block)]
        if function.get("arguments"):
            found.append(self.delta({"type": "input_json_delta", "partial_json": function["arguments"]}))
        return found

    # --- Blocks -------------------------------------------------------------------------------------------------------

    def open(self, kind: str, block: Block) -> list[dict[str, Any]]:
        """Begin a block, unless one of its kind is open. Ends the block before it."""
        if self.is_open and self.kind == kind:
            return []
        found = self.close()
        self.is_open, self.kind = True, kind
        self.blocks += 1
        return [*found, {"type": "content_block_start", "index": self.blocks - 1, "content_block": block}]

    def delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self.blocks - 1, "delta": delta}

    def close(self) -> list[dict[str, Any]]:
        """End the open block, if there is one."""
        if not self.is_open:
            return []
        found = []
        if self.details:
            found.append(self.delta({"type": "signature_delta", "signature": sealed(self.details)}))
            self.details = []
        self.is_open = False
        return [*found, {"type": "content_block_stop", "index": self.blocks - 1}]


def encoded(event: dict[str, Any]) -> bytes:
    return sse.server_sent_event(event, event["type"])
