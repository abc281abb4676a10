"""The facts about the demo, which answers on an installation that has no key of a vendor yet."""

from aichat.providers.vendor import (
    CHAT,
    CREDIT,
    EMBEDDING,
    IMAGE,
    IMAGE_EDIT,
    MODERATION,
    SPEECH,
    TRANSCRIPTION,
    DefaultModel,
    Vendor,
)

VENDORS = (
    Vendor(
        kind="demo",
        name="Demo",
        is_demo=True,
        auto_position=90,
        adapters={
            CHAT: "aichat.providers.demo.chat.DemoChat",
            IMAGE: "aichat.providers.demo.images.DemoImages",
            IMAGE_EDIT: "aichat.providers.demo.calls.DemoImageEdits",
            EMBEDDING: "aichat.providers.demo.calls.DemoEmbeddings",
            MODERATION: "aichat.providers.demo.calls.DemoModeration",
            SPEECH: "aichat.providers.demo.calls.DemoSpeech",
            TRANSCRIPTION: "aichat.providers.demo.calls.DemoTranscription",
        },
        models=(
            DefaultModel("demo", 128_000, 200_000, in_auto=True, price={"request_price": CREDIT}),
            DefaultModel("demo-image", 1, 32_000, IMAGE, in_auto=True, price={"image_price": 5 * CREDIT}),
            DefaultModel("demo-embedding", 1, 8_192, EMBEDDING, in_auto=True, price={"input_price": CREDIT}),
            DefaultModel("demo-moderation", 1, 32_000, MODERATION, in_auto=True),
            DefaultModel("demo-speech", 1, 4_096, SPEECH, in_auto=True, price={"character_price": 1_000 * CREDIT}),
            DefaultModel("demo-transcription", 1, 1, TRANSCRIPTION, in_auto=True, price={"minute_price": CREDIT}),
        ),
    ),
)
