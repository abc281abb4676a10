"""Headers that every generated answer carries: model, provider, cost, cache."""

from aichat.core.money import format_credits
from aichat.generation.request import Completed, GenerationEvent, Result, Started


def answer_headers(result: Result) -> dict[str, str]:
    low = {"X-Credits-Low": "true"} if result.credits_low else {}
    return {**model_headers(result), "X-Credits-Charged": format_credits(result.charged), **low}


def model_headers(result: Result) -> dict[str, str]:
    capped = {"X-Max-Tokens-Capped": str(result.max_tokens_capped)} if result.max_tokens_capped else {}
    age = {"Age": str(result.age)} if result.cached else {}
    return {"X-Cache": result.cache, **age, "X-Provider": result.provider, "X-Model": result.model, **capped}


def stream_headers(event: GenerationEvent) -> dict[str, str]:
    """What is known when a stream begins: who serves it; the charge comes with its last event."""
    return model_headers(event.result) if isinstance(event, Started | Completed) else {}
