"""The words of OpenTelemetry's conventions for generative AI, for spans and metrics alike.

The names are of version 1.42 (status: development), from https://github.com/open-telemetry/semantic-conventions-genai:
`docs/gen-ai/gen-ai-spans.md` and `gen-ai-metrics.md`. Prometheus writes them with `_` for `.`.
"""

from functools import lru_cache

OPERATIONS = {  # by a model's kind; the last two are words of our own: the conventions have none
    "chat": "chat",
    "embedding": "embeddings",
    "image": "generate_content",
    "speech": "generate_content",
    "transcription": "transcription",
    "moderation": "moderation",
}
OUTPUTS = {"chat": "text", "image": "image", "speech": "speech", "transcription": "text"}
PROVIDERS = {"openai": "openai", "gemini": "gcp.gemini", "anthropic": "anthropic"}  # by kind; others by their slug
FINE = {"ok", "cancelled"}  # outcomes of attempts that are no error

OPERATION, PROVIDER, MODEL = "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"
TOKEN_TYPE, ERROR = "gen_ai.token.type", "error.type"
DURATION = "gen_ai.client.operation.duration"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
TOKENS = "gen_ai.client.token.usage"
TOKEN_BUCKETS = [4**power for power in range(14)]
SECOND_BUCKETS = [0.01 * 2**power for power in range(14)]


@lru_cache(maxsize=4096)
def names(kind: str, provider: str, model: str) -> tuple[str, str, str]:
    """The operation, the provider and the model of an attempt at a model of `kind`."""
    return OPERATIONS.get(kind, kind), PROVIDERS.get(provider, provider), model


@lru_cache
def error_type(outcome: str) -> str:
    """How an attempt with this outcome failed; empty when it did not."""
    return "" if outcome in FINE else str(outcome)
