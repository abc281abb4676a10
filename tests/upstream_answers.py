"""Answers as Gemini, OpenAI and Anthropic give them, whole and as events of a stream, with the same usage in each format."""

from typing import Any

TEXT = ["Hello, ", "this is ", "the answer."]
ANSWER = "".join(TEXT)
# The same usage in both formats: 11 in, of them 3 cached; 7 out, of them 2 thinking.
OPENAI_USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
GEMINI_USAGE = {
    "promptTokenCount": 11,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 2,
    "cachedContentTokenCount": 3,
    "totalTokenCount": 18,
}
ANTHROPIC_USAGE = {
    "input_tokens": 8,
    "cache_read_input_tokens": 3,
    "cache_creation_input_tokens": 0,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 2},
}
ANTHROPIC_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
# The same usage once more, as Responses report it.
RESPONSES_USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 18,
}


def message_item(*pieces: str, **more: Any) -> dict[str, Any]:
    """A message of a response; `pieces` are what a stream tells it in."""
    part = {"type": "output_text", "text": "".join(pieces), "annotations": [], "logprobs": []}
    return {"type": "message", "id": "msg_up", "role": "assistant", "status": "completed", "content": [part], **more}


def response_answer(items: list[dict[str, Any]], reason: str | None = "stop") -> dict[str, Any]:
    incomplete = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason or "")
    return {
        "id": "resp_1",
        "object": "response",
        "status": "in_progress" if reason is None else "incomplete" if incomplete else "completed",
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "error": None,
        "model": "m",
        "output": items,
        "usage": RESPONSES_USAGE if reason else None,
    }


def response_events(items: list[dict[str, Any]], reason: str | None = "stop") -> list[dict[str, Any]]:
    """The events of a stream with these items, each told in two pieces."""
    found: list[dict[str, Any]] = [{"type": "response.created", "response": response_answer([], None)}]
    for index, item in enumerate(items):
        place: dict[str, Any] = {"output_index": index, "item_id": item["id"]}
        begun = {**item, "status": "in_progress", **dict.fromkeys(TOLD_IN_PIECES.keys() & item.keys(), "")}
        found.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        for name, kind in TOLD_IN_PIECES.items():
            text = item.get(name, "")
            found += [{"type": kind, **place, "delta": half} for half in halves(text)]
        for part in (*item.get("summary", ()), *item.get("content", ())):
            kind = "output_text" if part["type"] == "output_text" else "reasoning_summary_text"
            if kind != "output_text":
                found.append({"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}})
            found += [{"type": f"response.{kind}.delta", **place, "delta": half} for half in halves(part["text"])]
        found.append({"type": "response.output_item.done", "output_index": index, "item": item})
    if reason:
        answer = response_answer(items, reason)
        found.append({"type": f"response.{answer['status']}", "response": answer})
    return found


# Members of an item that a stream tells in pieces, and the events that do.
TOLD_IN_PIECES = {
    "arguments": "response.function_call_arguments.delta",
    "input": "response.custom_tool_call_input.delta",
}


def halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [half for half in (text[:middle], text[middle:]) if half]


def gemini_answer(text: str, reason: str | None) -> dict[str, Any]:
    reasons = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
    candidate: dict[str, Any] = {"index": 0}
    if text:
        candidate["content"] = {"role": "model", "parts": [{"text": text}]}
    if reason:
        candidate["finishReason"] = reasons[reason]
    return {"candidates": [candidate], "usageMetadata": GEMINI_USAGE, "modelVersion": "m"}


def anthropic_answer(text: str, reason: str | None) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": ANTHROPIC_REASONS[reason] if reason else None,
        "stop_sequence": None,
        "usage": ANTHROPIC_USAGE,
    }


def anthropic_events(pieces: list[str], reason: str | None) -> list[dict[str, Any]]:
    """A stream's events; one that breaks off has no reason."""
    begun = {**ANTHROPIC_USAGE, "output_tokens": 1}
    found: list[dict[str, Any]] = [{"type": "message_start", "message": {**anthropic_answer("", None), "usage": begun}}]
    if pieces:
        found.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        found += [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in pieces
        ]
    if not reason:
        return found
    if pieces:
        found.append({"type": "content_block_stop", "index": 0})
    end = {"stop_reason": ANTHROPIC_REASONS[reason], "stop_sequence": None}
    usage = {"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 2}}
    return [*found, {"type": "message_delta", "delta": end, "usage": usage}, {"type": "message_stop"}]


def openai_chunk(delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
