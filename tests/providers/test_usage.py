"""The reader of usage: what each vendor reports, and what it comes to."""

from typing import Any

import pytest

from aichat.providers.anthropic.usage import ANTHROPIC
from aichat.providers.gemini.usage import GEMINI
from aichat.providers.usage import OPENAI, Reading, UsageFormat, UsageReport

CASES: dict[str, tuple[UsageFormat, dict[str, Any], Reading]] = {
    "OpenAI: cached and reasoning tokens are parts": (
        OPENAI,
        {
            "prompt_tokens": 50,
            "completion_tokens": 40,
            "total_tokens": 90,
            "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 10},
        },
        Reading(input=50, output=40, cached=30, written=5, reasoning=10),
    ),
    "OpenAI's Responses and images say input and output": (
        OPENAI,
        {"input_tokens": 50, "output_tokens": 40, "input_tokens_details": {"cached_tokens": 30}},
        Reading(input=50, output=40, cached=30),
    ),
    "DeepSeek: cache hits under their own name": (
        OPENAI,
        {"prompt_tokens": 50, "completion_tokens": 9, "prompt_cache_hit_tokens": 48, "prompt_cache_miss_tokens": 2},
        Reading(input=50, output=9, cached=48),
    ),
    "Moonshot: cached tokens at the top": (
        OPENAI,
        {"prompt_tokens": 50, "completion_tokens": 9, "cached_tokens": 48},
        Reading(input=50, output=9, cached=48),
    ),
    "xAI: reasoning beside the completion, as its total says": (
        OPENAI,
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        Reading(input=32, output=103, reasoning=94),
    ),
    "reasoning larger than the completion can't be a part of it": (
        OPENAI,
        {"prompt_tokens": 32, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 94}},
        Reading(input=32, output=103, reasoning=94),
    ),
    "thinking that only the total knows": (
        OPENAI,
        {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135},
        Reading(input=32, output=9, unnamed=94),
    ),
    "a proxy in front of Anthropic: cached tokens beside the prompt": (
        OPENAI,
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 1015, "cached_tokens": 1000},
        Reading(input=1010, output=5, cached=1000),
    ),
    "a proxy in front of Anthropic: what is kept for an hour is part of what was written": (
        OPENAI,
        {
            "prompt_tokens": 50,
            "completion_tokens": 5,
            "total_tokens": 55,
            "cache_creation_input_tokens": 30,
            "prompt_tokens_details": {"cache_creation_token_details": {"ephemeral_1h_input_tokens": 20}},
        },
        Reading(input=50, output=5, written=30, written_1h=20),
    ),
    "Gemini: thoughts beside the candidates": (
        GEMINI,
        {"promptTokenCount": 50, "candidatesTokenCount": 70, "thoughtsTokenCount": 30, "totalTokenCount": 150},
        Reading(input=50, output=100, reasoning=30),
    ),
    "Gemini: thoughts among the candidates, as the total says": (
        GEMINI,
        {"promptTokenCount": 50, "candidatesTokenCount": 70, "thoughtsTokenCount": 30, "totalTokenCount": 120},
        Reading(input=50, output=70, reasoning=30),
    ),
    "Gemini without a total": (
        GEMINI,
        {"promptTokenCount": 50, "candidatesTokenCount": 70, "thoughtsTokenCount": 30, "toolUsePromptTokenCount": 8},
        Reading(input=58, output=100, reasoning=30),
    ),
    "Gemini without candidates": (
        GEMINI,
        {"promptTokenCount": 50, "totalTokenCount": 90},
        Reading(input=50, output=40),
    ),
    "the input is the total less the output": (
        OPENAI,
        {"completion_tokens": 40, "total_tokens": 90},
        Reading(input=50, output=40),
    ),
    "Anthropic: the cache stands beside the input": (
        ANTHROPIC,
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
        },
        Reading(input=130, output=5, cached=100, written=20),
    ),
    "all zero is nothing": (
        OPENAI,
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        Reading(input=0, output=0),
    ),
    "more cached than read": (
        OPENAI,
        {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59, "cached_tokens": 70},
        Reading(input=50, output=9, cached=50, doubts=frozenset({"cached"})),
    ),
    "a total below its parts": (
        OPENAI,
        {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 7},
        Reading(input=50, output=9, doubts=frozenset({"total"})),
    ),
    "beyond the column": (
        OPENAI,
        {"prompt_tokens": 50, "completion_tokens": 2**31, "total_tokens": 2**31 + 50},
        Reading(input=50, doubts=frozenset({"output", "total"})),
    ),
    "negative": (
        OPENAI,
        {"prompt_tokens": 50, "completion_tokens": -9},
        Reading(input=50, doubts=frozenset({"output"})),
    ),
    "numbers as floats and texts": (
        OPENAI,
        {"prompt_tokens": 50.0, "completion_tokens": "9", "total_tokens": "59.0"},
        Reading(input=50, output=9),
    ),
    "no numbers": (
        OPENAI,
        {"prompt_tokens": "many", "completion_tokens": [9], "total_tokens": True, "prompt_tokens_details": "none"},
        Reading(),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_report_is_read_as_its_vendor_means_it(name: str) -> None:
    format, usage, expected = CASES[name]
    report = UsageReport()
    report.read(format, usage)
    assert report.reading() == expected


def test_a_better_figure_is_never_replaced_by_a_worse() -> None:
    report = UsageReport()
    report.read(ANTHROPIC, {"input_tokens": 25, "cache_read_input_tokens": 100, "output_tokens": 1})
    for later in (15, 0, None, 2**40, "many"):
        report.read(ANTHROPIC, {"output_tokens": later})
    report.read(ANTHROPIC, [])
    reading = report.reading()
    assert (reading.input, reading.output, reading.cached) == (125, 15, 100)


def test_a_total_stands_only_for_the_sides_it_came_with() -> None:
    report = UsageReport()
    report.read(GEMINI, {"promptTokenCount": 50, "candidatesTokenCount": 5, "totalTokenCount": 55})
    report.read(GEMINI, {"candidatesTokenCount": 70, "thoughtsTokenCount": 30})
    assert report.reading() == Reading(input=50, output=100, reasoning=30)
