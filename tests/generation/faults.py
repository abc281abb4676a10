"""The fault grid: every way a provider fails, what the client sees, what it is charged. Tests and page are made of it.

`python -m tests.generation.faults` writes `docs/FAULTS.md`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.upstream import Reply
from tests.upstream_answers import ANSWER

PAGE = Path(__file__).parents[2] / "docs" / "FAULTS.md"
PROVIDERS = ("gemini", "openai")
MODES = ("json", "stream")
Charge = Literal["nothing", "reported usage", "our estimate", "what was delivered"]


@dataclass(frozen=True)
class Cell:
    """What one fault comes to in one mode, without a second candidate; `falls_back`: with one, that one answers."""

    status: int
    code: str
    recorded: str
    charged: Charge = "nothing"
    falls_back: bool = True
    text: str = ANSWER

    @property
    def is_midway(self) -> bool:
        return self.recorded == "partial"

    @property
    def sees(self) -> str:
        if not self.code:
            return "the answer" if self.text else "an answer without a word, `finish_reason: length`"
        return (
            f"what was delivered, then an error event `{self.code}`"
            if self.is_midway
            else f"{self.status} `{self.code}`"
        )


@dataclass(frozen=True)
class Fault:
    """`reply` says how the fake upstream does it. A mode without a cell does not know this fault."""

    title: str
    reply: Reply
    json: Cell | None
    stream: Cell | None
    providers: tuple[str, ...] = PROVIDERS

    @property
    def id(self) -> str:
        return self.title.replace(" ", "_").replace(",", "")

    def cell(self, mode: str) -> Cell | None:
        return self.json if mode == "json" else self.stream


def both(cell: Cell) -> tuple[Cell, Cell]:
    return cell, cell


def failed(outcome: str) -> Cell:
    return Cell(502, "provider_error", outcome)


def unavailable(outcome: str) -> Cell:
    return Cell(503, "provider_unavailable", outcome)


def late(outcome: str) -> Cell:
    return Cell(504, "provider_timeout", outcome)


def broken_off(code: str) -> Cell:
    return Cell(200, code, "partial", "what was delivered", falls_back=False)


ANSWERED = Cell(200, "", "ok", "reported usage", falls_back=False)

FAULTS = [
    Fault("answers", Reply("answer"), *both(ANSWERED)),
    Fault("reports no usage", Reply("unreported"), *both(Cell(200, "", "ok", "our estimate", falls_back=False))),
    Fault("refuses the connection", Reply("refused"), *both(unavailable("unreachable"))),
    Fault("does not take the connection", Reply("unconnected"), *both(late("timeout_connect"))),
    Fault("never answers", Reply("hang"), late("timeout_attempt"), late("timeout_first_token")),
    Fault(
        "sends headers, then nothing", Reply("hang_after_headers"), late("timeout_attempt"), late("timeout_first_token")
    ),
    Fault("drops the connection", Reply("drop"), *both(failed("broken_stream"))),
    Fault("says 400", Reply("refuse", 400), *both(Cell(400, "invalid_request", "invalid_request", falls_back=False))),
    Fault(
        "says 400 to our key",
        Reply("refuse", 400, "API_KEY_INVALID"),
        *both(failed("auth_failure")),
        providers=("gemini",),
    ),
    Fault("says 401", Reply("refuse", 401), *both(failed("auth_failure"))),
    Fault("says 404", Reply("refuse", 404), *both(failed("model_missing"))),
    Fault("says 429", Reply("refuse", 429, headers={"Retry-After": "7"}), *both(unavailable("rate_limited"))),
    Fault("says 500", Reply("refuse", 500), *both(unavailable("overloaded"))),
    Fault("says 503", Reply("refuse", 503), *both(unavailable("overloaded"))),
    Fault("says 504", Reply("refuse", 504), *both(late("timeout_attempt"))),
    Fault("answers without content", Reply("empty"), *both(failed("empty"))),
    Fault("answers with nothing at all", Reply("blank"), *both(failed("empty"))),
    Fault(
        "thinks until max_tokens",
        Reply("thinking_only"),
        *both(Cell(200, "", "ok", "reported usage", falls_back=False, text="")),
    ),
    Fault("blocks the content", Reply("blocked"), *both(Cell(400, "content_blocked", "blocked", falls_back=False))),
    Fault("answers no JSON", Reply("garbage"), *both(failed("malformed"))),
    Fault("answers another shape", Reply("wrong_shape"), *both(failed("malformed"))),
    Fault("ends without a finish reason", Reply("truncate"), ANSWERED, broken_off("provider_error")),
    Fault("breaks off midway", Reply("drop_midway"), failed("broken_stream"), broken_off("provider_error")),
    Fault("stalls midway", Reply("stall"), late("timeout_attempt"), broken_off("provider_timeout")),
    Fault("sends a corrupt chunk midway", Reply("garbage_midway"), None, broken_off("provider_error")),
    Fault("reports an error midway", Reply("error_midway"), None, broken_off("provider_unavailable")),
    Fault("never comes to an end", Reply("endless"), None, broken_off("provider_timeout")),
]

HEAD = """# What each outcome costs, and what each fault does

<!-- Written by `python -m tests.generation.faults` from what the tests assert; a test compares. Don't edit by hand. -->

Nothing is charged for what was not delivered, and a stream never just ends. The rule for every outcome, with its test:

"""

GRID_HEAD = """
## The fault grid

One request each, JSON and stream, against a provider that misbehaves so. "Alone" is a model without a second candidate;
with one (`auto`, or the model's fallbacks) a retryable fault is not seen by the client at all: the answer comes from the
next candidate, marked `"fallback": true`, and is charged by the usage and prices of the model that served. The failed
attempt is recorded beside it with its status, at no charge. Gemini and OpenAI behave alike unless a row names one.

| the provider … | mode | alone, the client sees | is charged | recorded as | with a second candidate |
| --- | --- | --- | --- | --- | --- |
"""


def page() -> str:
    from tests.generation.charging.bills import rows

    return HEAD + rows() + GRID_HEAD + "".join(grid())


def grid() -> list[str]:
    lines = []
    for fault in FAULTS:
        only = f" ({fault.providers[0].title()})" if len(fault.providers) == 1 else ""
        if fault.json == fault.stream:
            lines.append(line(fault.title + only, "both", fault.json))
        else:
            lines += [line(fault.title + only, mode, cell) for mode in MODES if (cell := fault.cell(mode))]
    return lines


def line(title: str, mode: str, cell: Cell | None) -> str:
    assert cell is not None
    second = "it answers" if cell.falls_back else "the same"
    return f"| {title} | {mode} | {cell.sees} | {cell.charged} | `{cell.recorded}` | {second} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
