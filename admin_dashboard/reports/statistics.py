"""The figures of the whole installation: usage, users and credits, for the REST endpoints and the dashboard."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import Sum
from django.db.models.functions import TruncDate

from accounts.models import User
from aichat.core.money import format_credits
from aichat.usage import queries
from aichat.usage.histogram import Histogram, percentile
from aichat.usage.queries import Figures, Key
from aichat.usage.windows import Window
from credits.models import LedgerEntry

Kind = LedgerEntry.Kind
GIVEN = [Kind.STARTER, Kind.GRANT, Kind.ALLOWANCE]
BY = ["day", "provider", "model", "kind"]
ENDINGS_BY = BY[:3]  # a model is of one kind


@dataclass(frozen=True, slots=True)
class Statistics:
    """All figures of a time window, read with a fixed number of queries."""

    window: Window
    groups: Mapping[Key, Figures]  # by BY
    endings: Mapping[Key, Histogram]  # by ENDINGS_BY and status
    granted: Mapping[date, int]  # microcredits by day
    active: int
    users: int

    @classmethod
    def of(cls, window: Window) -> "Statistics":
        return cls(
            window,
            groups=queries.sums(window, BY),
            endings=queries.endings(window, ENDINGS_BY),
            granted=granted(window),
            active=queries.active_users(window).get((), 0),
            users=User.objects.filter(created_at__lt=window.end).count(),
        )

    @property
    def total(self) -> Figures:
        return queries.total(self.groups)

    @property
    def latency(self) -> dict[int, int]:
        return queries.answered(self.endings)

    def failures(self) -> dict[str, int]:
        """Return the numbers of failed requests by status, the most frequent first."""
        found: dict[str, int] = {}
        for key, histogram in self.endings.items():
            if key[-1] not in queries.FINE:
                found[key[-1]] = found.get(key[-1], 0) + sum(histogram.values())
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def by(self, column: str) -> dict[Any, Figures]:
        """Return the figures by the values of a column, one of BY."""
        return {key[0]: row for key, row in queries.regroup(self.groups, BY.index(column)).items()}

    def latency_by(self, column: str) -> dict[Any, dict[int, int]]:
        position = BY.index(column)
        found: dict[Any, list[Histogram]] = {}
        for key, histogram in self.endings.items():
            if key[-1] == "ok":
                found.setdefault(key[position], []).append(histogram)
        return {key: queries.merged(iter(histograms)) for key, histograms in found.items()}

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the API's answer."""
        totals = {
            "users": self.users,
            "active_users": self.active,
            **written(self.total, self.latency),
            "credits_granted": format_credits(sum(self.granted.values())),
        }
        return {
            "from": self.window.start,
            "to": self.window.end,
            "totals": totals,
            "by_day": self.days(),
            "by_provider": self.rows("provider"),
            "by_model": self.rows("model"),
            "by_kind": self.kinds(),
        }

    def days(self) -> list[dict[str, Any]]:
        """Return the days with usage or with credits given away, in order."""
        used = {row["day"]: row for row in self.rows("day")}
        unused = {"active_users": 0, **written(Figures(), {})}
        return [
            {**used.get(day, {"day": day, **unused}), "credits_granted": format_credits(self.granted.get(day, 0))}
            for day in sorted({*used, *self.granted})
        ]

    def kinds(self) -> list[dict[str, Any]]:
        """Return the figures of each kind of request (chat, image, embedding …), the most frequent first."""
        people = queries.active_users(self.window, ["kind"])
        return [
            {"kind": kind, "active_users": people.get((kind,), 0), **written(row)}
            for kind, row in sorted(self.by("kind").items(), key=lambda item: (-item[1].requests, item[0]))
        ]

    def rows(self, column: str) -> list[dict[str, Any]]:
        people = queries.active_users(self.window, [column])
        latencies = self.latency_by(column)
        return [
            {column: key, "active_users": people.get((key,), 0), **written(row, latencies.get(key, {}))}
            for key, row in sorted(self.by(column).items(), key=lambda item: (-item[1].requests, str(item[0])))
        ]


def granted(window: Window) -> dict[date, int]:
    """Return the microcredits given away (starter credits, grants, allowances) by day."""
    rows = LedgerEntry.objects.filter(kind__in=GIVEN, created_at__gte=window.start, created_at__lt=window.end).annotate(
        day=TruncDate("created_at")
    )
    return {row["day"]: row["total"] for row in rows.order_by().values("day").annotate(total=Sum("amount"))}


def written(row: Figures, latency: Histogram | None = None) -> dict[str, Any]:
    """Return figures as the administration's endpoints write them: credits and US dollars as decimal strings."""
    body: dict[str, Any] = {
        "requests": row.requests,
        "failures": row.failures,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "images": row.images,
        "characters": row.characters,
        "audio_minutes": row.audio_minutes,
        "credits_charged": format_credits(row.charged),
        "cost_usd": dollars(row.cost_usd),
        "margin_usd": dollars(row.margin_usd),
        "cache_hit_rate": row.cache_hit_rate,
        "cache_hits": row.cache_hits,
        "saved_credits": format_credits(row.saved),
        "saved_usd": dollars(row.saved_usd),
        "fallback_rate": row.fallback_rate,
        "error_rate": row.error_rate,
        "estimated_rate": row.estimated_rate,
        "implausible_rate": row.implausible_rate,
    }
    if latency is not None:
        body["latency_ms"] = {f"p{share}": percentile(latency, share / 100) for share in (50, 95, 99)}
    return body


def dollars(amount: Decimal) -> str:
    """Return a decimal as text, without trailing zeros and without an exponent."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
