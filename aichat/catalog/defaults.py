"""The models a fresh installation offers, per provider, as of November 2026.

Context windows and prices come from the price library; the longest outputs are the providers' documentation:
https://ai.google.dev/gemini-api/docs/models and https://platform.openai.com/docs/models
"""

from dataclasses import dataclass

DEMO_CHAT = "demo"
DEMO_PROVIDER = "demo"
DEMO_CHAT_PRICE = 1_000_000  # microcredits a request


@dataclass(frozen=True, slots=True)
class DefaultModel:
    slug: str
    provider: str
    max_output_tokens: int
    context_window: int
    auto_position: int | None = None


CHAT_MODELS = [
    DefaultModel("gemini-3.8-flash", "gemini", 65_536, 1_000_000, auto_position=10),
    DefaultModel("gemini-3.5-flash-lite", "gemini", 65_536, 1_000_000),
    DefaultModel("gemini-3.1-pro-preview", "gemini", 65_536, 1_000_000),
    DefaultModel("gemini-4-argon", "gemini", 65_536, 1_048_576),
    DefaultModel("gpt-6-luna", "openai", 128_000, 1_050_000, auto_position=20),
    DefaultModel("gpt-6.1-terra", "openai", 128_000, 1_050_000),
    DefaultModel("gpt-6.1-sol", "openai", 128_000, 1_050_000),
    DefaultModel("gpt-5.4-mini", "openai", 128_000, 400_000),
    DefaultModel("gpt-4.1-mini", "openai", 32_768, 1_000_000),
    DefaultModel("gpt-4o-mini", "openai", 16_384, 128_000),
]
