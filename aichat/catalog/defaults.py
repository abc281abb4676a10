"""The models a fresh installation offers, per provider, as of November 2026.

Context windows and prices come from the price library; the longest outputs, and the most an image is billed as
(gpt-4o-mini: 2,833 + 8 tiles of 5,667), are the providers' documentation:
https://ai.google.dev/gemini-api/docs/models, https://platform.openai.com/docs/models and
https://platform.claude.com/docs/en/about-claude/models/overview
"""

from dataclasses import dataclass, field

DEMO = "demo"
CHAT, IMAGE = "chat", "image"
EMBEDDING, MODERATION, SPEECH, TRANSCRIPTION = "embedding", "moderation", "speech", "transcription"
CREDIT = 1_000_000  # microcredits


@dataclass(frozen=True, slots=True)
class DefaultModel:
    """`price`: columns of a fixed price, for models the price library can't know."""

    slug: str
    provider: str
    max_output_tokens: int
    context_window: int
    kind: str = CHAT
    auto_position: int | None = None
    price: dict[str, int] = field(default_factory=dict)
    image_tokens: int = 2_500


MODELS = [
    DefaultModel("demo", DEMO, 128_000, 200_000, auto_position=90, price={"request_price": 1_000_000}),
    DefaultModel("demo-image", DEMO, 1, 32_000, IMAGE, auto_position=90, price={"image_price": 5_000_000}),
    DefaultModel("demo-embedding", DEMO, 1, 8_192, EMBEDDING, auto_position=90, price={"input_price": CREDIT}),
    DefaultModel("demo-moderation", DEMO, 1, 32_000, MODERATION, auto_position=90),
    DefaultModel("demo-speech", DEMO, 1, 4_096, SPEECH, auto_position=90, price={"character_price": 1_000 * CREDIT}),
    DefaultModel("demo-transcription", DEMO, 1, 1, TRANSCRIPTION, auto_position=90, price={"minute_price": CREDIT}),
    DefaultModel("gemini-3.8-flash", "gemini", 65_536, 1_000_000, auto_position=10),
    DefaultModel("gemini-3.5-flash-lite", "gemini", 65_536, 1_000_000),
    DefaultModel("gemini-3.1-pro-preview", "gemini", 65_536, 1_000_000),
    DefaultModel("gemini-4-argon", "gemini", 65_536, 1_048_576),
    DefaultModel("gemini-3.1-flash-image-preview", "gemini", 32_768, 65_536, IMAGE, auto_position=10),
    DefaultModel("gemini-3.1-flash-lite-image", "gemini", 32_768, 65_536, IMAGE),
    DefaultModel("gpt-6-luna", "openai", 128_000, 1_050_000, auto_position=20),
    DefaultModel("gpt-6.1-terra", "openai", 128_000, 1_050_000),
    DefaultModel("gpt-6.1-sol", "openai", 128_000, 1_050_000),
    DefaultModel("gpt-5.4-mini", "openai", 128_000, 400_000),
    DefaultModel("gpt-4.1-mini", "openai", 32_768, 1_000_000),
    DefaultModel("gpt-4o-mini", "openai", 16_384, 128_000, image_tokens=48_169),
    DefaultModel("claude-sonnet-5-5", "anthropic", 64_000, 1_000_000, auto_position=30, image_tokens=4_800),
    DefaultModel("claude-opus-5-5", "anthropic", 64_000, 1_000_000, image_tokens=4_800),
    DefaultModel("claude-haiku-5-5", "anthropic", 64_000, 1_000_000, image_tokens=4_800),
    DefaultModel("claude-fable-5-2", "anthropic", 64_000, 1_000_000, image_tokens=4_800),
    DefaultModel("gpt-image-1-mini", "openai", 16_384, 32_000, IMAGE, auto_position=20),
    DefaultModel("gpt-image-2", "openai", 16_384, 32_000, IMAGE),
    DefaultModel("gemini-embedding-001", "gemini", 1, 2_048, EMBEDDING, auto_position=10),
    DefaultModel("text-embedding-3-small", "openai", 1, 8_192, EMBEDDING, auto_position=20),
    DefaultModel("text-embedding-3-large", "openai", 1, 8_192, EMBEDDING),
    DefaultModel("text-embedding-ada-002", "openai", 1, 8_192, EMBEDDING),
    DefaultModel("omni-moderation-latest", "openai", 1, 32_000, MODERATION, auto_position=20),
    DefaultModel("tts-1", "openai", 1, 4_096, SPEECH, auto_position=20),
    DefaultModel("tts-1-hd", "openai", 1, 4_096, SPEECH),
    DefaultModel("gpt-4o-mini-tts", "openai", 16_384, 4_096, SPEECH),
    DefaultModel("whisper-1", "openai", 1, 1, TRANSCRIPTION, auto_position=20),
    DefaultModel("gpt-4o-mini-transcribe", "openai", 16_384, 16_000, TRANSCRIPTION),
    DefaultModel("gpt-4o-transcribe", "openai", 16_384, 16_000, TRANSCRIPTION),
]
