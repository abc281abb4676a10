"""The words of OpenTelemetry's conventions for generative AI, for spans and metrics alike.

The names are of version 1.42 (status: development), from https://github.com/open-telemetry/semantic-conventions-genai:
`docs/gen-ai/gen-ai-spans.md` and `gen-ai-metrics.md`. Prometheus writes them with `_` for `.`.
"""

from collections.abc import Iterator

from aichat.core.telemetry.measurements import AttemptEnded

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


def names(item: AttemptEnded) -> tuple[str, str, str]:
    """The operation, the provider and the model of an attempt."""
    return OPERATIONS.get(item.kind, item.kind), PROVIDERS.get(item.provider, item.provider), item.model


def error_type(item: AttemptEnded) -> str:
    """How the attempt failed; empty when it did not."""
    return "" if item.outcome in FINE else str(item.outcome)


def tokens(item: AttemptEnded) -> Iterator[tuple[str, int]]:
    """The tokens that are billed, with their type (`input`, `output`)."""
    for kind, count in (("input", item.input_tokens), ("output", item.output_tokens)):
        if count:
            yield kind, count
