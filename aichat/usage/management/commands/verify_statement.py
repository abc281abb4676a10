import csv
import json
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from aichat.core.errors import ApiError
from aichat.usage.statements import SECTIONS, Statement, csv_rows, month_of

LARGEST_FILE = 100 * 2**20  # bytes


class Command(BaseCommand):
    help = (
        "Prove a statement (JSON or CSV of /api/v1/statements): its own sums, and against the ledger; else exit with 1."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            rows, organization, month, last = read(options["file"])
            check_sums(rows)
        except (OSError, ValueError, TypeError, LookupError, AttributeError, InvalidOperation) as error:
            raise CommandError(
                f"This is no statement of ours: {type(error).__name__}: {error}".splitlines()[0]
            ) from None
        try:
            statement = Statement.of(organization, month_of(month), last_sequence=last)
        except ApiError as error:
            raise CommandError(error.message) from None
        if statement.broken:
            raise CommandError("The ledger's chain is broken within this month: run verify_ledger.")
        ours = list(csv_rows(statement.body()))
        if ours != rows:
            differing = next((pair for pair in zip(rows, ours, strict=False) if pair[0] != pair[1]), None)
            name = differing[0]["line"] if differing else "the number of lines"
            raise CommandError(f"The statement differs from the ledger in: {name}.")
        self.stdout.write(f"The statement of {month} is right: its sums, and {last or 0} entries of the chain.")


def read(path: Path) -> tuple[list[dict[str, str]], UUID, str, int | None]:
    """The statement's lines, its organization, month and last entry. Raises `ValueError` and its like for other files."""
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError("the file is larger than 100 MiB")
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("{"):
        rows = list(csv_rows(json.loads(text)))
    else:
        rows = [dict(row) for row in csv.DictReader(text.splitlines())]
    head, end = rows[0], rows[-1]
    if head["line"] != "statement" or end["line"] != "closing_balance":
        raise ValueError("its first or last line is missing")
    return rows, UUID(head["reference"]), head["date"], int(end["sequence"]) if end["sequence"] else None


def check_sums(rows: list[dict[str, str]]) -> None:
    """Raise `CommandError` unless the opening balance and all lines make the closing balance."""
    moved = sum((Decimal(row["credits"]) for row in rows if row["line"] in {*SECTIONS, "charges"}), Decimal(0))
    opening, closing = Decimal(rows[1]["credits"]), Decimal(rows[-1]["credits"])
    if opening + moved != closing:
        raise CommandError(f"Its own sums are wrong: {opening} and {moved} is not {closing}.")
