"""`verify_ledger` finds what is broken, names it, and is not deceived by a ledger in use."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F, QuerySet

from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from credits import verify
from credits.models import Hold, LedgerEntry, Wallet
from credits.services import Reserve, Settle, apply, hold_expiry, refund
from tests.conftest import Actor


@pytest.fixture(autouse=True)
def _journal_of_its_own(settings: Any, tmp_path: Path) -> None:
    """No stream of another test, which may still be on its way in another process, is in the journal that is looked at."""
    settings.SETTLEMENT_JOURNAL = tmp_path


@pytest.fixture
def funded(alice: Actor) -> Actor:
    """Alice with a wallet of 100 credits after a charge of 10 with its usage record, a refund of 2, and an open hold of 5."""
    alice.set_credits(108)
    charge = settle(alice, 10 * CREDIT)
    refund(charge, 2 * CREDIT, reason="Partly wrong")
    apply([Reserve(wallet_id=alice.organization.pk, amount=5 * CREDIT, expires_at=hold_expiry())])
    return alice


def settle(actor: Actor, charge: int) -> LedgerEntry:
    reserve = Reserve(wallet_id=actor.organization.pk, amount=charge, expires_at=hold_expiry())
    apply([reserve])
    entry = apply([Settle(hold=reserve.hold, charge=charge)])[0].entry
    assert entry
    record(actor, entry)
    return entry


def record(actor: Actor, charge: LedgerEntry, **extra: Any) -> None:
    facts = {
        "request_id": "r",
        "organization": actor.organization,
        "user": actor.user,
        "requested_model": "m",
        "model": "m",
        "provider": "p",
        "status": "ok",
        "charged": -charge.amount,
        "hold_id": charge.reference,
        "reference": charge.reference,
        "created_at": charge.created_at,
        "day": charge.created_at.date(),
    }
    UsageRecord.objects.create(**{**facts, **extra})


def run(*arguments: str) -> tuple[int, str]:
    """Exit code, and everything the command wrote."""
    out = StringIO()
    try:
        call_command("verify_ledger", *arguments, stdout=out, stderr=out)
    except CommandError as error:
        return error.returncode, out.getvalue()
    return 0, out.getvalue()


def test_a_right_ledger_is_right(funded: Actor) -> None:
    assert run() == (0, "The ledger is right.\n")
    assert run("--json") == (0, "")


def entry(number: int) -> QuerySet[LedgerEntry]:
    """An entry without its protection, as raw SQL would reach it."""
    unprotected: QuerySet[LedgerEntry] = QuerySet(LedgerEntry)
    return unprotected.filter(pk=LedgerEntry.objects.order_by("sequence")[number].pk)


DEFECTS: dict[str, tuple[Callable[[], Any], str]] = {
    "a balance raised by hand": (lambda: Wallet.objects.update(available=F("available") + 1), "the entries sum to"),
    "a negative balance": (
        lambda: Wallet.objects.update(available=-1, held=F("held") + F("available") + 1),
        "available is negative",
    ),
    "held without a hold": (
        lambda: Wallet.objects.update(held=F("held") + 7, available=F("available") - 7),
        "its open holds sum to 5000000",
    ),
    "a hold closed by hand": (lambda: Hold.objects.filter(state="OPEN").update(state="RELEASED"), "open holds sum to 0"),
    "an amount changed": (lambda: entry(1).update(amount=-1), "digest differs"),
    "a kind changed": (lambda: entry(2).update(kind="GRANT"), "digest differs"),
    "a time changed": (lambda: entry(1).update(created_at="2020-01-01T00:00:00Z"), "digest differs"),
    "a reference changed": (lambda: entry(1).update(reference="other"), "digest differs"),
    "a balance_after changed": (lambda: entry(1).update(balance_after=1), "balance_after is 1"),
    "an entry deleted from the middle": (lambda: entry(1)._raw_delete("default"), "an entry is missing"),
    "the last entry deleted": (lambda: entry(3)._raw_delete("default"), "entries were written, the last one there is"),
    "an entry appended by hand": (
        lambda: LedgerEntry.objects.create(
            wallet=Wallet.objects.get(), sequence=99, kind="GRANT", amount=1, balance_after=1, reference="forged",
            created_at="2026-01-01T00:00:00Z", digest="",
        ),
        "the last one there is has sequence 99",
    ),
    "a refund of another's charge": (lambda: entry(3).update(charge=entry(0).get()), "no charge of this wallet"),
    "a refund beyond its charge": (lambda: entry(3).update(amount=11 * CREDIT), "its refunds sum to 11000000"),
    "a charge without usage": (lambda: UsageRecord.objects.all().delete(), "its usage records say 0"),
    "usage of another amount": (lambda: UsageRecord.objects.update(charged=1), "its usage records say 1"),
    "usage without a charge": (lambda: UsageRecord.objects.update(reference="nowhere"), "no such charge"),
}  # fmt: skip


@contextmanager
def unchecked_balances() -> Iterator[None]:
    """Without the database's own check of balances."""
    if connection.vendor == "mongodb":
        database: Any = connection.database  # type: ignore[attr-defined]
        database.command("collMod", "credits_wallet", validationLevel="off")
        yield
        database.command("collMod", "credits_wallet", validationLevel="strict")
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE credits_wallet DROP CONSTRAINT available_not_negative")  # until the rollback
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        yield
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = OFF")


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_named_and_ends_with_exit_code_1(funded: Actor, defect: str) -> None:
    damage, message = DEFECTS[defect]
    with unchecked_balances():
        damage()
    code, output = run()
    assert code == 1
    assert message in output
    assert f"wallet {funded.organization.pk}" in output


def test_json_names_wallet_and_entry(funded: Actor) -> None:
    entry(1).update(amount=-1)
    code, output = run("--json")
    found = [json.loads(line) for line in output.splitlines()]
    assert code == 1
    assert {"wallet": str(funded.organization.pk), "entry": str(entry(1).get().pk)}.items() <= found[0].items()


def test_only_the_broken_wallet_is_named(funded: Actor, bob: Actor) -> None:
    bob.set_credits(7)
    Wallet.objects.filter(pk=bob.organization.pk).update(available=1)
    assert {problem.wallet for problem in verify.problems()} == {bob.organization.pk}


def test_every_wallet_is_read_also_beyond_one_chunk(
    funded: Actor, bob: Actor, charlie: Actor, monkeypatch: Any
) -> None:
    monkeypatch.setattr(verify, "WALLETS_AT_ONCE", 1)
    for actor in (bob, charlie):
        actor.set_credits(7)
        Wallet.objects.filter(pk=actor.organization.pk).update(available=1)
    assert {problem.wallet for problem in verify.problems()} == {bob.organization.pk, charlie.organization.pk}


def test_credits_that_move_under_the_reader_are_no_problem(funded: Actor) -> None:
    """What a reader sees when another process reserves and settles between its reads."""
    [wallets] = verify._wallets()
    settle(funded, 3 * CREDIT)
    apply([Reserve(wallet_id=funded.organization.pk, amount=CREDIT, expires_at=hold_expiry())])
    stale = next(iter(wallets.values()))
    assert list(verify._standing_problems(wallets)) == []
    lines = LedgerEntry.objects.order_by("sequence").values_list(*verify.Line._fields)
    assert list(verify._chain_problems(stale, (verify.Line(*line) for line in lines))) == []


def test_the_digest_survives_a_database_that_keeps_milliseconds(funded: Actor) -> None:
    for row in LedgerEntry.objects.all():
        assert row.created_at.microsecond % 1000 == 0
