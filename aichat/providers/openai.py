"""OpenAI's chat completions, spoken directly: https://platform.openai.com/docs/api-reference/chat"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from aichat.providers import wire
from aichat.providers.base import Accepted, ChatRequest, Delta, Endpoint, Finished, FinishReason, Part, Usage
from aichat.providers.errors import Outcome, ProviderError

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class OpenAIChat:
    """For OpenAI itself, whose newer models know only `max_completion_tokens`."""

    max_tokens_name = "max_completion_tokens"

    async def chat(self, request: ChatRequest, endpoint: Endpoint) -> AsyncGenerator[Part, None]:
        url = f"{endpoint.base_url}/chat/completions"
        headers = {"Authorization": f"Bearer {endpoint.api_key}", "X-Request-ID": request.request_id}
        async with wire.post(url, self.body(request), headers, endpoint) as response:
            yield Accepted()
            if request.stream:
                async with aclosing(self.streamed(wire.read_events(response))) as parts:
                    async for part in parts:
                        yield part
            else:
                for part in self.whole(await wire.read_json(response)):
                    yield part

    def body(self, request: ChatRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model,
            "messages": request.messages,
            self.max_tokens_name: request.max_tokens,
            **request.parameters,
        }
        if request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def whole(self, answer: dict[str, Any]) -> list[Part]:
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise ProviderError(Outcome.EMPTY, "an answer without choices")
        message = choices[0].get("message") or {}
        parts: list[Part] = []
        if delta := self.delta(message):
            parts.append(delta)
        parts.append(Finished(self.reason(choices[0].get("finish_reason")), self.usage(answer.get("usage"))))
        return parts

    async def streamed(self, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[Part, None]:
        reason: FinishReason | None = None
        usage: Usage | None = None
        async with aclosing(events):
            async for event in events:
                if event == b"[DONE]":
                    break
                chunk = wire.as_object(event)
                if "error" in chunk:
                    raise ProviderError(Outcome.OVERLOADED, wire.error_message(event))
                usage = self.usage(chunk.get("usage")) or usage
                for choice in chunk.get("choices") or []:
                    if delta := self.delta(choice.get("delta") or {}):
                        yield delta
                    if choice.get("finish_reason"):
                        reason = self.reason(choice["finish_reason"])
        if reason is None:
            raise ProviderError(Outcome.BROKEN_STREAM, "the stream ended without a finish reason")
        yield Finished(reason, usage)

    def delta(self, message: dict[str, Any]) -> Delta | None:
        text = message.get("content") or message.get("refusal") or ""
        calls = tuple(message.get("tool_calls") or ())
        return Delta(text, calls) if text or calls else None

    def reason(self, value: Any) -> FinishReason:
        if not isinstance(value, str):
            raise ProviderError(Outcome.BROKEN_STREAM, "an answer without a finish reason")
        return FINISH_REASONS.get(value, "stop")  # compatible servers have words of their own for a natural end

    def usage(self, usage: Any) -> Usage | None:
        if not isinstance(usage, dict):
            return None
        try:
            return Usage(
                input_tokens=int(usage["prompt_tokens"]),
                output_tokens=int(usage["completion_tokens"]),
                cached_input_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
                reasoning_tokens=int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0),
            )
        except (KeyError, TypeError, ValueError):
            return None
