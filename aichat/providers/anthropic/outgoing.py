"""Measures the body of a message: https://platform.claude.com/docs/en/api/messages"""

from collections.abc import Mapping
from math import ceil, sqrt
from typing import Any

from aichat.providers.outgoing import Medium, Outgoing, Size, pages_of, picture_size

# Members that steer the request and that no model reads.
STEERING = {"max_tokens", "model", "service_tier", "stream", "temperature", "thinking", "top_k", "top_p"}
# https://platform.claude.com/docs/en/build-with-claude/pdf-support: 1,500 to 3,000 for its text, and its picture.
TOKENS_OF_A_PAGE = 2_500
UNKNOWN_PAGES = 10  # assumed of a document that is not in the request
USUAL_SIZE = (1024, 1024)  # assumed of a picture that is not in the request
# https://platform.claude.com/docs/en/build-with-claude/vision#calculate-image-costs
LONGEST_EDGE, MOST_PIXELS, PIXELS_OF_A_TOKEN = 1568, 1_200_000, 750


def measure(body: Mapping[str, Any]) -> Outgoing:
    """What the model reads of a body: turns, system prompt, tools, schemas, and all members that are new."""
    found = Outgoing()
    for name, value in body.items():
        if name == "messages":
            for message in value:
                found.frames += 1
                _add_blocks(found, message.get("content"))
                found.add({key: rest for key, rest in message.items() if key not in ("role", "content")} or None)
        elif name == "system":
            found.frames += 1
            _add_blocks(found, value)
        elif name == "tools":
            found.frames += len(value)
            found.add(value)
        elif name not in STEERING:
            found.add(value)
    return found


def _add_blocks(found: Outgoing, content: Any) -> None:
    if not isinstance(content, list):
        found.add(content)
        return
    for block in content:
        if isinstance(block, Mapping):
            _add_block(found, block)
        else:
            found.add(block)


def _add_block(found: Outgoing, block: Mapping[str, Any]) -> None:
    for name, value in block.items():
        if name == "source" and block.get("type") == "image":
            found.media.append(Medium(picture_tokens(_size(value))))
        elif name == "source" and block.get("type") == "document":
            _add_document(found, value)
        elif name == "content":
            _add_blocks(found, value)
        elif name not in ("type", "cache_control") and value:
            found.add(value)


def _size(source: Any) -> Size:
    data = source.get("data") if isinstance(source, Mapping) else None
    return (picture_size(data) if isinstance(data, str) else None) or USUAL_SIZE


def _add_document(found: Outgoing, source: Any) -> None:
    if isinstance(source, Mapping) and source.get("type") in ("base64", "url", "file"):
        pages = pages_of(str(source["data"])) if source.get("data") else UNKNOWN_PAGES
        found.media.append(Medium(pages * TOKENS_OF_A_PAGE, pages * TOKENS_OF_A_PAGE * 2))
        found.add(source, without=("data",))
    elif isinstance(source, Mapping):
        for name, value in source.items():
            if name == "content":
                _add_blocks(found, value)
            else:
                found.add(value)
    else:
        found.add(source)


def picture_tokens(size: Size) -> int:
    """The tokens a picture of `size` pixels is billed as, once it was shrunk to what the model looks at."""
    width, height = max(1, size[0]), max(1, size[1])
    shrink = min(1.0, LONGEST_EDGE / max(width, height), sqrt(MOST_PIXELS / (width * height)))
    return ceil(width * height * shrink**2 / PIXELS_OF_A_TOKEN)
