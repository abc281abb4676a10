"""The response headers of generated answers: model, provider, cost, cache."""

import re
from collections.abc import Iterable

from aichat.core.money import format_credits
from aichat.generation.request import Completed, GenerationEvent, Result, Started

# Parameters are named by the client: a name that could break a header, or one of a thousand, is not repeated.
HEADER_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MOST_NAMES = 32


def answer_headers(result: Result) -> dict[str, str]:
    low = {"X-Credits-Low": "true"} if result.credits_low else {}
    return {**model_headers(result), "X-Credits-Charged": format_credits(result.charged), **low}


def model_headers(result: Result) -> dict[str, str]:
    capped = {"X-Max-Tokens-Capped": str(result.max_tokens_capped)} if result.max_tokens_capped else {}
    age = {"Age": str(result.age)} if result.cached else {}
    dropped = dropped_header(result.dropped_parameters) if result.dropped_parameters else {}
    return {"X-Cache": result.cache, **age, "X-Provider": result.provider, "X-Model": result.model, **capped, **dropped}


def dropped_header(names: Iterable[str]) -> dict[str, str]:
    """The header that names parts of the request which the model that serves does not get; none when it gets all."""
    left_out = [name for name in names if HEADER_SAFE.fullmatch(name)][:MOST_NAMES]
    return {"X-Dropped-Parameters": ", ".join(left_out)} if left_out else {}


def stream_headers(event: GenerationEvent) -> dict[str, str]:
    """The headers of a stream, which name the model and provider; the charge comes with the last event."""
    return model_headers(event.result) if isinstance(event, Started | Completed) else {}
