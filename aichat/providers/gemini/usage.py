"""Where Gemini reports the tokens of an answer."""

from aichat.providers.usage import UsageFormat

# Gemini: thoughts and the prompts of tool use are counted beside candidates and prompt; cached content is part of the
# prompt. https://ai.google.dev/api/generate-content#UsageMetadata (the total is the sum of all four).
GEMINI = UsageFormat(
    paths={
        "input": ("promptTokenCount", "prompt_token_count"),
        "output": ("candidatesTokenCount", "responseTokenCount", "candidates_token_count"),
        "cached": ("cachedContentTokenCount", "cached_content_token_count"),
        "reasoning": ("thoughtsTokenCount", "thoughts_token_count"),
        "tools": ("toolUsePromptTokenCount", "tool_use_prompt_token_count"),
        "total": ("totalTokenCount", "total_token_count"),
    },
    beside=frozenset({"reasoning", "tools"}),
)
