"""The facts about Google's Gemini: https://ai.google.dev/gemini-api/docs/models, as of November 2026."""

from aichat.providers.vendor import (
    CHAT,
    EMBEDDING,
    IMAGE,
    IMAGE_EDIT,
    MODEL_LIST,
    SPEECH,
    TRANSCRIPTION,
    DefaultModel,
    Vendor,
)

VENDORS = (
    Vendor(
        kind="gemini",
        name="Gemini",
        key_setting="GEMINI_API_KEY",
        base_url_setting="GEMINI_BASE_URL",
        price_library="google",
        auto_position=10,
        adapters={
            CHAT: "aichat.providers.gemini.chat.GeminiChat",
            IMAGE: "aichat.providers.gemini.images.GeminiImages",
            IMAGE_EDIT: "aichat.providers.gemini.images.GeminiImages",
            MODEL_LIST: "aichat.providers.gemini.model_list.GeminiModelList",
            EMBEDDING: "aichat.providers.gemini.embeddings.GeminiEmbeddings",
            SPEECH: "aichat.providers.gemini.audio.GeminiSpeech",
            TRANSCRIPTION: "aichat.providers.gemini.audio.GeminiTranscriptions",
        },
        models=(
            DefaultModel("gemini-3.8-flash", 65_536, 1_000_000, in_auto=True),
            DefaultModel("gemini-3.5-flash-lite", 65_536, 1_000_000),
            DefaultModel("gemini-3.1-pro-preview", 65_536, 1_000_000),
            DefaultModel("gemini-4-argon", 65_536, 1_048_576),
            DefaultModel("gemini-3.1-flash-image-preview", 32_768, 65_536, IMAGE, in_auto=True),
            DefaultModel("gemini-3.1-flash-lite-image", 32_768, 65_536, IMAGE),
            DefaultModel("gemini-embedding-001", 1, 2_048, EMBEDDING, in_auto=True),
            DefaultModel("gemini-3.8-flash-lite-tts", 16_384, 8_192, SPEECH, in_auto=True),
            DefaultModel("gemini-3.8-flash-tts", 16_384, 8_192, SPEECH),
            DefaultModel(
                "gemini-transcribe",
                65_536,
                1_000_000,
                TRANSCRIPTION,
                in_auto=True,
                upstream_name="gemini-3.5-flash-lite",
            ),
        ),
    ),
)
