"""Measures the body of a response: https://platform.openai.com/docs/api-reference/responses/create"""

from collections.abc import Mapping
from typing import Any

from aichat.providers.openai.outgoing import TOKENS_OF_A_PAGE, USUAL_SIZE, picture_tokens
from aichat.providers.outgoing import Medium, Outgoing, of_data_url, pages_of, picture_size

# Members that steer the request and that no model reads.
STEERING = {
    "include", "max_output_tokens", "metadata", "model", "parallel_tool_calls", "prompt_cache_key",
    "prompt_cache_retention", "reasoning", "safety_identifier", "store", "stream", "temperature", "top_logprobs", "top_p",
    "truncation", "user",
}  # fmt: skip
# Base64 characters of a sealed thought for each token of it: about five; never fewer than three.
SEALED, LEAST_SEALED = 5, 3
UNKNOWN_PAGES = 10  # assumed of a document that is not in the request


def measure(body: Mapping[str, Any]) -> Outgoing:
    """What the model reads of a body: the items, the instructions, the tools, the answer's schema, and all that is new."""
    found, model = Outgoing(), str(body.get("model", ""))
    for name, value in body.items():
        if name == "input":
            for item in value:
                found.frames += 1
                _add_item(found, item, model)
        elif name == "tools":
            found.frames += len(value)
            found.add(value)
        elif name not in STEERING:
            found.frames += name == "instructions"
            found.add(value)
    return found


def _add_item(found: Outgoing, item: Mapping[str, Any], model: str) -> None:
    for name, value in item.items():
        if name in {"content", "output"} and isinstance(value, list):
            for part in value:
                _add_part(found, part, model)
        elif name == "encrypted_content" and isinstance(value, str):
            found.media.append(Medium(len(value) // SEALED, len(value) // LEAST_SEALED + 1))
        elif name not in {"type", "role", "id", "status"} and value:
            found.add(value)


def _add_part(found: Outgoing, part: Any, model: str) -> None:
    if not isinstance(part, Mapping):
        found.add(part)
        return
    for name, value in part.items():
        if name == "image_url" and isinstance(value, str):
            data = of_data_url(value)
            size = picture_size(data[1]) if data else None
            found.media.append(Medium(picture_tokens(model, size or USUAL_SIZE, str(part.get("detail") or "auto"))))
        elif name in {"file_data", "file_url"} and isinstance(value, str):
            data = of_data_url(value)
            pages = pages_of(data[1]) if data else UNKNOWN_PAGES
            found.media.append(Medium(pages * TOKENS_OF_A_PAGE, pages * TOKENS_OF_A_PAGE * 2))
        elif name not in {"type", "detail"}:
            found.add(value)
