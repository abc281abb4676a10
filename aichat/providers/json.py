"""JSON as providers write it, and as we write it to them."""

import json
from typing import Any, TypeVar

import orjson

from aichat.providers.errors import AttemptOutcome, ProviderError

T = TypeVar("T")


def to_json(value: Any) -> bytes:
    """JSON text of any value JSON can express, whole numbers beyond 64 bits too (`"maximum": 2**128` of a tool's schema)."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def from_json(raw: bytes | bytearray) -> Any:
    """The value of a JSON text. Broken characters are replaced; half an emoji is kept, for `SurrogateJoiner` to join.

    Raises `ProviderError` for what is no JSON.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:  # half an emoji as `\\ud83d`, or a character cut in its middle, is an error to orjson alone
        return json.loads(raw.decode("utf-8", "replace").removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise ProviderError(AttemptOutcome.MALFORMED, "an answer that is not JSON") from error


def as_object(raw: bytes | bytearray) -> dict[str, Any]:
    """The JSON object in `raw`. Raises `ProviderError` for anything else."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = from_json(raw)
    if not isinstance(value, dict):
        raise ProviderError(AttemptOutcome.MALFORMED, "an answer that is not a JSON object")
    return value


def writable(value: T) -> T:
    """The value as our own JSON and the database can hold it: half an emoji becomes `?`, a number beyond 64 bits a float.

    For the parts of an answer that are passed on as they are, such as annotations: nothing joins their halves.
    """
    try:
        orjson.dumps(value)
    except TypeError:
        value = orjson.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def arguments_object(arguments: str) -> dict[str, Any]:
    """The object in a tool call's arguments, which are JSON in a text. Any other text is its member `arguments`."""
    try:
        value = from_json(arguments.encode()) if arguments else {}
    except (ProviderError, UnicodeEncodeError):
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}
