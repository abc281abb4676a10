"""A month's statement: its sums are right, months join, and it can be proved later."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Organization
from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from credits import ledger
from credits.services import Credit, Kind, Reserve, Settle, apply, hold_expiry, refund
from tests.conftest import Actor

OCTOBER, NOVEMBER = datetime(2026, 10, 5, tzinfo=UTC), datetime(2026, 11, 7, 12, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Sets the ledger's clock."""
    return lambda moment: monkeypatch.setattr(ledger, "now_in_milliseconds", lambda: moment)


def charge(actor: Actor, record: Callable[..., UsageRecord], model: str, credits: int, at: datetime) -> None:
    reserve = Reserve(wallet_id=actor.organization.pk, amount=credits * CREDIT, expires_at=hold_expiry())
    apply([reserve])[0].or_raise()
    settled = apply([Settle(hold=reserve.hold, charge=credits * CREDIT)])[0].or_raise()
    assert settled.entry is not None
    record(
        actor, model=model, charged=credits * CREDIT, hold_id=reserve.hold_id,
        reference=settled.entry.reference, created_at=at,
    )  # fmt: skip


@pytest.fixture
def months(alice: Actor, usage_record: Callable[..., UsageRecord], clock: Callable[[datetime], None]) -> Actor:
    """October: starter credits, and 10 spent. November: 50 come in, 3 and 4 are spent on two models, 1 is given back."""
    clock(OCTOBER)
    assert alice.wallet.available == 100 * CREDIT
    charge(alice, usage_record, "gemini", 10, OCTOBER)
    clock(NOVEMBER)
    apply([Credit(wallet_id=alice.organization.pk, amount=50 * CREDIT, reference="voucher:1", reason="=1+1")])
    charge(alice, usage_record, "gpt", 3, NOVEMBER)
    charge(alice, usage_record, "gpt", 2, NOVEMBER)
    charge(alice, usage_record, "gemini", 4, NOVEMBER)
    entry = alice.organization.wallet.entries.filter(kind=Kind.CHARGE).order_by("-sequence")[0]
    refund(entry, CREDIT, reason="Sorry")
    return alice


def statement(actor: Actor, month: str) -> dict[str, Any]:
    answer = actor.get(f"/api/v1/statements/{month}")
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def proved(path: Path) -> str:
    out = io.StringIO()
    call_command("verify_statement", str(path), stdout=out)
    return out.getvalue()


def test_a_month_says_what_came_and_went(months: Actor) -> None:
    body = statement(months, "2026-11")
    assert (body["opening_balance"], body["closing_balance"]) == ("90", "132")
    assert [(row["kind"], row["credits"]) for row in body["money_in"]] == [("GRANT", "50")]
    assert body["charges"] == [
        {"day": "2026-11-07", "model": "gemini", "requests": 1, "credits": "4"},
        {"day": "2026-11-07", "model": "gpt", "requests": 2, "credits": "5"},
    ]
    assert [row["credits"] for row in body["refunds"]] == ["1"]
    totals = {"money_in": "50", "refunds": "1", "adjustments": "0", "expiries": "0", "charges": "-9"}
    assert body["totals"] == totals


def test_months_join(months: Actor) -> None:
    bodies = [statement(months, month) for month in ("2026-09", "2026-10", "2026-11", "2026-12")]
    ends = [(body["opening_balance"], body["closing_balance"]) for body in bodies]
    assert ends == [("0", "0"), ("0", "90"), ("90", "132"), ("132", "132")]
    assert bodies[2]["first_sequence"] == bodies[1]["last_sequence"] + 1
    assert bodies[0]["first_digest"] is None
    assert len(bodies[1]["last_digest"]) == 64


def test_nobody_sees_another_s(months: Actor, bob: Actor) -> None:
    assert statement(bob, "2026-11")["organization"] == str(bob.organization.pk)
    bob.with_login()
    answer = bob.get("/api/v1/statements/2026-11", headers={"X-Organization": str(months.organization.pk)})
    assert answer.status_code == 404


@pytest.mark.parametrize("month", ["2026-13", "2026", "0001-01", "2026-1", "nonsense", "9999-12"])
def test_what_is_no_month_is_refused(alice: Actor, month: str) -> None:
    answer = alice.get(f"/api/v1/statements/{month}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "month")


def test_the_csv_has_the_same_figures(months: Actor) -> None:
    answer = months.get("/api/v1/statements/2026-11?format=csv")
    assert answer["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert [(row["line"], row["credits"]) for row in rows] == [
        ("statement", ""), ("opening_balance", "90"), ("money_in", "50"), ("refunds", "1"), ("charges", "-4"),
        ("charges", "-5"), ("closing_balance", "132"),
    ]  # fmt: skip


def test_a_page_to_print_has_the_same_figures_and_escapes_names(months: Actor) -> None:
    Organization.objects.filter(pk=months.organization.pk).update(name="<script>alert(1)</script>")
    answer = months.get("/api/v1/statements/2026-11?format=html")
    page = answer.content.decode()
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
    for text in ("Statement 2026-11", ">90<", ">50<", ">gemini<", ">-4<", ">132<", "&lt;script&gt;"):
        assert text in page
    assert "<script>" not in page
    wrong = months.get("/api/v1/statements/2026-13?format=html")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "month")


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_statement_is_proved_also_after_more_was_spent(
    months: Actor, usage_record: Callable[..., UsageRecord], tmp_path: Path, kind: str
) -> None:
    answer = months.get(f"/api/v1/statements/2026-11?format={kind}")
    content = answer.content if kind == "json" else b"".join(answer.streaming_content)
    (tmp_path / "statement").write_bytes(content)
    charge(months, usage_record, "gpt", 7, NOVEMBER)
    assert "is right" in proved(tmp_path / "statement")


def test_a_changed_statement_is_found(months: Actor, tmp_path: Path) -> None:
    body = statement(months, "2026-11")
    path = tmp_path / "statement"
    path.write_text(json.dumps({**body, "closing_balance": "500"}))
    with pytest.raises(CommandError, match="sums are wrong"):
        proved(path)
    path.write_text(json.dumps({**body, "opening_balance": "91", "closing_balance": "133"}))
    with pytest.raises(CommandError, match="differs from the ledger in: opening_balance"):
        proved(path)
    path.write_text(json.dumps({**body, "last_digest": "0" * 64}))
    with pytest.raises(CommandError, match="differs from the ledger in: closing_balance"):
        proved(path)


@pytest.mark.parametrize("content", ["", "{}", "nonsense", "[1]", '{"month": 1}', "line,date\nstatement,2026-11\n"])
def test_another_file_is_refused_in_one_line(db: None, tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(CommandError) as caught:
        proved(tmp_path / "file")
    assert "\n" not in str(caught.value)
    with pytest.raises(CommandError):
        proved(tmp_path / "missing")
