"""Token counts without a tokenizer: an upper bound for holds, a fair guess for what no provider reported."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

# A byte pair encoding never makes more tokens than bytes; text of any language averages well above two bytes a token.
BYTES_PER_TOKEN_AT_LEAST = 2
BYTES_PER_TOKEN_ON_AVERAGE = 4
MESSAGE_OVERHEAD = 8
IMAGE_TOKENS = 2500  # where no model is at hand to say its own
READ_BY_MODELS = ("tools", "response_format")  # parameters that are billed as input


def upper_bound(
    messages: Iterable[Mapping[str, Any]], parameters: Mapping[str, Any], image_tokens: int = IMAGE_TOKENS
) -> int:
    """At least as many input tokens as the request will be billed for, for any text people write."""
    text, images, count = measure(messages)
    text += sum(len(orjson.dumps(parameters[name])) for name in READ_BY_MODELS if parameters.get(name))
    return -(-text // BYTES_PER_TOKEN_AT_LEAST) + images * image_tokens + count * MESSAGE_OVERHEAD


def estimate(messages: Iterable[Mapping[str, Any]], image_tokens: int = IMAGE_TOKENS) -> int:
    """About how many input tokens the messages are."""
    text, images, count = measure(messages)
    return estimate_text(text) + images * image_tokens + count * MESSAGE_OVERHEAD // 2


def estimate_text(text_bytes: int) -> int:
    return -(-text_bytes // BYTES_PER_TOKEN_ON_AVERAGE)


def measure(messages: Iterable[Mapping[str, Any]]) -> tuple[int, int, int]:
    """Bytes of text, number of images, number of messages."""
    text = images = count = 0
    for message in messages:
        count += 1
        content = message.get("content") or ""
        if isinstance(content, str):
            text += len(content.encode())
        else:
            for part in content:
                if part.get("type") == "image_url":
                    images += 1
                else:
                    text += len(str(part.get("text", "")).encode())
        if message.get("tool_calls"):
            text += len(orjson.dumps(message["tool_calls"]))
    return text, images, count
