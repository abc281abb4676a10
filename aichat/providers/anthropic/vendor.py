"""The facts about Anthropic: https://platform.claude.com/docs/en/about-claude/models/overview, as of November 2026."""

from aichat.providers.vendor import CHAT, MODEL_LIST, DefaultModel, Vendor

IMAGE_TOKENS = 4_800

VENDORS = (
    Vendor(
        kind="anthropic",
        name="Anthropic",
        key_setting="ANTHROPIC_API_KEY",
        base_url_setting="ANTHROPIC_BASE_URL",
        price_library="anthropic",
        auto_position=30,
        adapters={
            CHAT: "aichat.providers.anthropic.chat.AnthropicChat",
            MODEL_LIST: "aichat.providers.anthropic.model_list.AnthropicModelList",
        },
        models=(
            DefaultModel("claude-sonnet-5-5", 64_000, 1_000_000, in_auto=True, image_tokens=IMAGE_TOKENS),
            DefaultModel("claude-opus-5-5", 64_000, 1_000_000, image_tokens=IMAGE_TOKENS),
            DefaultModel("claude-haiku-5-5", 64_000, 1_000_000, image_tokens=IMAGE_TOKENS),
            DefaultModel("claude-fable-5-2", 64_000, 1_000_000, image_tokens=IMAGE_TOKENS),
        ),
    ),
)
