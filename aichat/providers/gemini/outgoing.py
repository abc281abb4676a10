"""Measures the body of generateContent: https://ai.google.dev/api/generate-content#request-body"""

import re
from collections.abc import Mapping
from math import ceil, floor
from typing import Any

from aichat.providers.outgoing import Medium, Outgoing, Size, pages_of, picture_size, seconds_of

# Settings of generationConfig that are numbers or choices; its schema and all members that are new are read by the model.
SETTINGS = {
    "candidateCount", "frequencyPenalty", "logprobs", "maxOutputTokens", "mediaResolution", "presencePenalty",
    "responseLogprobs", "responseMimeType", "responseModalities", "seed", "temperature", "thinkingConfig", "topK", "topP",
}  # fmt: skip
# https://ai.google.dev/gemini-api/docs/tokens: sound 32 tokens a second, film 263.
TOKENS_OF_A_SECOND, TOKENS_OF_A_SECOND_OF_FILM = 32, 263
BYTES_OF_A_SECOND_OF_FILM = 250_000
THIRD_GENERATION = re.compile(r"gemini-(?:[3-9]|\d\d)")
UNKNOWN_FILE = 10  # pages that are assumed of a file at an address, which only Google fetches


def measure(body: Mapping[str, Any], model: str) -> Outgoing:
    """What the model reads of a body: its turns, instructions, tools and schemas, and all members that are new."""
    found = Outgoing()
    for name, value in body.items():
        if name in ("contents", "systemInstruction"):
            for turn in value if isinstance(value, list) else [value]:
                found.frames += 1
                for part in turn.get("parts") or ():
                    _add_part(found, part, model)
                found.add({key: rest for key, rest in turn.items() if key not in ("role", "parts")} or None)
        elif name == "generationConfig":
            found.add({key: rest for key, rest in value.items() if key not in SETTINGS} or None)
        elif name == "tools":
            found.frames += sum(len(tool.get("functionDeclarations") or ()) for tool in value)
            found.add(value)
        else:
            found.add(value)
    return found


def _add_part(found: Outgoing, part: Mapping[str, Any], model: str) -> None:
    for name, value in part.items():
        if name in ("inlineData", "inline_data"):
            found.media.append(_medium(str(value.get("mimeType", "")), str(value.get("data", "")), model))
        elif name in ("fileData", "file_data"):
            tokens = UNKNOWN_FILE * page_tokens(model)
            found.media.append(Medium(tokens, tokens * 10))
            found.add(value)
        elif value not in (None, "", False, True):
            found.add(value)


def _medium(kind: str, data: str, model: str) -> Medium:
    if kind.startswith("image/"):
        return Medium(picture_tokens(model, picture_size(data)))
    if kind.startswith("audio/"):
        seconds = seconds_of(data, kind.removeprefix("audio/"))
        return Medium(seconds * TOKENS_OF_A_SECOND, seconds * TOKENS_OF_A_SECOND * 4)
    if kind.startswith("video/"):
        seconds = 1 + len(data) * 3 // 4 // BYTES_OF_A_SECOND_OF_FILM
        return Medium(seconds * TOKENS_OF_A_SECOND_OF_FILM, seconds * TOKENS_OF_A_SECOND_OF_FILM * 4)
    tokens = pages_of(data) * page_tokens(model)
    return Medium(tokens, tokens * 2)


# --- Pictures and pages -----------------------------------------------------------------------------------------------


def picture_tokens(model: str, size: Size | None) -> int:
    """The tokens a picture of `size` pixels is billed as; None: its size can't be told.

    Models of the third generation on take each at one resolution (https://ai.google.dev/gemini-api/docs/media-resolution),
    those before cut larger ones into tiles (https://ai.google.dev/gemini-api/docs/tokens#multimodal-tokens).
    """
    if THIRD_GENERATION.search(model):
        return 1120
    width, height = size or (1024, 1024)
    if width <= 384 and height <= 384:
        return 258
    tile = max(256, min(768, floor(min(width, height) / 1.5)))
    return 258 * ceil(width / tile) * ceil(height / tile)


def page_tokens(model: str) -> int:
    """The tokens a page of a PDF is billed as."""
    return 560 if THIRD_GENERATION.search(model) else 258
