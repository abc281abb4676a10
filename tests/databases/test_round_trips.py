"""How often a chat's two commits wait for PostgreSQL."""

import dataclasses
from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import uuid5

import pytest
from django.db import connection

from aichat.core.money import CREDIT
from credits import ledger
from credits.models import Hold, Limit, SpendCounter
from credits.services import InsufficientCreditsError, Reserve, Settle, apply, hold_expiry
from credits.verify import problems
from tests.conftest import Actor

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="other engines have no pipeline"),
]


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """What each round trip of the pipeline sent, as far as it has a text."""
    from aichat.core.database.statements import pipeline

    found: list[list[bytes]] = []
    exchange = pipeline._Line.exchange

    def counted(line: Any, commands: Sequence[Any], **options: Any) -> Any:
        found.append([command.args[0] for command in commands])
        return exchange(line, commands, **options)

    monkeypatch.setattr(pipeline._Line, "exchange", counted)
    return found


def reserve(actor: Actor, credits: int) -> Reserve:
    return Reserve(wallet_id=actor.organization.pk, amount=credits * CREDIT, expires_at=hold_expiry())


def test_a_reservation_is_one_round_trip_that_does_not_wait_for_the_disk(
    alice: Actor, trips: list[list[bytes]]
) -> None:
    alice.set_credits(100)
    ledger.reserve_new([reserve(alice, 1)])  # prepares the statement
    trips.clear()
    assert ledger.reserve_new([reserve(alice, 2)])
    [[begin, without_waiting, _, commit]] = trips
    assert (begin, without_waiting, commit) == (b"BEGIN", b"SET LOCAL synchronous_commit = off", b"COMMIT")
    assert (alice.wallet.available, alice.wallet.held) == (97 * CREDIT, 3 * CREDIT)


def within(actor: Actor, credits: int, most: int, name: str = "key") -> Reserve:
    """A reservation that a spending limit of `most` credits counts."""
    limit = Limit(name, uuid5(actor.user.pk, name), date(2026, 11, 1), most * CREDIT)
    return dataclasses.replace(reserve(actor, credits), limits=[limit])


def spent() -> list[int]:
    return [counter.spent // CREDIT for counter in SpendCounter.objects.order_by("id")]


def test_a_reservation_within_spending_limits_is_one_round_trip_too(alice: Actor, trips: list[list[bytes]]) -> None:
    alice.set_credits(100)
    apply([within(alice, 1, 10)])  # makes the counter
    ledger.reserve_new([within(alice, 1, 10)])  # prepares the statements
    trips.clear()
    asked = within(alice, 3, 10)
    assert ledger.reserve_new([asked, within(alice, 2, 10)])
    assert len(trips) == 1 and spent() == [7] and alice.wallet.held == 7 * CREDIT
    apply([Settle(hold=asked.hold, charge=CREDIT)])
    assert spent() == [5]
    assert list(problems()) == []


@pytest.mark.parametrize(("credits", "most", "free"), [(6, 10, 100), (6, 20, 8)], ids=["the limit", "the wallet"])
def test_what_a_limit_or_the_wallet_refuses_is_counted_nowhere(
    alice: Actor, credits: int, most: int, free: int
) -> None:
    alice.set_credits(free)
    apply([within(alice, 5, most), within(alice, 0, most, "user")])
    asked = within(alice, credits, most)
    both = dataclasses.replace(asked, limits=[*asked.limits, *within(alice, 0, most, "user").limits])
    assert ledger.reserve_new([both]) is None
    assert sorted(spent()) == [0, 5] and alice.wallet.held == 5 * CREDIT
    assert apply([both])[0].error is not None and sorted(spent()) == [0, 5]


def test_reservations_made_together_are_refused_wallet_by_wallet(alice: Actor, bob: Actor) -> None:
    alice.set_credits(100)
    bob.set_credits(1)
    asked = [reserve(alice, 10), reserve(bob, 2), reserve(alice, 5), reserve(bob, 1)]
    outcomes = ledger.reserve_new(asked)
    assert outcomes is not None
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [type(None), InsufficientCreditsError, type(None), type(None)]
    assert (alice.wallet.held, bob.wallet.held) == (15 * CREDIT, CREDIT)
    assert outcomes[0].available == 85 * CREDIT
    assert list(problems()) == []


def test_a_reservation_that_collides_does_nothing_and_leaves_the_connection_usable(alice: Actor) -> None:
    alice.set_credits(100)
    asked = reserve(alice, 10)
    ledger.reserve_new([asked])
    with pytest.raises(Exception, match="duplicate key"):
        ledger.reserve_new([reserve(alice, 1), asked])
    assert Hold.objects.count() == 1 and alice.wallet.held == 10 * CREDIT
    assert apply([Settle(hold=asked.hold, charge=CREDIT)])[0].or_raise().charged == CREDIT
