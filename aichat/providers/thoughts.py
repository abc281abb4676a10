"""Blocks of thought (`reasoning_details`, see `Delta`): a stream brings them in pieces, a model wants them back whole."""

from collections.abc import Iterable, Mapping
from typing import Any

JOINED = ("text", "summary", "data", "signature")  # members whose pieces are put together


def whole_thoughts(details: Iterable[Any]) -> list[dict[str, Any]]:
    """The blocks of which `details` are pieces: neighbours of one type, format and index are one block.

    Items that are no objects with a type are left out: only a client can send such.
    """
    found: list[dict[str, Any]] = []
    for detail in details:
        if not isinstance(detail, Mapping) or not isinstance(detail.get("type"), str):
            continue
        if found and detail.get("index") is not None and _place(found[-1]) == _place(detail):
            block = found[-1]
            for name, value in detail.items():
                is_joined = name in JOINED and isinstance(value, str) and isinstance(block.get(name), str)
                block[name] = block[name] + value if is_joined else value
        else:
            found.append(dict(detail))
    return found


def _place(detail: Mapping[str, Any]) -> tuple[Any, ...]:
    return detail.get("type"), detail.get("format"), detail.get("index")
