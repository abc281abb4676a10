"""Where Anthropic reports the tokens of an answer."""

from aichat.providers.usage import UsageFormat

# Tokens read from the prompt cache or written to it are counted beside `input_tokens`; tokens written for an hour are part of
# those written; thinking is part of `output_tokens`. https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance
# In a stream `message_start` has the input, and the counts of `message_delta` are cumulative:
# https://platform.claude.com/docs/en/build-with-claude/streaming
ANTHROPIC = UsageFormat(
    paths={
        "input": ("input_tokens",),
        "output": ("output_tokens",),
        "cached": ("cache_read_input_tokens",),
        "written": ("cache_creation_input_tokens",),
        "written_1h": ("cache_creation.ephemeral_1h_input_tokens",),
        "reasoning": ("output_tokens_details.thinking_tokens",),
    },
    beside=frozenset({"cached", "written"}),
)
