"""The cost providers should bill, by day and model, beside the credits charged: to compare with a provider's invoice.

Costs are recorded at the prices in force. The invoice may differ where usage was estimated (`estimated_rate`) or a
price is doubtful (`aichat/catalog/drift.py`). Tokens are those that a provider bills: an answer from the prompt cache
counts as a request, without tokens.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from admin_dashboard.reports.statistics import dollars
from aichat.catalog import drift
from aichat.catalog.drift import Finding
from aichat.core.money import format_credits
from aichat.usage import queries
from aichat.usage.queries import Figures
from aichat.usage.query_params import as_day
from aichat.usage.windows import Window

Row = tuple[date, str, str, Figures]  # day, model, provider
COLUMNS = [
    "day", "provider", "model", "requests", "attempts", "input_tokens", "cached_input_tokens", "output_tokens",
    "images", "cost_usd", "credits_charged", "charged_usd", "margin_usd", "estimated_rate",
    "implausible_rate", "shortfall_credits", "price",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The costs and charges of a window, read with a fixed number of queries."""

    window: Window
    rows: list[Row]  # the latest day first; within a day the most expensive model first
    findings: Mapping[str, Finding]  # by model

    @classmethod
    def of(cls, window: Window) -> "Reconciliation":
        groups = queries.sums(window, ["day", "model", "provider"])
        rows = [(as_day(day), model, provider, row) for (day, model, provider), row in groups.items()]
        rows.sort(key=lambda row: (-row[0].toordinal(), -row[3].cost_nanousd, row[1], row[2]))
        found = drift.findings({row[1] for row in rows})
        return cls(window, rows, {finding.model: finding for finding in found})

    @property
    def total(self) -> Figures:
        return queries.total({number: row[3] for number, row in enumerate(self.rows)})  # type: ignore[misc]

    def by_model(self) -> list[tuple[str, str, Figures]]:
        """Return triples of model, provider and figures, the most expensive first."""
        groups = queries.regroup({(m, p, d): row for d, m, p, row in self.rows}, 0, 1)
        return sorted(
            ((model, provider, row) for (model, provider), row in groups.items()),
            key=lambda item: (-item[2].cost_nanousd, item[0]),
        )

    def by_day(self) -> list[tuple[date, Figures]]:
        groups = queries.regroup({(d, m, p): row for d, m, p, row in self.rows}, 0)
        return sorted((key[0], row) for key, row in groups.items())

    def written_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as the API writes them, in JSON and CSV alike."""
        for day, model, provider, row in self.rows:
            finding = self.findings.get(model)
            amounts = amounts_of(row)
            yield {
                "day": day.isoformat(), "provider": provider, "model": model, **amounts,
                "price": finding.state if finding else "ok",
            }  # fmt: skip

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the API's answer."""
        return {
            "from": self.window.start,
            "to": self.window.end,
            "totals": amounts_of(self.total),
            "results": list(self.written_rows()),
            "prices": [
                {"model": f.model, "state": f.state, "problem": f.is_problem, "message": f.text, "mend": f.mend}
                for f in self.findings.values()
            ],
        }


def amounts_of(row: Figures) -> dict[str, Any]:
    return {
        "requests": row.requests,
        "attempts": row.attempts,
        "input_tokens": row.input_tokens - row.hit_input_tokens,
        "cached_input_tokens": row.cached_input_tokens - row.hit_cached_input_tokens,
        "output_tokens": row.output_tokens - row.hit_output_tokens,
        "images": row.images,
        "cost_usd": dollars(row.cost_usd),
        "credits_charged": format_credits(row.charged),
        "charged_usd": dollars(row.charged_usd),
        "margin_usd": dollars(row.margin_usd),
        "estimated_rate": row.estimated_rate,
        "implausible_rate": row.implausible_rate,
        "shortfall_credits": format_credits(row.shortfall),
    }
