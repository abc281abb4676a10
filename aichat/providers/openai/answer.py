"""Reads chat completions, whole or streamed: https://platform.openai.com/docs/api-reference/chat/object"""

from collections.abc import Mapping
from typing import Any

from aichat.providers.base import Delta, Finished, FinishReason
from aichat.providers.errors import AttemptOutcome, ProviderError, inside_stream
from aichat.providers.finish_reasons import finish_reason
from aichat.providers.json import as_object, to_json, writable
from aichat.providers.openai.reading import (
    REASONING_NAMES,
    SurrogateJoiner,
    ToolCallReader,
    image_addresses,
    objects,
    read_content,
    read_reasoning,
    without_halves,
)
from aichat.providers.usage import OPENAI, UsageReport

# The members of a message that are read beside its text. Most tokens come without any of them.
BESIDE_TEXT = ("tool_calls", "function_call", *REASONING_NAMES, "reasoning_details", "images", "annotations")


class CompletionReader:
    """Reads one answer. Of several choices the first is read; we never ask for more."""

    def __init__(self, report: UsageReport) -> None:
        self.report = report
        self.reason: FinishReason | None = None
        self.is_known = True
        self.is_blank, self.is_whole, self.has_answer = True, False, False
        self.calls = ToolCallReader()
        self.text, self.thoughts = SurrogateJoiner(), SurrogateJoiner()

    @property
    def is_over(self) -> bool:
        return self.reason is not None

    def read_whole(self, answer: dict[str, Any]) -> list[Delta]:
        self.is_whole = True
        deltas = self.read(answer)
        last = Delta(self.text.rest(), reasoning=self.thoughts.rest())
        return deltas if last.is_empty else [*deltas, last]

    def read_event(self, event: bytes) -> list[Delta] | None:
        if event.strip() == b"[DONE]":
            return None
        return self.read(as_object(event))

    def read(self, answer: dict[str, Any]) -> list[Delta]:
        """The delta of an object, if it has one. Runs for every token of a stream."""
        read_usage(answer, self.report)
        if answer.get("error"):
            raise inside_stream(to_json(answer))
        choice = first_choice(answer)
        if choice is None:
            return []
        self.is_blank = False
        message = choice.get("delta") or choice.get("message") or {}
        delta = self.delta(message, choice)
        if choice.get("finish_reason"):
            self.reason, self.is_known = finish_reason(choice["finish_reason"])
        if delta.is_empty:
            return []
        self.has_answer = self.has_answer or delta.is_answer
        return [delta]

    def delta(self, message: Mapping[str, Any], choice: Mapping[str, Any]) -> Delta:
        text = message.get("content")
        if isinstance(text, str) and text and not (choice.get("logprobs") or any(map(message.get, BESIDE_TEXT))):
            return Delta(self.text.join(text))
        return without_halves(self.rich_delta(message, choice), self.text, self.thoughts)

    def rich_delta(self, message: Mapping[str, Any], choice: Mapping[str, Any]) -> Delta:
        """The delta of a message that may have anything in it."""
        content = read_content(message.get("content"))
        logprobs = choice.get("logprobs")
        return Delta(
            content.text or read_content(message.get("refusal")).text,
            self.calls.read(message, is_whole=self.is_whole),
            read_reasoning(message) or content.reasoning,
            objects(message.get("reasoning_details")),
            tuple(content.images + image_addresses(message.get("images"))),
            objects(message.get("annotations")),
            writable(logprobs) if isinstance(logprobs, dict) else None,
        )

    def finished(self) -> Finished:
        """How the answer ended. A whole body with an answer needs no reason. Raises `ProviderError` when no end was seen."""
        if self.reason is not None:
            return Finished(self.reason, is_known=self.is_known)
        if self.is_whole and self.has_answer:
            return Finished("tool_calls" if self.calls.calls else "stop", is_known=False)
        if self.is_blank:
            raise ProviderError(AttemptOutcome.EMPTY, "an answer with nothing in it")
        raise ProviderError(AttemptOutcome.BROKEN_STREAM, "the answer ended without a finish reason")


def first_choice(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """The choice of index 0, or the only one of servers that do not number them."""
    for choice in answer.get("choices") or ():
        if choice.get("index") in (0, None, "0"):
            found: dict[str, Any] = choice
            return found
    return None


def read_usage(answer: Mapping[str, Any], report: UsageReport) -> None:
    """Read the usage of an answer or chunk into `report`, from the places where servers of this format put it.

    Groq's streams carry it in `x_groq` (https://console.groq.com/docs/api-reference), Moonshot's in the last choice
    (https://platform.moonshot.ai/docs/api/chat).
    """
    if isinstance(usage := answer.get("usage"), dict):
        report.read(OPENAI, usage, answer.get("model"))
        return
    if "x_groq" in answer and isinstance(groq := answer["x_groq"], dict):
        report.read(OPENAI, groq.get("usage"), answer.get("model"))
    choices = answer.get("choices")
    if choices and "usage" in choices[0]:
        report.read(OPENAI, choices[0]["usage"], answer.get("model"))
