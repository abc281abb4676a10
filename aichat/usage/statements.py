"""A month of an organization's credits: the balance at its beginning, what came in, what was charged, the balance at its end.

The entries of a month begin after the last one made before the month, and end with the last one made before its end. So the
months of a wallet join without a gap or an overlap, whatever the clocks of the servers said, and a month's statement is the
same whenever it is made.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext

from aichat.core.database.batches import in_batches
from aichat.core.errors import InvalidRequest
from aichat.core.money import format_credits
from aichat.usage.models import UsageRecord
from credits.models import LedgerEntry

Kind = LedgerEntry.Kind
SECTIONS = ("money_in", "refunds", "adjustments", "expiries")
COLUMNS = ("line", "date", "kind", "model", "reference", "requests", "credits", "sequence", "digest")
FIRST_YEAR, LAST_YEAR = 2000, 2200


def month_of(text: str) -> datetime:
    """The first moment of a month written as 2026-11. Raises `InvalidRequest`."""
    try:
        month = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
        if len(text) == 7 and FIRST_YEAR <= month.year <= LAST_YEAR:
            return month
    except ValueError:
        pass
    raise InvalidRequest(gettext("Write a month such as 2026-11."), param="month")


def _end_of(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


@dataclass(slots=True)
class Statement:
    """The figures of a month, in microcredits. `charges` are, by day and model, how many there were and their sum."""

    organization: UUID
    month: datetime
    opening: int = 0
    closing: int = 0
    first: LedgerEntry | None = None
    last: LedgerEntry | None = None
    lines: dict[str, list[LedgerEntry]] = field(default_factory=lambda: {name: [] for name in SECTIONS})
    charges: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    broken: bool = False

    @classmethod
    def of(cls, organization: UUID, month: datetime, *, last_sequence: int | None = None) -> "Statement":
        """The statement of the wallet, made of its entries; up to `last_sequence` when it was made before the month's end."""
        entries = LedgerEntry.objects.filter(wallet_id=organization)
        before = entries.filter(created_at__lt=month).order_by("-sequence").first()
        within = entries.filter(created_at__lt=_end_of(month)).order_by("-sequence").first()
        start, end = before.sequence if before else 0, within.sequence if within else 0
        if last_sequence is not None:
            end = min(end, last_sequence)
        found = cls(organization, month)
        found.opening = found.closing = before.balance_after if before else 0
        rows = entries.filter(sequence__gt=start, sequence__lte=end).order_by("sequence")
        previous = before.digest if before else ""
        for batch in in_batches(rows.iterator(chunk_size=500)):
            for entry in batch:
                is_right = entry.digest == entry.digest_after(previous)
                found.broken = found.broken or not is_right or entry.balance_after != found.closing + entry.amount
                previous = entry.digest
                found._add(entry)
            found._add_charges([entry for entry in batch if entry.kind == Kind.CHARGE])
        return found

    def _add(self, entry: LedgerEntry) -> None:
        self.first = self.first or entry
        self.last, self.closing = entry, entry.balance_after
        if entry.kind != Kind.CHARGE:
            self.lines[_section_of(entry)].append(entry)

    def _add_charges(self, charges: list[LedgerEntry]) -> None:
        models = _models_of(self.organization, charges)
        for charge in charges:
            rest, day = -charge.amount, charge.created_at.astimezone(UTC).date().isoformat()
            for model, charged in models.get(charge.reference, ()):
                self._count(day, model, min(charged, rest))
                rest -= min(charged, rest)
            if rest:
                self._count(day, "", rest)

    def _count(self, day: str, model: str, charged: int) -> None:
        figures = self.charges[day, model]
        figures[0] += 1
        figures[1] += charged

    def totals(self) -> dict[str, int]:
        """By how many microcredits each part of the statement changed the balance; charges are negative."""
        sums = {name: sum(entry.amount for entry in self.lines[name]) for name in SECTIONS}
        return {**sums, "charges": -sum(charged for _, charged in self.charges.values())}

    def body(self) -> dict[str, Any]:
        """The JSON of the statement; amounts are credits as decimal strings."""
        return {
            "organization": str(self.organization),
            "month": f"{self.month:%Y-%m}",
            "complete": _end_of(self.month) <= timezone.now(),
            "opening_balance": format_credits(self.opening),
            **{name: [_written(entry) for entry in self.lines[name]] for name in SECTIONS},
            "charges": [
                {"day": day, "model": model, "requests": requests, "credits": format_credits(charged)}
                for (day, model), (requests, charged) in sorted(self.charges.items())
            ],
            "totals": {name: format_credits(amount) for name, amount in self.totals().items()},
            "closing_balance": format_credits(self.closing),
            "first_sequence": self.first.sequence if self.first else None,
            "last_sequence": self.last.sequence if self.last else None,
            "first_digest": self.first.digest if self.first else None,
            "last_digest": self.last.digest if self.last else None,
        }


def _section_of(entry: LedgerEntry) -> str:
    if entry.kind == Kind.REFUND:
        return "refunds"
    if entry.kind == Kind.EXPIRY:
        return "expiries"
    return "adjustments" if entry.kind in {Kind.ADJUSTMENT, Kind.REVERSAL} else "money_in"


def _models_of(organization: UUID, charges: list[LedgerEntry]) -> dict[str, list[tuple[str, int]]]:
    """The models that served the charges with what each charged, by the charge's reference."""
    found = defaultdict(list)
    holds = _holds_of(charges)
    rows = UsageRecord.objects.filter(organization_id=organization, hold_id__in=list(holds), charged__gt=0)
    for hold, model, charged in rows.order_by("id").values_list("hold_id", "model", "charged"):
        assert hold is not None  # the filter names holds
        found[holds[hold]].append((model, charged))
    return found


def _holds_of(charges: list[LedgerEntry]) -> dict[UUID, str]:
    """The references of charges by the hold they name, where a reference is a hold's ID."""
    found = {}
    for charge in charges:
        try:
            found[UUID(charge.reference)] = charge.reference
        except ValueError:
            continue
    return found


def _written(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "date": entry.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "kind": entry.kind,
        "credits": format_credits(entry.amount),
        "reference": entry.reference,
        "reason": entry.reason,
    }


# --- As lines of CSV, and back ----------------------------------------------------------------------------------------


def csv_rows(body: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The lines of a statement's CSV: what it is of, its beginning, its parts and its end."""
    yield _line("statement", date=body["month"], reference=body["organization"])
    yield _line(
        "opening_balance",
        credits=body["opening_balance"],
        sequence=body["first_sequence"],
        digest=body["first_digest"],
    )
    for name in SECTIONS:
        for row in body[name]:
            shown = {key: row[key] for key in ("date", "kind", "credits", "reference")}
            yield _line(name, **shown)
    for row in body["charges"]:
        yield _line(
            "charges", date=row["day"], model=row["model"], requests=row["requests"], credits=f"-{row['credits']}"
        )
    yield _line(
        "closing_balance", credits=body["closing_balance"], sequence=body["last_sequence"], digest=body["last_digest"]
    )


def _line(name: str, **cells: Any) -> dict[str, str]:
    values = {"line": name, **cells}
    return {column: "" if values.get(column) is None else str(values[column]) for column in COLUMNS}
