"""Reads responses, whole or streamed: https://platform.openai.com/docs/api-reference/responses-streaming"""

from collections.abc import Mapping
from typing import Any

from aichat.providers.base import Delta, Finished, FinishReason
from aichat.providers.errors import AttemptOutcome, ProviderError, inside_stream
from aichat.providers.json import as_object, to_json
from aichat.providers.openai.answer import CompletionReader
from aichat.providers.response_items import details_of, flat_name
from aichat.providers.usage import OPENAI, UsageReport

REASONS: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
# The members of an item of each type, for those that its server left out.
USUAL: dict[str, dict[str, Any]] = {
    "reasoning": {"summary": []},
    "function_call": {"arguments": "{}"},
    "custom_tool_call": {"input": ""},
}
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
ENDS = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
PARAGRAPH = "\n\n"


class ResponseReader:
    """Reads one answer. With `in_dialect` each item goes on as it ended, for a client that speaks this dialect.

    A chat completion is read as one, because some servers answer with one whatever they are asked for.
    """

    def __init__(self, report: UsageReport, *, in_dialect: bool) -> None:
        self.report, self.in_dialect = report, in_dialect
        self.reason: FinishReason | None = None
        self.is_known, self.is_blank = True, True
        self.calls: dict[int, int] = {}  # the index of an item to that of its tool call
        self.told: set[int] = set()  # the items of which a text, summary, argument or input has come
        self.ended: set[int] = set()
        self.completion: CompletionReader | None = None

    @property
    def is_over(self) -> bool:
        return self.reason is not None or (self.completion is not None and self.completion.is_over)

    def read_whole(self, answer: dict[str, Any]) -> list[Delta]:
        if "choices" in answer:
            self.completion = CompletionReader(self.report)
            return self.completion.read_whole(answer)
        if answer.get("error") and not answer.get("output"):
            raise inside_stream(to_json(answer))
        deltas = self.untold(answer)
        self.close(answer)
        return deltas

    def read_event(self, event: bytes) -> list[Delta] | None:
        if event.strip() == b"[DONE]":
            return None
        facts = as_object(event)
        if "choices" in facts or self.completion:
            self.completion = self.completion or CompletionReader(self.report)
            return self.completion.read_event(event)
        kind = facts.get("type")
        if kind in ENDS:
            self.close(facts["response"])
            return self.untold(facts["response"]) or [Delta()]
        if kind == "error" or facts.get("error"):
            raise inside_stream(to_json(facts if facts.get("error") else {"error": facts}))
        self.is_blank = False
        return self.read(str(kind), facts) or [Delta()]  # at least a sign of life

    def read(self, kind: str, facts: Mapping[str, Any]) -> list[Delta]:
        index = facts.get("output_index") or 0
        match kind:
            case "response.output_item.added":
                return self.begin(index, facts["item"])
            case "response.output_item.done":
                return self.end(index, facts["item"])
            case "response.output_text.delta":
                logprobs = facts.get("logprobs")
                return self.tell(
                    index, Delta(str(facts["delta"]), logprobs={"content": logprobs} if logprobs else None)
                )
            case "response.refusal.delta":
                return self.tell(index, Delta(str(facts["delta"])))
            case "response.reasoning_summary_part.added" if index in self.told:
                return self.tell(index, Delta(reasoning=PARAGRAPH))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                return self.tell(index, Delta(reasoning=str(facts["delta"])))
            case "response.function_call_arguments.delta":
                return self.argue(index, "function_call", str(facts["delta"]))
            case "response.custom_tool_call_input.delta":
                return self.argue(index, "custom_tool_call", str(facts["delta"]))
            case _:
                return []

    def tell(self, index: int, delta: Delta) -> list[Delta]:
        if delta.is_empty:
            return []
        self.told.add(index)
        return [delta]

    def argue(self, index: int, kind: str, text: str) -> list[Delta]:
        """A piece of a call's arguments or input."""
        if index not in self.calls or not text:
            return []
        place = {"index": self.calls[index]}
        if kind == "custom_tool_call":
            return self.tell(index, Delta(tool_calls=({**place, "custom": {"input": text}},)))
        return self.tell(index, Delta(tool_calls=({**place, "function": {"arguments": text}},)))

    # --- Items --------------------------------------------------------------------------------------------------------

    def begin(self, index: int, item: Mapping[str, Any]) -> list[Delta]:
        kind = item.get("type")
        if kind not in CALLS or index in self.calls:
            return []
        self.calls[index] = len(self.calls)
        name = flat_name(str(item.get("name") or ""), str(item.get("namespace") or ""))
        call: dict[str, Any] = {"index": self.calls[index], "id": call_id(item)}
        if kind == "custom_tool_call":
            call |= {"type": "custom", "custom": {"name": name, "input": ""}}
        else:
            call |= {"type": "function", "function": {"name": name, "arguments": ""}}
        return [Delta(tool_calls=(call,))]

    def end(self, index: int, item: Mapping[str, Any]) -> list[Delta]:
        """The deltas for what an ended item has and no piece has told; in the dialect also the item itself."""
        self.is_blank = False
        self.ended.add(index)
        kind = str(item.get("type"))
        deltas = self.begin(index, item)  # nothing, unless the server left out the event of its beginning
        is_told = index in self.told
        if kind in CALLS and not is_told:
            deltas += self.argue(index, kind, str(item.get(CALLS[kind]) or ""))
        elif kind == "message" and not is_told:
            deltas += [delta for part in item.get("content") or () for delta in self.tell(index, part_delta(part))]
        elif kind == "reasoning":
            if not is_told:
                texts = [*(item.get("summary") or ()), *(item.get("content") or ())]
                thought = PARAGRAPH.join(str(part.get("text") or "") for part in texts)
                deltas += self.tell(index, Delta(reasoning=thought))
            if details := details_of(item):
                deltas.append(Delta(reasoning_details=details))
        is_begun = kind != "message" or index in self.told  # an empty message is no beginning of an answer
        if self.in_dialect and is_begun and (whole := whole_item(item)):
            deltas.append(Delta(items=(whole,)))
        return deltas

    def untold(self, response: Mapping[str, Any]) -> list[Delta]:
        """The deltas for the items of a response that no event has ended: all of them in a whole answer."""
        output = enumerate(response.get("output") or ())
        return [delta for index, item in output if index not in self.ended for delta in self.end(index, item)]

    # --- The end ------------------------------------------------------------------------------------------------------

    def close(self, response: Mapping[str, Any]) -> None:
        """Read the end: usage, status, and why it is incomplete. Raises `ProviderError` for a failed response."""
        self.report.read(OPENAI, response.get("usage"), response.get("model"))
        if response.get("error") or response.get("status") in {"failed", "cancelled"}:
            raise inside_stream(to_json({"error": response.get("error") or {"message": "the response failed"}}))
        status = response.get("status")
        self.is_blank = self.is_blank and status is None
        reason = (response.get("incomplete_details") or {}).get("reason")
        if status == "incomplete":
            self.is_known = reason in REASONS
            self.reason = REASONS.get(str(reason), "length")
        elif status == "completed" or self.told or self.calls:
            self.is_known = status == "completed"
            self.reason = "tool_calls" if self.calls else "stop"

    def finished(self) -> Finished:
        """How the answer ended. Raises `ProviderError` when no end was seen."""
        if self.completion is not None:
            return self.completion.finished()
        if self.reason is not None:
            return Finished(self.reason, is_known=self.is_known)
        if self.is_blank:
            raise ProviderError(AttemptOutcome.EMPTY, "an answer with nothing in it")
        raise ProviderError(AttemptOutcome.BROKEN_STREAM, "the answer ended without its last event")


def whole_item(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """An item with the members that clients rely on; None for what is none, or for a message without its content."""
    kind = item.get("type")
    if not isinstance(kind, str) or (kind == "message" and not isinstance(item.get("content"), list)):
        return None
    found = {**USUAL.get(kind, {}), **{name: value for name, value in item.items() if value is not None}}
    if kind in CALLS:
        found["call_id"] = call_id(item)
    return found


def call_id(item: Mapping[str, Any]) -> str:
    return str(item.get("call_id") or item.get("id") or "")


def part_delta(part: Mapping[str, Any]) -> Delta:
    logprobs = part.get("logprobs")
    text = str(part.get("text") or part.get("refusal") or "")
    return Delta(text, logprobs={"content": logprobs} if logprobs else None)
