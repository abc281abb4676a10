"""Answers of the Responses API: a `response` object, or the events of a stream in their official order.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from aichat.api.headers import answer_headers, stream_headers
from aichat.api.openai.responses.schemas import ResponsesBody
from aichat.api.openai.responses.tools import Tools, custom_input
from aichat.api.openai.responses.translation import packed
from aichat.core.errors import ApiError
from aichat.core.telemetry import tracing
from aichat.core.web import responses, sse
from aichat.generation.request import Completed, Failed, GenerationEvent, Piece, Result, Started
from aichat.providers.response_items import details_of

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}
Event = dict[str, Any]


def usage(result: Result) -> dict[str, Any]:
    tokens = result.usage
    return {
        "input_tokens": tokens.input_tokens,
        "input_tokens_details": {
            "cached_tokens": tokens.cached_input_tokens,
            "cache_write_tokens": tokens.cache_write_tokens,
        },
        "output_tokens": tokens.output_tokens,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning_tokens},
        "total_tokens": tokens.input_tokens + tokens.output_tokens,
    }


def error_of(error: ApiError) -> dict[str, Any]:
    """The error of a failed response. `server_error` and `rate_limit_exceeded` are the codes that clients know."""
    known = {429: "rate_limit_exceeded", 400: error.code}
    return {"code": known.get(error.status, "server_error"), "message": error.message}


@dataclass(slots=True)
class ResponseFormat:
    """Encodes answers as responses. In a stream it numbers the events, and knows the ended items and the open one."""

    body: ResponsesBody
    tools: Tools
    started: Result | None = None
    sequence: int = 0
    output: list[dict[str, Any]] = field(default_factory=list)  # the items that have ended
    item: dict[str, Any] | None = None  # the item that is open
    text: str = ""  # of the open item: its text, summary, arguments or input
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)  # the blocks of an open thought
    call: int = -1  # the index of the call that is open or was the last
    is_free: bool = False  # whether that call's input comes as free text, not as the argument of a function

    def items(self, result: Result) -> list[dict[str, Any]]:
        """The items of the answer, as they were streamed or of a whole answer. An item that is still open is ended."""
        state = self.copied() if self.started else self.of(result)
        for _ in state.close():
            pass
        return state.output

    def copied(self) -> "ResponseFormat":
        """A copy that can be ended. A settlement encodes the end too, for a replay, and may do so more than once."""
        state = copy.copy(self)
        state.output = [*self.output]
        state.item = {**self.item} if self.item else None
        return state

    def of(self, result: Result) -> "ResponseFormat":
        """The state after a whole answer."""
        state = ResponseFormat(self.body, self.tools, started=result)
        for item in result.items:
            state.output.append(state.own(item, state.new_id(prefix(item["type"]))))
        if result.items:
            return state
        calls = tuple({**call, "index": index} for index, call in enumerate(result.tool_calls))
        everything = Piece(
            text=result.text,
            tool_calls=calls,
            reasoning=result.reasoning,
            reasoning_details=tuple(result.reasoning_details),
            images=tuple(result.images),
            annotations=tuple(result.annotations),
            logprobs=result.logprobs,
        )
        for _ in (*state.take(everything), *state.close()):
            pass
        return state

    # --- What goes out ------------------------------------------------------------------------------------------------

    def whole(self, result: Result) -> tuple[bytes, dict[str, str]]:
        state = self.of(result)
        return responses.json_bytes(state.response(result, *outcome(result))), answer_headers(result)

    def headers(self, event: GenerationEvent) -> dict[str, str]:
        return stream_headers(event)

    def encode(self, event: GenerationEvent) -> bytes:
        match event:
            case Started(result):
                self.started = result
                response = self.response(result, "in_progress")
                return self.encoded(
                    [
                        {"type": "response.created", "response": response},
                        {"type": "response.in_progress", "response": response},
                    ]
                )
            case Piece():
                return self.encoded(self.take(event))
            case Completed(result):
                return self.end(result)
            case Failed(error, result):
                return self.end(result, error)
            case _:
                assert_never(event)

    def end(self, result: Result, error: ApiError | None = None) -> bytes:
        """The last events."""
        state = self.copied()
        events = [] if error else [*state.close()]
        status, reason = ("failed", None) if error else outcome(result)
        response = state.response(result, status, reason)
        if error:
            response["error"] = error_of(error)
        return state.encoded([*events, {"type": f"response.{status}", "response": response}])

    def encode_error(self, error: ApiError) -> bytes:
        """An error before the response began. The official SDKs raise `APIError` for an event with an `error` member."""
        facts = error.body(tracing.request_id())["error"]
        event = {"type": "error", "code": error.code, "message": error.message, "param": error.param, "error": facts}
        return self.encoded([event])

    def encoded(self, events: Sequence[Event] | Iterator[Event]) -> bytes:
        data = []
        for event in events:
            data.append(sse.server_sent_event({**event, "sequence_number": self.sequence}, event["type"]))
            self.sequence += 1
        return b"".join(data)

    def response(self, result: Result, status: str, reason: str | None = None) -> dict[str, Any]:
        body = self.body
        created = (result.id.int >> 80) // 1000
        is_over = status != "in_progress"
        text = body.text.model_dump(by_alias=True, exclude_none=True) if body.text else {}
        return {
            "id": f"resp_{result.id.hex}",
            "object": "response",
            "created_at": created,
            "completed_at": created if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": None,
            "metadata": body.metadata or {},
            "model": result.model,
            "output": self.output if is_over else [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "prompt_cache_key": body.prompt_cache_key,
            "reasoning": {
                "effort": body.reasoning.effort if body.reasoning else None,
                "summary": body.reasoning.summary if body.reasoning else None,
            },
            "safety_identifier": body.safety_identifier,
            "service_tier": "default",
            "store": False,
            "temperature": body.temperature,
            "text": {"format": {"type": "text"}, **text},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": usage(result) if is_over else None,
            "user": body.user,
        }

    # --- What a piece of the answer becomes ---------------------------------------------------------------------------

    def take(self, piece: Piece) -> Iterator[Event]:
        if piece.reasoning or piece.reasoning_details:
            yield from self.think(piece)
        if piece.text:
            yield from self.write(piece)
        for call in piece.tool_calls:
            yield from self.call_function(call)
        for address in piece.images:
            yield from self.show(address)
        for item in piece.items:
            yield from self.end_as(item)

    def think(self, piece: Piece) -> Iterator[Event]:
        if self.item is None or self.item["type"] != "reasoning":
            yield from self.close()
            yield from self.open({"type": "reasoning", "id": self.new_id("rs"), "summary": []})
        self.details += piece.reasoning_details
        if not piece.reasoning:
            return
        place = {**self.place(), "summary_index": 0}
        if not self.text:
            part = {"type": "summary_text", "text": ""}
            yield {"type": "response.reasoning_summary_part.added", **place, "part": part}
        self.text += piece.reasoning
        yield {"type": "response.reasoning_summary_text.delta", **place, "delta": piece.reasoning}

    def write(self, piece: Piece) -> Iterator[Event]:
        if self.item is None or self.item["type"] != "message":
            yield from self.close()
            message = {"type": "message", "id": self.new_id("msg"), "status": "in_progress", "role": "assistant"}
            yield from self.open({**message, "content": []})
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            yield {"type": "response.content_part.added", **self.place(), "content_index": 0, "part": part}
        logprobs = (piece.logprobs or {}).get("content") or []
        self.text += piece.text
        self.logprobs += logprobs
        delta = {"content_index": 0, "delta": piece.text, "logprobs": logprobs}
        yield {"type": "response.output_text.delta", **self.place(), **delta}

    def call_function(self, call: dict[str, Any]) -> Iterator[Event]:
        is_free = "custom" in call  # the model itself knows the tool as one with free text
        facts = call.get("custom") or call.get("function") or {}
        if call["index"] != self.call:
            yield from self.close()
            self.call, self.is_free = call["index"], is_free
            yield from self.open(self.call_item(str(call.get("id") or ""), str(facts.get("name") or "")))
        text = facts.get("input" if is_free else "arguments") or ""
        self.text += text
        if text and self.item and (is_free or self.item["type"] == "function_call"):
            kind = "custom_tool_call_input" if is_free else "function_call_arguments"
            yield {"type": f"response.{kind}.delta", **self.place(), "delta": text}

    def call_item(self, call_id: str, name: str) -> dict[str, Any]:
        origin = self.tools.origins.get(name)
        facts: dict[str, Any] = {"call_id": call_id, "name": origin.name if origin else name, "status": "in_progress"}
        if origin and origin.namespace:
            facts["namespace"] = origin.namespace
        if origin and origin.is_custom:
            return {"type": "custom_tool_call", "id": self.new_id("ctc"), "input": "", **facts}
        return {"type": "function_call", "id": self.new_id("fc"), "arguments": "", **facts}

    def show(self, address: str) -> Iterator[Event]:
        """A picture in the answer, as the client would get it from OpenAI's own image tool."""
        yield from self.close()
        image = {"type": "image_generation_call", "id": self.new_id("ig"), "status": "completed"}
        yield from self.open({**image, "result": address.partition(";base64,")[2] or address})
        yield from self.close()

    # --- Items --------------------------------------------------------------------------------------------------------

    def open(self, item: dict[str, Any]) -> Iterator[Event]:
        self.item, self.text, self.logprobs, self.details = item, "", [], []
        yield {"type": "response.output_item.added", "output_index": len(self.output), "item": {**item}}

    def end_as(self, theirs: dict[str, Any]) -> Iterator[Event]:
        """End an item as a provider that speaks the dialect ended it, so that nothing of it is lost."""
        kind = theirs["type"]
        if self.item is None or self.item["type"] != kind:  # no piece of it has come
            yield from self.close()
            yield from self.open(self.own({**theirs, "status": "in_progress"}, self.new_id(prefix(kind))))
        assert self.item is not None
        yield from self.close(self.own(theirs, self.item["id"]))

    def own(self, theirs: dict[str, Any], item_id: str) -> dict[str, Any]:
        """A provider's item under an ID of ours. A thought keeps the provider's ID inside of its sealed content."""
        item = {**theirs, "id": item_id}
        if theirs["type"] == "reasoning":
            item["encrypted_content"] = packed(details_of(theirs))
        return item

    def close(self, theirs: dict[str, Any] | None = None) -> Iterator[Event]:
        """End the open item, if there is one; `theirs` is how its provider ended it."""
        item = self.item
        if item is None:
            return
        match item["type"]:
            case "message":
                yield from self.end_message(item)
            case "reasoning":
                yield from self.end_reasoning(item)
            case "function_call":
                item |= {"arguments": self.text or "{}", "status": "completed"}
                done = {"arguments": item["arguments"], "name": item["name"]}
                yield {"type": "response.function_call_arguments.done", **self.place(), **done}
            case "custom_tool_call":
                item |= {"input": self.text if self.is_free else custom_input(self.text), "status": "completed"}
                if not self.is_free:
                    yield {"type": "response.custom_tool_call_input.delta", **self.place(), "delta": item["input"]}
                yield {"type": "response.custom_tool_call_input.done", **self.place(), "input": item["input"]}
        item = theirs or item
        yield {"type": "response.output_item.done", "output_index": len(self.output), "item": item}
        self.output.append(item)
        self.item = None

    def end_message(self, item: dict[str, Any]) -> Iterator[Event]:
        part = {"type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs}
        place = {**self.place(), "content_index": 0}
        yield {"type": "response.output_text.done", **place, "text": self.text, "logprobs": self.logprobs}
        yield {"type": "response.content_part.done", **place, "part": part}
        item |= {"content": [part], "status": "completed"}

    def end_reasoning(self, item: dict[str, Any]) -> Iterator[Event]:
        if self.text:
            part = {"type": "summary_text", "text": self.text}
            place = {**self.place(), "summary_index": 0}
            yield {"type": "response.reasoning_summary_text.done", **place, "text": self.text}
            yield {"type": "response.reasoning_summary_part.done", **place, "part": part}
            item["summary"] = [part]
        item["encrypted_content"] = packed(self.details)

    def place(self) -> dict[str, Any]:
        assert self.item is not None
        return {"item_id": self.item["id"], "output_index": len(self.output)}

    def new_id(self, prefix: str) -> str:
        assert self.started is not None
        return f"{prefix}_{self.started.id.hex}{len(self.output):02x}"


def prefix(kind: str) -> str:
    """How the IDs of an item's type begin."""
    return PREFIXES.get(kind, "item")


def outcome(result: Result) -> tuple[str, str | None]:
    """The status of a response that came to its end, and why it is incomplete."""
    reason = INCOMPLETE.get(result.finish_reason or "")
    return ("incomplete", reason) if reason else ("completed", None)
