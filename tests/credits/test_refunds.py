"""Refunds, adjustments, and entries, which nothing changes once they are written."""

from typing import Any

import pytest

from aichat.core.money import CREDIT, LARGEST
from credits.models import AppendOnlyError, Hold, LedgerEntry
from credits.operations import BalanceTooLarge
from credits.services import (
    Credit,
    InsufficientCreditsError,
    Kind,
    Refund,
    RefundTooLarge,
    Settle,
    adjust,
    apply,
    grant,
    refund,
)
from tests.conftest import Actor
from tests.credits.conftest import balances, open_hold

pytestmark = pytest.mark.usefixtures("ledger_stays_right")


# --- Refunds and adjustments ------------------------------------------------------------------------------------------


def charged(actor: Actor, credits: int) -> LedgerEntry:
    entry = apply([Settle(hold=open_hold(actor, credits).hold, charge=credits * CREDIT)])[0].entry
    assert entry
    return entry


def test_a_refund_names_its_charge_and_is_at_most_the_charge_in_total(funded: Actor, ada: Actor) -> None:
    charge = charged(funded, 10)
    outcome = refund(charge, 6 * CREDIT, reason="Wrong answer", actor=ada.user)
    assert outcome.entry and outcome.entry.charge == charge and outcome.entry.actor == ada.user
    with pytest.raises(RefundTooLarge):
        refund(charge, 5 * CREDIT, reason="Again", actor=ada.user)
    refund(charge, 4 * CREDIT, reason="The rest", actor=ada.user)
    assert balances(funded) == (100, 0)


def test_a_refund_with_the_same_reference_is_given_once(funded: Actor) -> None:
    charge = charged(funded, 10)
    refund(charge, 2 * CREDIT, reason="r", reference="ticket-7")
    assert refund(charge, 2 * CREDIT, reason="r", reference="ticket-7").repeated
    assert balances(funded) == (92, 0)


def test_refunds_of_one_list_share_the_limit(funded: Actor) -> None:
    charge = charged(funded, 10).charge_ref
    outcomes = apply([Refund(charge=charge, amount=4 * CREDIT, reference=f"r{i}") for i in range(4)])
    assert [type(outcome.error) for outcome in outcomes] == [type(None), type(None), RefundTooLarge, RefundTooLarge]
    assert balances(funded) == (98, 0)


def test_only_a_charge_can_be_refunded(funded: Actor) -> None:
    entry = grant(funded.organization, CREDIT, reason="r").entry
    assert entry
    with pytest.raises(ValueError):
        refund(entry, CREDIT, reason="r")


def test_an_adjustment_takes_what_is_there_or_nothing(funded: Actor, ada: Actor) -> None:
    adjust(funded.organization, -30 * CREDIT, reason="Paid back", actor=ada.user)
    with pytest.raises(InsufficientCreditsError):
        adjust(funded.organization, -71 * CREDIT, reason="Paid back", actor=ada.user)
    assert balances(funded) == (70, 0)


@pytest.mark.parametrize("missing", ["actor_id", "reason"])
def test_an_adjustment_needs_an_actor_and_a_reason(funded: Actor, missing: str) -> None:
    facts: dict[str, Any] = {"actor_id": funded.user.pk, "reason": "Because"}
    facts[missing] = None if missing == "actor_id" else " "
    with pytest.raises(ValueError, match="actor and a reason"):
        Credit(wallet_id=funded.organization.pk, amount=1, reference="r", kind=Kind.ADJUSTMENT, **facts)


def test_a_wallet_never_holds_more_than_64_bits_can_count(funded: Actor) -> None:
    with pytest.raises(BalanceTooLarge):
        grant(funded.organization, LARGEST, reason="Too much")
    grant(funded.organization, LARGEST - 100 * CREDIT, reason="All there is")
    charge = charged(funded, 10)
    grant(funded.organization, 10 * CREDIT, reason="Filled up")
    with pytest.raises(BalanceTooLarge):
        refund(charge, CREDIT, reason="No room")
    assert Hold.objects.get(reference=charge.reference).refunded == 0


# --- Entries never change ---------------------------------------------------------------------------------------------


def test_no_way_through_the_orm_changes_or_deletes_an_entry(funded: Actor) -> None:
    entry = LedgerEntry.objects.latest("sequence")
    before = LedgerEntry.objects.values().get(pk=entry.pk)
    entry.amount = 1
    forged = LedgerEntry(**{**before, "amount": 1})
    manager = LedgerEntry._base_manager
    attempts: list[Any] = [
        entry.save,
        lambda: entry.save(force_update=True),
        entry.delete,
        LedgerEntry.objects.all().delete,
        lambda: LedgerEntry.objects.update(amount=1),
        lambda: LedgerEntry.objects.bulk_update([entry], ["amount"]),
        lambda: LedgerEntry.objects.bulk_create(
            [forged], update_conflicts=True, update_fields=["amount"], unique_fields=["id"]
        ),
        lambda: LedgerEntry.objects.update_or_create(defaults={"amount": 1}, pk=entry.pk),
        manager.all().delete,
        lambda: manager.update(amount=1),
        lambda: funded.wallet.entries.all().delete(),
        lambda: funded.wallet.entries.update(amount=1),
    ]
    for attempt in attempts:
        with pytest.raises(AppendOnlyError):
            attempt()
    assert LedgerEntry.objects.values().get(pk=entry.pk) == before


@pytest.mark.django_db(transaction=True)
def test_a_forged_row_with_the_same_key_collides(alice: Actor) -> None:
    from django.db import IntegrityError

    alice.set_credits(100)
    before = LedgerEntry.objects.order_by("sequence").values().first()
    assert before
    for how in ("save", "save_base"):
        forged = LedgerEntry(**{**before, "amount": 1})
        with pytest.raises(IntegrityError):
            forged.save(force_update=True) if how == "save" else forged.save_base(raw=True)
    assert LedgerEntry.objects.values().get(pk=before["id"]) == before


def test_what_owns_entries_can_not_be_deleted_with_them(funded: Actor) -> None:
    from django.db.models import ProtectedError

    for owner in (funded.wallet, funded.organization, funded.user):
        with pytest.raises(ProtectedError):
            owner.delete()
