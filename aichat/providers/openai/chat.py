"""OpenAI's chat completions, spoken directly: https://platform.openai.com/docs/api-reference/chat"""

from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import orjson

from aichat.providers import http
from aichat.providers.base import Accepted, ChatRequest, Delta, Endpoint, Finished, FinishReason, PartSink, Usage
from aichat.providers.errors import AttemptOutcome, ProviderError, inside_stream

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
                reader = Reader(self)
                await http.read_deltas(response, reader.read, sink)
                return reader.finished()
            delta, finished = await http.read_json(response, self.whole)
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

    def whole(self, answer: dict[str, Any]) -> tuple[Delta | None, Finished]:
        if answer.get("error"):
            raise inside_stream(orjson.dumps(answer))
        usage = self.usage(answer.get("usage"))
        if not answer.get("choices"):
            return None, Finished("stop", usage)
        choice = answer["choices"][0]
        finished = Finished(self.reason(choice.get("finish_reason")), usage)
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

    def usage(self, usage: Any) -> Usage | None:
        if not isinstance(usage, dict):
            return None
        prompt = usage.get("prompt_tokens_details") or {}
        try:
            return Usage(
                input_tokens=count(usage["prompt_tokens"]),
                output_tokens=count(usage.get("completion_tokens")),
                cached_input_tokens=count(prompt.get("cached_tokens")),
                reasoning_tokens=count((usage.get("completion_tokens_details") or {}).get("reasoning_tokens")),
                cache_write_tokens=count(prompt.get("cache_write_tokens")),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None  # nothing reported that could be billed: it is estimated


class Reader:
    """Reads the chunks of one stream."""

    def __init__(self, form: OpenAIChat) -> None:
        self.form = form
        self.reason: FinishReason | None = None
        self.usage: Usage | None = None
        self.is_blank = True

    def read(self, event: bytes) -> list[Delta] | None:
        if event == b"[DONE]":
            return None
        chunk, self.is_blank = http.as_object(event), False
        if chunk.get("error"):
            raise inside_stream(event)
        self.usage = self.form.usage(chunk.get("usage")) or self.usage
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
        return Finished(self.reason, self.usage)


class CompatibleChat(OpenAIChat):
    """For servers that speak OpenAI's format (Ollama, vLLM, OpenRouter, Azure …), mostly its older vocabulary."""

    max_tokens_name = "max_tokens"
    parameters = PARAMETERS - {"metadata", "prompt_cache_key", "safety_identifier", "store", "verbosity"} | SAMPLING

    def message(self, message: dict[str, Any]) -> dict[str, Any]:
        message = super().message(message)
        return {**message, "role": "system"} if message["role"] == "developer" else message


def count(value: Any) -> int:
    """A number of tokens; a negative one would pay the user. Raises `ValueError`."""
    found = int(value or 0)
    if found < 0:
        raise ValueError(value)
    return found


def tool_call(call: dict[str, Any], position: int) -> dict[str, Any]:
    """A tool call delta with its index made sure: deltas with the same index are pieces of one call."""
    index = call.get("index", position)
    if not isinstance(index, int) or not 0 <= index < MOST_TOOL_CALLS:
        raise ProviderError(AttemptOutcome.MALFORMED, "a tool call without a usable index")
    return {**call, "index": index}
