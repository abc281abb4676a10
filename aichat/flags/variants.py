"""The variants of an experiment as operators write them."""

import math
import re
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
HIGHEST_TEMPERATURE = 2


def checked_variants(variants: Any) -> list[dict[str, Any]]:
    """The variants without empty settings. Raises `ValidationError` for the field `variants`."""
    if not isinstance(variants, list) or not all(isinstance(variant, dict) for variant in variants):
        raise _error('Write a list of objects such as {"name": "control", "weight": 50}.')
    if len(variants) < 2:
        raise _error("An experiment has at least two variants; the first is the control.")
    found = [_checked(variant) for variant in variants]
    names = [variant["name"] for variant in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise _error(f"There are two variants {twice!r}.")
    total = sum(variant["weight"] for variant in found)
    if total != 100:
        raise _error(f"The weights sum to {total}; they are percentages and must sum to 100.")
    return found


def _checked(variant: dict[str, Any]) -> dict[str, Any]:
    name = variant.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise _error(f"{name!r} is no name for a variant: use up to 50 letters, digits and . _ -")
    for field, check in CHECKS.items():
        value = variant.get(field)
        if value in (None, "") and field != "weight":
            continue
        if not check(value):
            raise _error(f"{name}: {field} {value!r} is wrong: {EXPECTED[field]}.")
    unknown = next((field for field in variant if field != "name" and field not in CHECKS), None)
    if unknown:
        raise _error(f"{name}: a variant has no {unknown!r}; it has name, {', '.join(CHECKS)}.")
    return {field: variant[field] for field in ("name", *CHECKS) if variant.get(field) not in (None, "")}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


CHECKS: dict[str, Callable[[Any], bool]] = {
    "weight": lambda value: _is_whole(value) and 0 <= value <= 100,
    "model": lambda value: isinstance(value, str) and len(value) <= 100,
    "system": lambda value: isinstance(value, str) and len(value) <= 100_000,
    "temperature": lambda value: _is_number(value) and 0 <= value <= HIGHEST_TEMPERATURE,
    "max_tokens": lambda value: _is_whole(value) and value >= 1,
}
EXPECTED = {
    "weight": "write a whole percentage from 0 to 100",
    "model": "write a model's name",
    "system": "write a text of at most 100,000 characters",
    "temperature": f"write a number from 0 to {HIGHEST_TEMPERATURE}",
    "max_tokens": "write a whole number of tokens from 1",
}


def _error(message: str) -> ValidationError:
    return ValidationError({"variants": message})
