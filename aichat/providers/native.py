"""What a request in a vendor's own dialect says beyond OpenAI's vocabulary, carried beside its translation.

A message, and the parameters, may have a member named for the vendor's kind of provider. Only that kind's adapter gets it;
all others get the translation alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

KINDS = ("anthropic",)


def for_kind(
    kind: str, messages: Sequence[dict[str, Any]], parameters: Mapping[str, Any]
) -> tuple[Sequence[dict[str, Any]], Mapping[str, Any]]:
    """The messages and parameters for an adapter of `kind`: without what is another vendor's."""
    others = [name for name in KINDS if name != kind and name in parameters]
    if not others:
        return messages, parameters
    return [without(message, others) for message in messages], without(parameters, others)


def without(facts: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in names}
