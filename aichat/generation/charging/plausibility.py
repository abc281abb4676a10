"""Decides which of a provider's reported figures a bill is made of, and says how sure the bill's figures are.

A figure is believed as long as it is possible: no more output than was allowed, no more input than was sent, each with
the tolerance of USAGE_TOLERANCE. What is missing is counted by us. `docs/FAULTS.md` has the rules as a table.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings

from aichat.providers.base import Usage
from aichat.providers.usage import Reading, UsageReport
from aichat.usage.models import UsageRecord

TOLERATED_TOKENS = 256  # on top of the share of USAGE_TOLERANCE
Source = UsageRecord.Source


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most tokens that an attempt can use: the bound of its input, and the longest answer that it was allowed."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Metered:
    """The figures of a bill. `reported` are the provider's own, kept only when one of them was not believed."""

    usage: Usage
    source: str
    reported: dict[str, Any] | None = None


def tolerated(bound: int) -> int:
    """The largest figure that is still believed where `bound` tokens were allowed."""
    return bound + int(bound * settings.USAGE_TOLERANCE) + TOLERATED_TOKENS


def meter(
    report: UsageReport,
    bounds: Bounds,
    *,
    is_whole: bool,
    count_input: Callable[[], int],
    count_output: Callable[[], int],
) -> Metered:
    """Decide the usage to bill for an attempt: the reported figures, or our counts where those are missing or impossible.

    `count_input` returns our estimate of the input in tokens, `count_output` that of the delivered output with its
    thinking. An answer that is not whole is never EXACT: its last report may be older than its last piece.
    """
    reading = report.reading()
    doubts = set(reading.doubts)
    read = _believed(reading.input or 0, bounds.input, "input", doubts)
    made = _believed(reading.output or 0, bounds.output, "output", doubts)
    reasoning = reading.reasoning
    if reading.unnamed:
        # Gemini's OpenAI-compatible endpoint and older xAI models name no thinking, which is in their total alone.
        if made + reading.unnamed <= tolerated(bounds.output):
            made, reasoning = made + reading.unnamed, reasoning + reading.unnamed
        else:
            doubts.add("total")
    is_counted = not (read and made and is_whole)
    if not read:
        read, reading = count_input(), replace(reading, cached=0, written=0, written_1h=0)
    if not made or not is_whole:
        made = _covering(made, min(count_output(), bounds.output))
    source = Source.IMPLAUSIBLE if doubts else Source.ESTIMATED if is_counted else Source.EXACT
    return Metered(_usage(reading, read, made, reasoning), source, report.as_reported() if doubts else None)


def _believed(figure: int, bound: int, name: str, doubts: set[str]) -> int:
    if figure <= tolerated(bound):
        return figure
    doubts.add(name)
    return bound


def _covering(reported: int, counted: int) -> int:
    """The reported output, or our count when the report is older than most of the delivered text."""
    return counted if counted > 2 * reported else reported


def _usage(reading: Reading, read: int, made: int, reasoning: int) -> Usage:
    cached = min(reading.cached, read)
    return Usage(
        input_tokens=read,
        output_tokens=made,
        cached_input_tokens=cached,
        cache_write_tokens=min(reading.written, read - cached),
        cache_write_1h_tokens=min(reading.written_1h, reading.written, read - cached),
        reasoning_tokens=min(reasoning, made),
    )
