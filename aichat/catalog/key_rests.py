"""Shows operators which keys of providers rest. The cache keeps this until the rest is over."""

from collections.abc import Iterable, Mapping
from time import time
from typing import Any

from django.core.cache import cache


def note(key_id: str, reason: str, seconds: float) -> None:
    """Keep why a key rests, and until when."""
    cache.set(_name(key_id), {"until": time() + seconds, "reason": reason}, seconds)


def read(key_ids: Iterable[str]) -> Mapping[str, dict[str, Any]]:
    """The rests by the keys' IDs: `until` (seconds since 1970) and `reason` in words."""
    names = {_name(key_id): key_id for key_id in key_ids}
    return {names[name]: rest for name, rest in cache.get_many(names).items()} if names else {}


def _name(key_id: str) -> str:
    return f"key-rest:{key_id}"
