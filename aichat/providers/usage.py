"""Reads the token counts that providers report, in every vendor's words, into one set of figures.

A `UsageFormat` lists where each figure stands in a usage object, with the synonyms that servers of that format use. A
`UsageReport` collects the figures of one answer, chunk by chunk. `reading` decides which counts are parts of which: a
reported total is the judge, the vendor's documentation decides where no total is reported.

What is plausible depends on what was asked for: `aichat/generation/charging/plausibility.py` decides that.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Any, Literal

Figure = Literal["input", "output", "cached", "written", "written_1h", "reasoning", "tools", "total"]

LARGEST_COUNT = 2**31 - 1  # what the columns of a usage record hold on every engine
LONGEST_NAME = 100  # characters of a model's name


@dataclass(frozen=True, slots=True)
class UsageFormat:
    """The places of the token counts in the answers of one format.

    `paths` gives for each figure the places to look at, dotted, best first: the first positive count is taken. `beside`
    names the figures that the vendor counts beside its input or output, not as a part of it, when no total tells.
    """

    paths: Mapping[Figure, tuple[str, ...]]
    beside: frozenset[Figure] = frozenset()
    # The same paths, taken apart once for all answers: the figure, the first name, the names below it.
    places: tuple[tuple[Figure, str, tuple[str, ...]], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        split = [(figure, path.split(".")) for figure, paths in self.paths.items() for path in paths]
        object.__setattr__(self, "places", tuple((figure, names[0], tuple(names[1:])) for figure, names in split))


# OpenAI: cached tokens are part of `prompt_tokens`, reasoning of `completion_tokens`.
# https://platform.openai.com/docs/api-reference/chat/object (Responses and images say `input_tokens`, `output_tokens`:
# https://platform.openai.com/docs/api-reference/responses/object). Synonyms of servers that speak the format:
# DeepSeek `prompt_cache_hit_tokens`: https://api-docs.deepseek.com/guides/kv_cache
# Moonshot, Together `cached_tokens`: https://platform.moonshot.ai/docs/api/chat
# Perplexity `reasoning_tokens`: https://docs.perplexity.ai/api-reference/chat-completions-post
# OpenRouter `cache_write_tokens`: https://openrouter.ai/docs/use-cases/usage-accounting
# DashScope `cache_creation_input_tokens`: https://help.aliyun.com/zh/model-studio/context-cache
# LiteLLM `cache_creation_token_details`: https://docs.litellm.ai/docs/completion/prompt_caching
# Mistral `num_cached_tokens`: https://docs.mistral.ai/api; Ollama `…eval_count`: https://docs.ollama.com/api
# xAI counts reasoning beside `completion_tokens`, and its total says so: https://docs.x.ai/docs/guides/reasoning
OPENAI = UsageFormat(
    paths={
        "input": ("prompt_tokens", "input_tokens", "prompt_eval_count"),
        "output": ("completion_tokens", "output_tokens", "eval_count"),
        "cached": (
            "prompt_tokens_details.cached_tokens",
            "input_tokens_details.cached_tokens",
            "prompt_token_details.cached_tokens",
            "prompt_cache_hit_tokens",
            "cached_tokens",
            "num_cached_tokens",
            "cache_read_input_tokens",
        ),
        "written": (
            "prompt_tokens_details.cache_write_tokens",
            "prompt_tokens_details.cache_creation_input_tokens",
            "prompt_tokens_details.cache_creation_tokens",
            "input_tokens_details.cache_write_tokens",
            "cache_creation_input_tokens",
            "cache_write_tokens",
        ),
        "written_1h": (
            "prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",
            "cache_creation.ephemeral_1h_input_tokens",
        ),
        "reasoning": (
            "completion_tokens_details.reasoning_tokens",
            "output_tokens_details.reasoning_tokens",
            "reasoning_tokens",
        ),
        "total": ("total_tokens",),
    }
)


@dataclass(frozen=True, slots=True)
class Reading:
    """The figures of an answer with their places decided; None: not reported.

    `cached` and `written` are parts of `input`, `written_1h` of `written`, `reasoning` is a part of `output`. `unnamed`
    tokens are in the reported total and in no other figure. `doubts` are the names of figures that can't be true,
    whatever was asked for.
    """

    input: int | None = None
    output: int | None = None
    cached: int = 0
    written: int = 0
    written_1h: int = 0
    reasoning: int = 0
    unnamed: int = 0
    doubts: frozenset[str] = frozenset()


@dataclass(slots=True)
class UsageReport:
    """What the provider of one answer has reported so far: kept when the answer breaks off or its client leaves.

    A later figure replaces an earlier one, as counts in a stream are cumulative, but zero never does.
    `impossible` holds figures that are negative, not finite, or larger than LARGEST_COUNT, as they were reported.
    `model` is the name under which the provider says that it answered, as far as it told it beside a usage.
    """

    format: UsageFormat = OPENAI
    model: str = ""
    figures: dict[Figure, int] = field(default_factory=dict)
    impossible: dict[str, str] = field(default_factory=dict)

    def read(self, format: UsageFormat, usage: Any, model: Any = None) -> None:
        """Take the figures of a usage object, and the model's name. Any other value changes nothing. Never raises."""
        if not isinstance(usage, dict) or not usage:
            return
        self.format = format
        if isinstance(model, str):
            self.model = model[:LONGEST_NAME]
        found: dict[Figure, int] = {}
        for figure, name, below in format.places:
            if name not in usage:
                continue
            count = as_count(_below(usage[name], below) if below else usage[name])
            if isinstance(count, str):
                self.impossible.setdefault(figure, count)
            elif count is not None and not found.get(figure):
                found[figure] = count
        self.merge(found)

    @classmethod
    def together(cls, reports: Sequence["UsageReport"]) -> "UsageReport":
        """The sum of several answers' reports. Empty when one of them is: then the sum would miss a part."""
        added = cls(reports[0].format if reports else OPENAI)
        if any(report.is_empty for report in reports):
            return added
        for report in reports:
            for figure, count in report.figures.items():
                added.figures[figure] = added.figures.get(figure, 0) + count
            added.impossible |= report.impossible
        return added

    def merge(self, found: Mapping[Figure, int]) -> None:
        """Add the figures of a later report. A total stands only for the sides that were reported with it."""
        has_side = found.get("input") or found.get("output") or found.get("reasoning")
        if has_side and not found.get("total"):
            self.figures.pop("total", None)
        for figure, count in found.items():
            if count or figure not in self.figures:
                self.figures[figure] = count

    @property
    def is_empty(self) -> bool:
        """Whether no positive count was reported."""
        return not any(self.figures.values())

    def as_reported(self) -> dict[str, Any]:
        """The figures in our words, for a record that somebody will look into."""
        return dict(chain(self.figures.items(), self.impossible.items()))

    def reading(self) -> Reading:
        """The figures with their places decided: those whose sum is the reported total, else the vendor's own."""
        figures = self.figures
        optional: tuple[Figure, ...] = ("reasoning", "cached", "written", "tools")
        present = [name for name in optional if figures.get(name)]
        total, best = figures.get("total", 0), self._usual_places(present)
        named = figures.get("input", 0) and figures.get("output", 0)
        if total and named and self._sum(best) != total:
            best = next((beside for beside in _subsets(present) if self._sum(beside) == total), best)
        return self._placed(best)

    def _usual_places(self, present: list[Figure]) -> frozenset[Figure]:
        """The figures beside the others by the vendor's documentation; a part larger than its whole must be beside it."""
        places = set(self.format.beside)
        if self.figures.get("reasoning", 0) > self.figures.get("output", 0) > 0:
            places.add("reasoning")
        return frozenset(places & set(present))

    def _sum(self, beside: frozenset[Figure]) -> int:
        figures = self.figures
        return figures.get("input", 0) + figures.get("output", 0) + sum(figures[name] for name in beside)

    def _placed(self, beside: frozenset[Figure]) -> Reading:
        figures, total = self.figures, self.figures.get("total", 0)
        doubts = set(self.impossible)
        known_input, known_output = figures.get("input"), figures.get("output")
        read, made, unnamed = known_input or 0, known_output or 0, 0
        for name in beside:
            if name == "reasoning":
                made += figures[name]
            else:
                read += figures[name]
        if total and read and not made:
            made = max(0, total - read)
        elif total and made and not read:
            read = max(0, total - made)
        elif total and total < read + made:
            doubts.add("total")
        elif total:
            unnamed = total - read - made
        cached, written = figures.get("cached", 0), figures.get("written", 0)
        if cached + written > read:
            doubts.add("cached")
        cached = min(cached, read)
        return Reading(
            input=read if read or known_input is not None else None,
            output=made if made or known_output is not None else None,
            cached=cached,
            written=min(written, read - cached),
            written_1h=min(figures.get("written_1h", 0), written, read - cached),
            reasoning=min(figures.get("reasoning", 0), made),
            unnamed=unnamed,
            doubts=frozenset(doubts),
        )


def as_count(value: Any) -> int | str | None:
    """A reported value as a count; None for what is no number, its text for a number that can be no count (-1, 1e300)."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        try:
            value = float(value) if not value.strip().isdecimal() else int(value[:40])
        except ValueError:
            return None
    if not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return int(value) if 0 <= value <= LARGEST_COUNT else str(value)[:40]


def _below(value: Any, names: Sequence[str]) -> Any:
    """The value under the names, each inside the one before; None when there is none."""
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _subsets(names: list[Figure]) -> Iterator[frozenset[Figure]]:
    for chosen in product((False, True), repeat=len(names)):
        yield frozenset(name for name, is_beside in zip(names, chosen, strict=True) if is_beside)
