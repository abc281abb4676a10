"""`credits.services.apply`: each verb on a wallet, alone, twice, and in one list with others."""

from typing import Any
from unittest import mock

import pytest
from django.db import connection

from aichat.core.database import transactions
from aichat.core.database.models import uuid7
from aichat.core.money import CREDIT
from credits import guards
from credits.guards import _known_entries as known
from credits.models import Hold, LedgerEntry
from credits.operations import LedgerBroken, UnknownWallet
from credits.services import (
    Credit,
    InsufficientCreditsError,
    Release,
    Reserve,
    Settle,
    UnknownHold,
    apply,
    grant,
    hold_expiry,
)
from credits.verify import problems
from tests.conftest import Actor
from tests.credits.conftest import balances, open_hold, reserve

pytestmark = pytest.mark.usefixtures("ledger_stays_right")


# --- The worked table: what a request of 10 held credits does to a wallet of 100 --------------------------------------


@pytest.mark.parametrize(
    ("charge", "available", "entries"),
    [
        (0, 100, 0),
        (4, 96, 1),
        (10, 90, 1),
        (25, 75, 1),  # the provider reported more than was held
        (100, 0, 1),
    ],
)
def test_a_settlement_charges_and_gives_the_rest_back(funded: Actor, charge: int, available: int, entries: int) -> None:
    before = LedgerEntry.objects.count()
    hold = open_hold(funded, 10).hold
    assert balances(funded) == (90, 10)
    outcome = apply([Settle(hold=hold, charge=charge * CREDIT)])[0].or_raise()
    assert (outcome.charged, outcome.shortfall) == (charge * CREDIT, 0)
    assert balances(funded) == (available, 0)
    assert LedgerEntry.objects.count() - before == entries


def test_a_charge_beyond_everything_takes_what_is_there_and_says_what_lacks(funded: Actor) -> None:
    hold = open_hold(funded, 10).hold
    outcome = apply([Settle(hold=hold, charge=130 * CREDIT)])[0].or_raise()
    assert (outcome.charged, outcome.shortfall) == (100 * CREDIT, 30 * CREDIT)
    assert balances(funded) == (0, 0)


def test_an_absurd_charge_stays_within_64_bits(funded: Actor) -> None:
    hold = open_hold(funded, 10).hold
    outcome = apply([Settle(hold=hold, charge=2**70)])[0].or_raise()
    assert (outcome.charged, outcome.shortfall) == (100 * CREDIT, 2**70 - 100 * CREDIT)


def test_a_release_gives_all_back_and_writes_nothing(funded: Actor) -> None:
    before = LedgerEntry.objects.count()
    apply([Release(hold=open_hold(funded, 10).hold)])[0].or_raise()
    assert balances(funded) == (100, 0)
    assert LedgerEntry.objects.count() == before


def test_more_than_is_available_is_refused(funded: Actor) -> None:
    outcome = apply([reserve(funded, 101)])[0]
    assert isinstance(outcome.error, InsufficientCreditsError)
    assert outcome.error.extra == {"required": "101", "available": "100"}
    assert balances(funded) == (100, 0)
    assert not Hold.objects.exists()


def test_an_absurd_reservation_is_refused(funded: Actor) -> None:
    outcome = apply([reserve(funded, 2**70)])[0]
    assert isinstance(outcome.error, InsufficientCreditsError)


@pytest.mark.parametrize("amount", [-1, -CREDIT])
def test_negative_amounts_are_no_operations(funded: Actor, amount: int) -> None:
    hold = reserve(funded, 1).hold
    wallet_id = funded.organization.pk
    with pytest.raises(ValueError):
        Reserve(wallet_id=wallet_id, amount=amount, expires_at=hold_expiry())
    with pytest.raises(ValueError):
        Settle(hold=hold, charge=amount)
    with pytest.raises(ValueError):
        Credit(wallet_id=wallet_id, amount=amount, reference="r")


# --- Twice is once ----------------------------------------------------------------------------------------------------


def test_reserving_twice_is_reserving_once(funded: Actor) -> None:
    operation = open_hold(funded, 10)
    assert apply([operation])[0].repeated
    assert balances(funded) == (90, 10)


def test_reserving_the_last_credits_twice_is_no_refusal(funded: Actor) -> None:
    operation = open_hold(funded, 100)
    again = apply([operation])[0]
    assert again.repeated and again.error is None
    assert balances(funded) == (0, 100)


def test_settling_twice_is_settling_once(funded: Actor) -> None:
    hold = open_hold(funded, 10).hold
    first = apply([Settle(hold=hold, charge=4 * CREDIT)])[0]
    again = apply([Settle(hold=hold, charge=4 * CREDIT)])[0]
    assert again.repeated and again.charged == 4 * CREDIT
    assert again.entry == first.entry
    assert balances(funded) == (96, 0)


def test_what_is_settled_is_not_released(funded: Actor) -> None:
    hold = open_hold(funded, 10).hold
    apply([Settle(hold=hold, charge=4 * CREDIT)])
    assert apply([Release(hold=hold)])[0].repeated
    assert balances(funded) == (96, 0)


def test_what_is_released_is_not_charged(funded: Actor) -> None:
    hold = open_hold(funded, 10).hold
    apply([Release(hold=hold)])
    assert apply([Settle(hold=hold, charge=4 * CREDIT)])[0].repeated
    assert balances(funded) == (100, 0)


@pytest.mark.parametrize("settles_first", [True, False])
def test_a_settlement_and_a_release_of_one_hold_in_one_list_close_it_once(funded: Actor, settles_first: bool) -> None:
    other, hold = open_hold(funded, 20).hold, open_hold(funded, 10).hold
    settle, release = Settle(hold=hold, charge=4 * CREDIT), Release(hold=hold)
    outcomes = apply([settle, release] if settles_first else [release, settle])
    assert sorted(outcome.repeated for outcome in outcomes) == [False, True]
    assert balances(funded)[1] == 20
    apply([Release(hold=other)])


def test_a_release_that_stands_twice_in_a_list_gives_back_once(funded: Actor) -> None:
    open_hold(funded, 20)
    release = Release(hold=open_hold(funded, 10).hold)
    assert [outcome.repeated for outcome in apply([release, release])] == [False, True]
    assert balances(funded) == (80, 20)


@pytest.mark.django_db(transaction=True)
def test_a_callers_transaction_that_was_raced_runs_again_as_a_whole(alice: Actor) -> None:
    """Another process commits the same reference between our look and our insert."""
    alice.set_credits(0)
    first = grant(alice.organization, 5 * CREDIT, reason="r", reference="same")
    runs = []

    def work() -> Any:
        runs.append("run")
        apply([reserve(alice, 1)])[0].or_raise()
        return grant(alice.organization, 5 * CREDIT, reason="r", reference="same")

    looks: list[dict[object, Any]] = [{}]  # the first look sees nothing yet
    with mock.patch.object(guards, "_known_entries", lambda steps: looks.pop() if looks else known(steps)):
        outcome = transactions.run_atomic(work)
    assert runs == ["run", "run"]
    assert outcome.repeated and outcome.entry == first.entry
    assert balances(alice) == (4, 1)


def test_granting_twice_with_one_reference_is_granting_once(funded: Actor) -> None:
    first = grant(funded.organization, 5 * CREDIT, reason="Promotion", reference="promotion")
    again = grant(funded.organization, 5 * CREDIT, reason="Promotion", reference="promotion")
    assert again.repeated and again.entry == first.entry
    assert balances(funded) == (105, 0)


def test_a_reference_that_stands_twice_in_a_list_counts_once(funded: Actor) -> None:
    credit = Credit(wallet_id=funded.organization.pk, amount=5 * CREDIT, reference="twin")
    assert [outcome.repeated for outcome in apply([credit, credit])] == [False, True]
    assert balances(funded) == (105, 0)


def test_the_same_reference_serves_two_wallets(funded: Actor, bob: Actor) -> None:
    bob.set_credits(0)
    grant(funded.organization, CREDIT, reason="r", reference="same")
    assert not grant(bob.organization, CREDIT, reason="r", reference="same").repeated


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_a_refused_operation_fails_alone(funded: Actor, bob: Actor) -> None:
    bob.set_credits(1)
    operations = [reserve(funded, 10), reserve(bob, 2), reserve(funded, 95), reserve(funded, 5), reserve(bob, 1)]
    outcomes = apply(operations)
    assert [outcome.error is None for outcome in outcomes] == [True, False, False, True, True]
    assert balances(funded) == (85, 15) and balances(bob) == (0, 1)


def test_an_unknown_hold_fails_alone(funded: Actor) -> None:
    never_made = reserve(funded, 10).hold
    outcomes = apply([Settle(hold=never_made, charge=CREDIT), reserve(funded, 10), Release(hold=never_made)])
    assert [type(outcome.error) for outcome in outcomes] == [UnknownHold, type(None), UnknownHold]
    assert balances(funded) == (90, 10)


def test_an_unknown_organization_fails_alone(funded: Actor) -> None:
    stray = Reserve(wallet_id=uuid7(), amount=CREDIT, expires_at=hold_expiry())
    outcomes = apply([stray, reserve(funded, 10)])
    assert [type(outcome.error) for outcome in outcomes] == [UnknownWallet, type(None)]


@pytest.mark.skipif(connection.vendor == "mongodb", reason="MongoDB does not know that an actor must exist")
@pytest.mark.django_db(transaction=True)
def test_an_operation_the_database_refuses_fails_alone(alice: Actor) -> None:
    alice.set_credits(100)
    stray = Credit(wallet_id=alice.organization.pk, amount=CREDIT, reference="r", actor_id=uuid7())
    outcomes = apply([stray, reserve(alice, 10)])
    assert outcomes[0].error is not None and outcomes[1].error is None
    assert balances(alice) == (90, 10)


@pytest.mark.django_db(transaction=True)
def test_a_wallet_that_contradicts_its_holds_fails_alone(alice: Actor, bob: Actor) -> None:
    alice.set_credits(100)
    bob.set_credits(100)
    right, wrong = open_hold(alice, 10).hold, open_hold(bob, 10).hold
    wallet = bob.wallet
    type(wallet).objects.filter(pk=wallet.pk).update(held=0)
    outcomes = apply([Settle(hold=wrong, charge=CREDIT), Settle(hold=right, charge=CREDIT)])
    assert isinstance(outcomes[0].error, LedgerBroken) and outcomes[1].error is None
    assert [str(problem) for problem in problems()] != []
    type(wallet).objects.filter(pk=wallet.pk).update(held=10 * CREDIT)


def test_many_operations_of_one_wallet_chain_in_the_order_of_the_list(funded: Actor) -> None:
    holds = [open_hold(funded, 10).hold for _ in range(3)]
    apply(
        [
            Settle(hold=holds[0], charge=1 * CREDIT),
            Credit(wallet_id=funded.organization.pk, amount=50 * CREDIT, reference="g"),
            Settle(hold=holds[1], charge=2 * CREDIT),
            Release(hold=holds[2]),
            reserve(funded, 7),
        ]
    )
    amounts = list(LedgerEntry.objects.order_by("sequence").values_list("amount", flat=True))[-3:]
    assert amounts == [-1 * CREDIT, 50 * CREDIT, -2 * CREDIT]
    assert balances(funded) == (140, 7)


def test_a_grant_in_the_list_pays_for_a_reservation_after_it(funded: Actor) -> None:
    credit = Credit(wallet_id=funded.organization.pk, amount=50 * CREDIT, reference="g")
    outcomes = apply([credit, reserve(funded, 150)])
    assert all(outcome.error is None for outcome in outcomes)
    assert balances(funded) == (0, 150)


def test_nothing_to_do_is_nothing_done(db: None) -> None:
    assert apply([]) == []


# --- Verbs ------------------------------------------------------------------------------------------------------------


def test_a_verb_that_nobody_has_taught_the_ledger_is_refused_and_not_allowed(funded: Actor) -> None:
    with pytest.raises(AssertionError):
        apply([object()])  # type: ignore[list-item]
    assert balances(funded) == (100, 0)
