"""The words providers end an answer with, and which of OpenAI's four words each of them means.

Words are compared without regard to case, and with `-` and spaces as `_`. An answer that ends with a word of no table is
served, because the provider says that it is over, but not kept for others, because nobody knows why it ended.
"""

from typing import Any

from aichat.providers.base import FinishReason
from aichat.providers.errors import AttemptOutcome, ProviderError

STOP = {"stop", "end_turn", "eos", "eos_token", "stop_sequence", "complete", "completed", "finish_reason_stop"}
LENGTH = {
    "length", "max_tokens", "max_output_tokens", "max_length", "model_length", "model_context_window_exceeded",
    "context_length_exceeded", "token_limit", "finish_reason_max_tokens",
}  # fmt: skip
TOOL_CALLS = {"tool_calls", "tool_call", "tool_use", "function_call", "function_calls"}
# Gemini's: https://ai.google.dev/api/generate-content#FinishReason; `sensitive` is Zhipu's, `refusal` Anthropic's.
CONTENT_FILTER = {
    "content_filter", "content_filtered", "safety", "recitation", "language", "blocklist", "prohibited_content", "spii",
    "model_armor", "image_safety", "image_prohibited_content", "image_recitation", "sensitive", "refusal",
    "guardrail_intervened",
}  # fmt: skip
# The model wrote a call that its server could not read. Another try or another candidate may do better.
GARBLED = {
    "malformed_function_call", "malformed_response", "unexpected_tool_call", "too_many_tool_calls",
    "missing_thought_signature",
}  # fmt: skip
GAVE_UP = {"error", "network_error"}
MEANING: dict[str, FinishReason] = {
    **dict.fromkeys(STOP, "stop"),
    **dict.fromkeys(LENGTH, "length"),
    **dict.fromkeys(TOOL_CALLS, "tool_calls"),
    **dict.fromkeys(CONTENT_FILTER, "content_filter"),
}


def finish_reason(word: Any) -> tuple[FinishReason, bool]:
    """What a provider's word means, and whether that is known. Raises `ProviderError` for a word of failure."""
    plain = str(word).strip().lower().replace("-", "_").replace(" ", "_")
    if plain in GARBLED:
        raise ProviderError(AttemptOutcome.MALFORMED, f"finish reason {plain}")
    if plain in GAVE_UP:
        raise ProviderError(AttemptOutcome.OVERLOADED, "the provider gave up")
    meaning = MEANING.get(plain)
    return meaning or "stop", meaning is not None
