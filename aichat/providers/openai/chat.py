"""OpenAI's chat completions, spoken directly: https://platform.openai.com/docs/api-reference/chat"""

from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import orjson

from aichat.providers import http
from aichat.providers.base import Accepted, ChatRequest, Delta, Endpoint, Finished, FinishReason, PartSink
from aichat.providers.errors import AttemptOutcome, ProviderError, inside_stream
from aichat.providers.usage import OPENAI, UsageReport

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# Passed on when given. Anything else stays here: an unknown parameter is a 400 at OpenAI, and one that chooses another
# model, tier or paid tool (`models`, `service_tier`, `web_search_options`) would be billed to us at another price.
PARAMETERS = {
    "frequency_penalty", "logit_bias", "metadata", "parallel_tool_calls", "presence_penalty", "prompt_cache_key",
    "reasoning_effort", "response_format", "safety_identifier", "seed", "stop", "store", "temperature", "tool_choice",
    "tools", "top_p", "user", "verbosity",
}  # fmt: skip
SAMPLING = {"chat_template_kwargs", "min_p", "repetition_penalty", "top_k"}
MOST_TOOL_CALLS = 128


class OpenAIChat:
    """For OpenAI itself, whose newer models know only `max_completion_tokens`."""

    max_tokens_name = "max_completion_tokens"
    parameters = PARAMETERS
    system_role = "developer"

    async def chat(self, request: ChatRequest, endpoint: Endpoint, sink: PartSink) -> Finished:
        async def read(response: aiohttp.ClientResponse) -> Finished:
            await sink(Accepted())
            if request.stream:
                reader = Reader(self, request.report)
                await http.read_deltas(response, reader.read, sink)
                return reader.finished()
            delta, finished = await http.read_json(response, lambda answer: self.whole(answer, request.report))
            if delta:
                await sink(delta)
            return finished

        headers = {"X-Request-ID": request.request_id, "X-Client-Request-Id": request.request_id}
        if endpoint.bearer and endpoint.api_key:
            headers["Authorization"] = f"Bearer {endpoint.api_key}"
        return await http.post(endpoint.url("/chat/completions"), self.body(request), headers, endpoint, read)

    def unsupported(
        self, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], endpoint: Endpoint
    ) -> str | None:
        return None

    def body(self, request: ChatRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [self.message(message) for message in request.messages],
            self.max_tokens_name: request.max_tokens,
            **{name: value for name, value in request.parameters.items() if name in self.parameters},
        }
        if request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def message(self, message: dict[str, Any]) -> dict[str, Any]:
        """Without what only another provider understands (Gemini's thought signatures)."""
        if any("extra_content" in call for call in message.get("tool_calls") or ()):
            calls = [{name: call[name] for name in call if name != "extra_content"} for call in message["tool_calls"]]
            return {**message, "tool_calls": calls}
        return message

    def whole(self, answer: dict[str, Any], report: UsageReport) -> tuple[Delta | None, Finished]:
        read_usage(answer, report)
        if answer.get("error"):
            raise inside_stream(orjson.dumps(answer))
        if not answer.get("choices"):
            return None, Finished("stop")
        choice = answer["choices"][0]
        finished = Finished(self.reason(choice.get("finish_reason")))
        return self.delta(choice.get("message") or {}), finished

    def delta(self, message: dict[str, Any]) -> Delta | None:
        text = message.get("content") or message.get("refusal") or ""
        calls = tuple(tool_call(call, position) for position, call in enumerate(message.get("tool_calls") or ()))
        if text or calls:
            return Delta(str(text), calls)
        if message.get("reasoning_content") or message.get("reasoning"):
            return Delta()
        return None

    def reason(self, value: Any) -> FinishReason:
        if not isinstance(value, str):
            raise ProviderError(AttemptOutcome.BROKEN_STREAM, "an answer without a finish reason")
        if value == "error":
            raise ProviderError(AttemptOutcome.OVERLOADED, "the provider gave up")
        return FINISH_REASONS.get(value, "stop")  # compatible servers have words of their own for a natural end


class Reader:
    """Reads the chunks of one stream."""

    def __init__(self, form: OpenAIChat, report: UsageReport) -> None:
        self.form, self.report = form, report
        self.reason: FinishReason | None = None
        self.is_blank = True

    def read(self, event: bytes) -> list[Delta] | None:
        if event == b"[DONE]":
            return None
        chunk, self.is_blank = http.as_object(event), False
        read_usage(chunk, self.report)
        if chunk.get("error"):
            raise inside_stream(event)
        deltas = []
        for choice in chunk.get("choices") or []:
            if delta := self.form.delta(choice.get("delta") or {}):
                deltas.append(delta)
            if choice.get("finish_reason"):
                self.reason = self.form.reason(choice["finish_reason"])
        return deltas

    def finished(self) -> Finished:
        """The end. Raises `ProviderError` when none was seen."""
        if self.is_blank:
            raise ProviderError(AttemptOutcome.EMPTY, "a stream with nothing in it")
        if self.reason is None:
            raise ProviderError(AttemptOutcome.BROKEN_STREAM, "the stream ended without a finish reason")
        return Finished(self.reason)


class CompatibleChat(OpenAIChat):
    """For servers that speak OpenAI's format (Ollama, vLLM, OpenRouter, Azure …), mostly its older vocabulary."""

    max_tokens_name = "max_tokens"
    parameters = PARAMETERS - {"metadata", "prompt_cache_key", "safety_identifier", "store", "verbosity"} | SAMPLING

    def message(self, message: dict[str, Any]) -> dict[str, Any]:
        message = super().message(message)
        return {**message, "role": "system"} if message["role"] == "developer" else message


def read_usage(answer: Mapping[str, Any], report: UsageReport) -> None:
    """Read the usage of an answer or chunk into `report`, from the places where servers of this format put it.

    Groq's streams carry it in `x_groq` (https://console.groq.com/docs/api-reference), Moonshot's in the last choice
    (https://platform.moonshot.ai/docs/api/chat).
    """
    if isinstance(answer.get("usage"), dict):
        report.read(OPENAI, answer["usage"])
        return
    if isinstance(groq := answer.get("x_groq"), dict):
        report.read(OPENAI, groq.get("usage"))
    choices = answer.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict) and "usage" in choices[0]:
        report.read(OPENAI, choices[0]["usage"])


def tool_call(call: dict[str, Any], position: int) -> dict[str, Any]:
    """A tool call delta with its index made sure: deltas with the same index are pieces of one call."""
    index = call.get("index", position)
    if not isinstance(index, int) or not 0 <= index < MOST_TOOL_CALLS:
        raise ProviderError(AttemptOutcome.MALFORMED, "a tool call without a usable index")
    return {**call, "index": index}
