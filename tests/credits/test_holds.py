"""Holds that outlive their request: those that expire, and those that a crash of the database lost."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from aichat.core.money import CREDIT
from credits.models import Hold, HoldRef, LedgerEntry
from credits.operations import LedgerBroken
from credits.services import Release, Settle, apply, expire_holds, refund, renew_holds
from tests.conftest import Actor
from tests.credits.conftest import balances, open_hold, reserve

pytestmark = pytest.mark.usefixtures("ledger_stays_right")


# --- Expired holds ----------------------------------------------------------------------------------------------------


def test_holds_past_their_time_are_released_in_batches(funded: Actor) -> None:
    past = timezone.now() - timedelta(seconds=1)
    for _ in range(5):
        open_hold(funded, 2, expires_at=past)
    open_hold(funded, 3)
    assert expire_holds(batch=2) == 5
    assert balances(funded) == (97, 3)
    assert expire_holds() == 0


def test_a_hold_renewed_while_the_sweeper_looks_is_kept(funded: Actor) -> None:
    hold = open_hold(funded, 2, expires_at=timezone.now() - timedelta(seconds=1)).hold
    moment = timezone.now()
    assert renew_holds([hold]) == 1
    assert apply([Release(hold=hold, if_expired_at=moment)])[0].repeated
    assert balances(funded) == (98, 2)


def test_a_hold_that_can_not_be_released_does_not_stop_the_sweeper(funded: Actor, bob: Actor, monkeypatch: Any) -> None:
    bob.set_credits(10)
    past = timezone.now() - timedelta(seconds=1)
    wrong, right = open_hold(bob, 5, expires_at=past), open_hold(funded, 5, expires_at=past)
    import credits.services as services

    def failing(operations: Any) -> Any:
        from credits.operations import OperationResult

        return [
            OperationResult(error=LedgerBroken()) if op.hold.id == wrong.hold_id else apply([op])[0]
            for op in operations
        ]

    monkeypatch.setattr(services, "apply", failing)
    assert expire_holds(batch=1) == 1
    assert Hold.objects.get(pk=right.hold_id).state == Hold.State.EXPIRED


def test_a_hold_settled_after_it_expired_is_charged_from_what_is_available(funded: Actor) -> None:
    hold = open_hold(funded, 10, expires_at=timezone.now() - timedelta(seconds=1)).hold
    expire_holds()
    outcome = apply([Settle(hold=hold, charge=4 * CREDIT)])[0].or_raise()
    assert outcome.charged == 4 * CREDIT
    assert balances(funded) == (96, 0)
    assert apply([Settle(hold=hold, charge=4 * CREDIT)])[0].repeated


def test_a_hold_settled_after_it_expired_and_the_credits_are_gone_is_a_shortfall(funded: Actor) -> None:
    hold = open_hold(funded, 10, expires_at=timezone.now() - timedelta(seconds=1)).hold
    expire_holds()
    open_hold(funded, 97)
    outcome = apply([Settle(hold=hold, charge=4 * CREDIT)])[0].or_raise()
    assert (outcome.charged, outcome.shortfall) == (3 * CREDIT, 1 * CREDIT)
    assert balances(funded) == (0, 97)


# --- Reservations that a crash of the database has lost ---------------------------------------------------------------


def lost(actor: Actor, credits: int) -> HoldRef:
    """A hold whose reservation was answered, and then lost: nothing in the database knows of it."""
    return reserve(actor, credits).hold


def test_a_lost_hold_is_settled_once_from_what_is_available(funded: Actor) -> None:
    settlement = Settle(hold=lost(funded, 10), charge=3 * CREDIT, hold_may_be_lost=True)
    first, second = apply([settlement])[0].or_raise(), apply([settlement])[0].or_raise()
    assert (first.charged, first.shortfall, first.repeated) == (3 * CREDIT, 0, False)
    assert (second.charged, second.repeated) == (3 * CREDIT, True)
    assert balances(funded) == (97, 0)
    refund(LedgerEntry.objects.get(pk=first.entry.pk), CREDIT, reason="r")  # type: ignore[union-attr]
    assert balances(funded) == (98, 0)


def test_a_lost_hold_whose_credits_were_spent_meanwhile_is_cut_and_says_what_lacked(funded: Actor) -> None:
    hold = lost(funded, 100)
    apply([Settle(hold=open_hold(funded, 98).hold, charge=98 * CREDIT)])
    outcome = apply([Settle(hold=hold, charge=5 * CREDIT, hold_may_be_lost=True)])[0].or_raise()
    assert (outcome.charged, outcome.shortfall) == (2 * CREDIT, 3 * CREDIT)
    assert balances(funded) == (0, 0)


def test_a_lost_hold_has_nothing_to_release(funded: Actor) -> None:
    outcome = apply([Release(hold=lost(funded, 10), hold_may_be_lost=True)])[0].or_raise()
    assert outcome.repeated and balances(funded) == (100, 0)


def test_settlers_of_one_lost_hold_in_one_list_charge_it_once(funded: Actor) -> None:
    settlement = Settle(hold=lost(funded, 10), charge=3 * CREDIT, hold_may_be_lost=True)
    outcomes = apply([settlement, settlement])
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert balances(funded) == (97, 0)
