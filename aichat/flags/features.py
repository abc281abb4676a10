"""Features of the product that can be switched off while it runs. They are on until somebody says otherwise."""

STREAMING = "streaming"
TOOLS = "tools"
PROMPT_CACHE = "prompt_cache"
IMAGES = "images"
BACKGROUND_IMAGES = "background_images"
REGISTRATION = "registration"
MESSAGE_CONTENT = "message_content"
SHARED_LINKS = "shared_links"

SWITCHES = {
    STREAMING: "Chat answers as event streams.",
    TOOLS: "Tools (function calls) in chat requests.",
    PROMPT_CACHE: "Answers from the prompt cache; off: every chat asks a provider.",
    IMAGES: "Making images.",
    BACKGROUND_IMAGES: "Images made by workers (`background: true`).",
    REGISTRATION: "Sign-up of new users.",
    MESSAGE_CONTENT: "What people wrote, in the admin: narrow it to the administrators who may read it.",
    SHARED_LINKS: "Links that show a conversation to everybody who has them.",
}
