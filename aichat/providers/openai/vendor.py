"""The facts about OpenAI, and about servers that speak its format: https://platform.openai.com/docs/models, as of
November 2026.

Context windows and prices come from the price library; the longest outputs, and the most an image is billed as
(gpt-4o-mini: 2,833 + 8 tiles of 5,667), are the vendor's documentation.
"""

from aichat.providers.vendor import (
    CHAT,
    EMBEDDING,
    IMAGE,
    IMAGE_EDIT,
    MODEL_LIST,
    MODERATION,
    SPEECH,
    TRANSCRIPTION,
    DefaultModel,
    Vendor,
)

SHARED_ADAPTERS = {
    IMAGE_EDIT: "aichat.providers.openai.images.OpenAIImages",
    MODEL_LIST: "aichat.providers.openai.model_list.OpenAIModelList",
    MODERATION: "aichat.providers.openai.moderations.OpenAIModerations",
    SPEECH: "aichat.providers.openai.audio.OpenAISpeech",
    TRANSCRIPTION: "aichat.providers.openai.audio.OpenAITranscriptions",
}

VENDORS = (
    Vendor(
        kind="openai",
        name="OpenAI",
        key_setting="OPENAI_API_KEY",
        base_url_setting="OPENAI_BASE_URL",
        price_library="openai",
        profile="openai",
        auto_position=20,
        adapters={
            CHAT: "aichat.providers.openai.chat.OpenAIChat",
            IMAGE: "aichat.providers.openai.images.OpenAIImages",
            EMBEDDING: "aichat.providers.openai.embeddings.OpenAIEmbeddings",
            **SHARED_ADAPTERS,
        },
        models=(
            DefaultModel("gpt-6-luna", 128_000, 1_050_000, in_auto=True),
            DefaultModel("gpt-6.1-terra", 128_000, 1_050_000),
            DefaultModel("gpt-6.1-sol", 128_000, 1_050_000),
            DefaultModel("gpt-5.4-mini", 128_000, 400_000),
            DefaultModel("gpt-4.1-mini", 32_768, 1_000_000),
            DefaultModel("gpt-4o-mini", 16_384, 128_000, image_tokens=48_169),
            DefaultModel("gpt-image-1-mini", 16_384, 32_000, IMAGE, in_auto=True),
            DefaultModel("gpt-image-2", 16_384, 32_000, IMAGE),
            DefaultModel("text-embedding-3-small", 1, 8_192, EMBEDDING, in_auto=True),
            DefaultModel("text-embedding-3-large", 1, 8_192, EMBEDDING),
            DefaultModel("text-embedding-ada-002", 1, 8_192, EMBEDDING),
            DefaultModel("omni-moderation-latest", 1, 32_000, MODERATION, in_auto=True),
            DefaultModel("tts-1", 1, 4_096, SPEECH, in_auto=True),
            DefaultModel("tts-1-hd", 1, 4_096, SPEECH),
            DefaultModel("gpt-4o-mini-tts", 16_384, 4_096, SPEECH),
            DefaultModel("whisper-1", 1, 1, TRANSCRIPTION, in_auto=True),
            DefaultModel("gpt-4o-mini-transcribe", 16_384, 16_000, TRANSCRIPTION),
            DefaultModel("gpt-4o-transcribe", 16_384, 16_000, TRANSCRIPTION),
        ),
    ),
    Vendor(
        kind="openai_compatible",
        name="OpenAI-compatible",
        takes_rows=True,
        profile="",
        adapters={
            CHAT: "aichat.providers.openai.chat.CompatibleChat",
            EMBEDDING: "aichat.providers.openai.embeddings.CompatibleEmbeddings",
            **SHARED_ADAPTERS,
        },
    ),
)
