"""Measures the body of a chat completion: https://platform.openai.com/docs/api-reference/chat/create"""

from collections.abc import Mapping
from math import ceil, floor, sqrt
from typing import Any

from aichat.providers.outgoing import Medium, Outgoing, Size, of_data_url, pages_of, picture_size, seconds_of

# Members that steer the request and that no model reads. Numbers and switches among the others are too short to matter.
STEERING = {
    "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "min_p", "model", "n",
    "parallel_tool_calls", "presence_penalty", "reasoning_effort", "repetition_penalty", "seed", "store", "stream",
    "stream_options", "temperature", "top_k", "top_logprobs", "top_p", "verbosity",
}  # fmt: skip
# Sound is 10 tokens a second: https://platform.openai.com/docs/guides/audio. A page is its text and its picture.
TOKENS_OF_A_SECOND = 10
TOKENS_OF_A_PAGE = 1_500
USUAL_SIZE = (1024, 1024)  # assumed of a picture at an address that nobody here has looked at


def measure(body: Mapping[str, Any]) -> Outgoing:
    """What the model reads of a body: the messages, the tools, the answer's schema, and all members that are new."""
    found, model = Outgoing(), str(body.get("model", ""))
    for name, value in body.items():
        if name == "messages":
            for message in value:
                _add_message(found, message, model)
        elif name == "tools":
            found.frames += len(value)
            found.add(value)
        elif name not in STEERING:
            found.add(value)
    return found


def _add_message(found: Outgoing, message: Mapping[str, Any], model: str) -> None:
    found.frames += 1
    for name, value in message.items():
        if name == "content" and isinstance(value, list):
            for part in value:
                _add_part(found, part, model)
        elif name != "role" and value:
            found.add(value)


def _add_part(found: Outgoing, part: Mapping[str, Any], model: str) -> None:
    for name, value in part.items():
        if name == "image_url" and isinstance(value, Mapping):
            found.media.append(_picture(value, model))
        elif name == "input_audio" and isinstance(value, Mapping):
            seconds = seconds_of(str(value.get("data", "")), str(value.get("format", "")))
            found.media.append(Medium(seconds * TOKENS_OF_A_SECOND, seconds * TOKENS_OF_A_SECOND * 4))
        elif name == "file" and isinstance(value, Mapping):
            data = of_data_url(str(value.get("file_data", "")))
            pages = pages_of(data[1]) if data else 10
            found.media.append(Medium(pages * TOKENS_OF_A_PAGE, pages * TOKENS_OF_A_PAGE * 2))
            found.add(value, without=("file_data",))
        elif name != "type":
            found.add(value)


def _picture(image: Mapping[str, Any], model: str) -> Medium:
    data = of_data_url(str(image.get("url", "")))
    size = picture_size(data[1]) if data else None
    return Medium(picture_tokens(model, size or USUAL_SIZE, str(image.get("detail") or "auto")))


# --- Pictures: https://platform.openai.com/docs/guides/images-vision#calculating-costs ---------------------------------

# By the beginning of the model's name, the longest first: tokens of the whole, and of each tile of 512 pixels.
TILES = {
    "gpt-4o-mini": (2833, 5667),
    "gpt-4o": (85, 170),
    "gpt-4.1": (85, 170),
    "gpt-4.5": (85, 170),
    "gpt-4-turbo": (85, 170),
    "chatgpt-4o": (85, 170),
    "gpt-5": (70, 140),
    "o1": (75, 150),
    "o3": (75, 150),
    "computer-use": (65, 129),
}
# Models that count patches of 32 × 32 pixels, at most 1,536 of them, each with the factor that makes tokens of patches.
PATCHES = {
    "gpt-4.1-mini": 1.62,
    "gpt-4.1-nano": 2.46,
    "gpt-5-mini": 1.62,
    "gpt-5-nano": 2.46,
    "o4-mini": 1.72,
}
MOST_PATCHES, PATCH, LOW_DETAIL_PATCHES = 1536, 32, 256
OTHERS = 1.2  # newer models count patches: of one that is not known, this is assumed


def picture_tokens(model: str, size: Size, detail: str) -> int:
    """The tokens a picture of `size` pixels is billed as by a model, with `detail` "low", "high" or "auto"."""
    name = model.rpartition("/")[2].lower()
    known = max((key for key in (*TILES, *PATCHES) if name.startswith(key)), key=len, default="")
    if known in TILES:
        whole, tile = TILES[known]
        return whole if detail == "low" else whole + tile * _tiles(size)
    patches = _patches(size, LOW_DETAIL_PATCHES if detail == "low" else MOST_PATCHES)
    return ceil(patches * PATCHES.get(known, OTHERS))


def _tiles(size: Size) -> int:
    """Tiles after the picture was fitted into 2048 × 2048 and its shorter side shrunk to 768."""
    width, height = max(1, size[0]), max(1, size[1])
    scale = min(1.0, 2048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    return ceil(round(width * scale, 6) / 512) * ceil(round(height * scale, 6) / 512)


def _patches(size: Size, most: int) -> int:
    """Patches after a picture with more than `most` was shrunk to whole ones along one side."""
    width, height = max(1, size[0]), max(1, size[1])
    patches = ceil(width / PATCH) * ceil(height / PATCH)
    if patches <= most:
        return patches
    shrink = sqrt(most * PATCH**2 / (width * height))
    across, down = width * shrink / PATCH, height * shrink / PATCH
    fit = min(max(1, floor(across)) / across, max(1, floor(down)) / down)
    return min(most, ceil(round(across * fit, 6)) * ceil(round(down * fit, 6)))
