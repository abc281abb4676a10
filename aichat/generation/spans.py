"""The spans of a generation, in the words of `aichat/core/telemetry/gen_ai.py`.

A generation has a span; below it are the reservation, one span for each attempt, and the settlement. Texts are on a span
only with OTEL_CAPTURE_CONTENT.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from django.conf import settings

from aichat.catalog.models import AIModel
from aichat.catalog.snapshot import ModelInfo
from aichat.core.telemetry import gen_ai, spans
from aichat.generation.request import Ending, EventSink, Failed, Generate, GenerationRequest, Result
from aichat.providers.base import Usage

if TYPE_CHECKING:
    from aichat.generation.charging.settlement import Attempt
    from aichat.generation.images import ImageAttempt

REQUESTED = {  # OpenAI's names of parameters
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
}
LONGEST_CONTENT = 32_000  # characters of what OTEL_CAPTURE_CONTENT puts on a span


def around(generate: Generate) -> Generate:
    """`generate` within a span; to be called where spans are made."""

    async def generate_traced(request: GenerationRequest, sink: EventSink | None) -> Ending:
        asked = {"aichat.model.requested": request.model, "aichat.request_id": request.request_id}
        with spans.step("generation", asked) as span:
            ending = await generate(request, sink)
            if span is not None:
                span.set_attributes(told(ending.result))
                if isinstance(ending, Failed):
                    span.set_attribute("error.type", ending.error.code)
            return ending

    return generate_traced


def told(result: Result) -> dict[str, Any]:
    """What a generation's span says of its result; the charge is in microcredits."""
    return {
        "aichat.model": result.model,
        "aichat.provider": result.provider,
        "aichat.cache": result.cache,
        "aichat.fallback": result.fallback,
        "aichat.charged": result.charged,
        "aichat.usage.source": str(result.usage_source),
    }


@spans.harmless
def begin_attempt(model: ModelInfo, number: int, request: GenerationRequest) -> Any:
    """Begin the span of one candidate's turn in a request; to be called where spans are made."""
    return begin_turn(model, number, request.kind, request.request_id, asked_for(request))


@spans.harmless
def begin_turn(
    model: ModelInfo, number: int, kind: str, request_id: str, asked: Mapping[str, Any] | None = None
) -> Any:
    """Begin the span of one candidate's turn; None where no spans are made. `asked` are further attributes."""
    if not spans.enabled:
        return None
    operation, address = gen_ai.OPERATIONS.get(kind, kind), server(model.provider.endpoint.base_url)
    attributes: dict[str, Any] = {
        gen_ai.OPERATION: operation,
        gen_ai.PROVIDER: gen_ai.PROVIDERS.get(model.provider.kind, model.provider.slug),
        gen_ai.MODEL: model.upstream_name,
        "aichat.model": model.slug,
        "aichat.provider": model.provider.slug,
        "aichat.attempt": number,
        "aichat.request_id": request_id,
        **address,
        **(asked or {}),
    }
    if kind in gen_ai.OUTPUTS:
        attributes["gen_ai.output.type"] = gen_ai.OUTPUTS[kind]
    return spans.begin(f"{operation} {model.upstream_name}", attributes, kind="CLIENT")


def asked_for(request: GenerationRequest) -> dict[str, Any]:
    """The parameters of a chat, and its messages where they may be told; nothing of other calls."""
    if request.kind != AIModel.Kind.CHAT:
        return {}
    parameters = request.sampling
    found = {
        "gen_ai.request.stream": request.stream,
        "gen_ai.request.max_tokens": request.most_tokens,
        **{to: parameters[name] for name, to in REQUESTED.items() if is_sent(parameters.get(name))},
    }
    if settings.OTEL_CAPTURE_CONTENT:
        found["gen_ai.input.messages"] = content(request.messages)
    return found


def is_sent(value: Any) -> bool:
    """Whether a parameter is a number that OTLP has room for: a greater one would lose its whole batch of spans."""
    return isinstance(value, int | float) and abs(value) < 2**63


@spans.harmless
def end_attempt(attempt: "Attempt | ImageAttempt", result: Result | None = None) -> None:
    """End the span of a candidate's turn, if it is open. `result` is there when the turn gave the answer, or a part of it."""
    span, attempt.span = attempt.span, None
    if span is None:
        return
    found: dict[str, Any] = {"aichat.outcome": str(attempt.status)}
    if attempt.usage is not None:
        found |= figures(attempt.usage)
    if first := getattr(attempt, "first_token_at", None):
        found["gen_ai.response.time_to_first_chunk"] = first - attempt.started  # type: ignore[union-attr]
    if (report := getattr(attempt, "report", None)) and report.model:
        found["gen_ai.response.model"] = report.model
    if result is not None:
        found |= answered(result)
    spans.end(span, "" if attempt.status in gen_ai.FINE else str(attempt.status), found)


def answered(result: Result) -> dict[str, Any]:
    """How an answer ended, and its text where that may be told."""
    found: dict[str, Any] = {}
    if result.finish_reason:
        found["gen_ai.response.finish_reasons"] = [result.finish_reason]
    if settings.OTEL_CAPTURE_CONTENT:
        found["gen_ai.output.messages"] = content([{"role": "assistant", "content": result.text}])
    return found


def figures(usage: Usage) -> dict[str, int]:
    """The tokens that are billed; the details where there are any."""
    details = {
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "aichat.usage.images": usage.images,
        "aichat.usage.characters": usage.characters,
        "aichat.usage.audio_ms": usage.audio_ms,
    }
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        **{name: count for name, count in details.items() if count},
    }


@lru_cache
def server(base_url: str) -> Mapping[str, Any]:
    """The attributes that name a provider's server; none for the demo's, which has no address."""
    parts = urlsplit(base_url)
    if not parts.hostname:
        return {}
    return {"server.address": parts.hostname, "server.port": parts.port or (80 if parts.scheme == "http" else 443)}


def content(messages: Sequence[Mapping[str, Any]]) -> str:
    """Chat messages as the conventions' JSON: texts, and of other parts their type; what is too long is cut off."""
    told = [{"role": str(message.get("role")), "parts": [*parts(message.get("content"))]} for message in messages]
    return orjson.dumps(told).decode()[:LONGEST_CONTENT]


def parts(found: Any) -> Sequence[dict[str, Any]]:
    if isinstance(found, str):
        return [{"type": "text", "content": found}]
    return [
        {"type": "text", "content": part.get("text", "")} if part.get("type") == "text" else {"type": part.get("type")}
        for part in found or ()
        if isinstance(part, dict)
    ]
