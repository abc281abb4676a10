"""The response headers of generated answers: model, provider, cost, cache."""

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
    """The headers of a stream, which name the model and provider; the charge comes with the last event."""
    return model_headers(event.result) if isinstance(event, Started | Completed) else {}
