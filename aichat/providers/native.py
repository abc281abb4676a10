"""Carries a request in a vendor's own dialect beside its translation, for what OpenAI's vocabulary has no words for.

A message, and the parameters, may have a member named for the dialect. Only adapters that speak the dialect are given it;
all others are given the translation alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

RESPONSES = "responses"
# The kinds of provider whose adapters speak a dialect, by the name of its member.
SPEAKERS = {"anthropic": {"anthropic"}, RESPONSES: {"openai", "openai_compatible"}}


def for_kind(
    kind: str, messages: Sequence[dict[str, Any]], parameters: Mapping[str, Any]
) -> tuple[Sequence[dict[str, Any]], Mapping[str, Any]]:
    """The messages and parameters for an adapter of `kind`, without the members of dialects that it does not speak."""
    if SPEAKERS.keys().isdisjoint(parameters):
        return messages, parameters
    others = [name for name in SPEAKERS if name in parameters and kind not in SPEAKERS[name]]
    return translated(messages, parameters, others) if others else (messages, parameters)


def translated(
    messages: Sequence[dict[str, Any]], parameters: Mapping[str, Any], dialects: Sequence[str]
) -> tuple[Sequence[dict[str, Any]], Mapping[str, Any]]:
    """The messages and parameters without their members of the dialects."""
    return [without(message, dialects) for message in messages], without(parameters, dialects)


def without(facts: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in names}
