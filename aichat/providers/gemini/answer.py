"""Reads Gemini's answers: one object for a whole answer, many for a stream, all of one shape."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from aichat.providers.base import Delta, Finished
from aichat.providers.errors import AttemptOutcome, ProviderError, inside_stream
from aichat.providers.finish_reasons import finish_reason
from aichat.providers.gemini.request import SIGNATURE_FORMAT
from aichat.providers.gemini.usage import GEMINI
from aichat.providers.json import as_object, to_json
from aichat.providers.usage import UsageReport


class GeminiReader:
    """Reads one answer. Of several candidates the first is read; we never ask for more."""

    def __init__(self, report: UsageReport) -> None:
        self.report = report
        self.word: str | None = None  # the finish reason in Gemini's words
        self.calls = 0
        self.is_blank, self.is_whole, self.has_answer = True, False, False

    @property
    def is_over(self) -> bool:
        return self.word is not None

    def read_whole(self, answer: dict[str, Any]) -> list[Delta]:
        self.is_whole = True
        return list(self.read(answer))

    def read_event(self, event: bytes) -> list[Delta] | None:
        return None if event.strip() == b"[DONE]" else list(self.read(as_object(event)))

    def read(self, answer: dict[str, Any]) -> Iterator[Delta]:
        self.report.read(GEMINI, answer.get("usageMetadata"), answer.get("modelVersion"))
        if answer.get("error"):
            raise inside_stream(to_json(answer))
        if (answer.get("promptFeedback") or {}).get("blockReason"):
            self.word = "SAFETY"
        candidate = next((item for item in answer.get("candidates") or [] if item.get("index") in (0, None)), None)
        if candidate is None:
            return
        self.is_blank = False
        self.word = candidate.get("finishReason") or self.word
        for part in (candidate.get("content") or {}).get("parts") or []:
            delta = self.delta(part)
            if not delta.is_empty:
                self.has_answer = self.has_answer or delta.is_answer
                yield delta

    def delta(self, part: dict[str, Any]) -> Delta:
        signature = part.get("thoughtSignature")
        if part.get("thought"):
            return Delta(reasoning=str(part.get("text") or ""))
        if call := part.get("functionCall"):
            return Delta(tool_calls=(self.tool_call(call, signature),))
        if data := part.get("inlineData") or part.get("inline_data"):
            return Delta(images=self.images(data))
        text = str(part.get("text") or "")
        details: tuple[dict[str, Any], ...] = ()
        if signature and (text or self.has_answer):
            details = ({"type": "reasoning.encrypted", "format": SIGNATURE_FORMAT, "data": str(signature)},)
        return Delta(text, reasoning_details=details)

    def images(self, data: dict[str, Any]) -> tuple[str, ...]:
        kind = data.get("mimeType") or data.get("mime_type") or ""
        return (f"data:{kind};base64,{data['data']}",) if kind.startswith("image/") else ()

    def tool_call(self, call: dict[str, Any], signature: str | None) -> dict[str, Any]:
        arguments = to_json(call.get("args") or {}).decode()
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
        """How the answer ended. A whole body with an answer needs no reason. Raises `ProviderError` when no end was seen."""
        if self.word is None:
            if self.is_blank:
                return Finished("stop")  # a 200 with nothing in it
            if not (self.is_whole and self.has_answer):
                raise ProviderError(AttemptOutcome.BROKEN_STREAM, "the answer ended without a finish reason")
        reason, is_known = finish_reason(self.word)
        return Finished("tool_calls" if self.calls and reason == "stop" else reason, is_known=is_known)
