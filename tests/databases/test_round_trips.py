"""A chat's two commits on PostgreSQL: one round trip each, from the event loop; and what can't be done so."""

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID, uuid5

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone

from aichat.core.database.models import uuid7
from aichat.core.database.statements import NewRow, on_loop
from aichat.core.money import CREDIT
from aichat.generation.charging.group_commit import Unit, submit
from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry, Limit, SpendCounter
from credits.services import (
    InsufficientCreditsError,
    Operation,
    OperationResult,
    Release,
    Reserve,
    Settle,
    apply,
)
from credits.verify import problems
from tests.conftest import Actor
from tests.databases.commits import commit, commit_in_turn, commit_units, reserve, standing

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="other engines have no pipeline"),
]
Trips = list[list[str]]


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> Trips:
    """Collect the texts that each round trip sends. Round trips that prepare statements are left out."""
    found: Trips = []
    exchange = on_loop._Connection.exchange

    async def counted(line: Any, asked: Any) -> Any:
        if asked.commits:
            texts = {name: text for text, name in line.line.names.items()}
            found.append([texts[command.args[0]] for command in asked.commands])
        return await exchange(line, asked)

    monkeypatch.setattr(on_loop._Connection, "exchange", counted)
    return found


def within(actor: Actor, credits: int, most: int, name: str = "key") -> Reserve:
    """A reservation that a spending limit of `most` credits counts."""
    limit = Limit(name, uuid5(actor.user.pk, name), date(2026, 11, 1), most * CREDIT)
    return dataclasses.replace(reserve(actor, credits), limits=[limit])


def spent() -> list[int]:
    return [counter.spent // CREDIT for counter in SpendCounter.objects.order_by("id")]


# --- One round trip ---------------------------------------------------------------------------------------------------


def test_a_reservation_does_not_wait_for_the_disk_and_a_settlement_does(
    alice: Actor, no_threads: None, trips: Trips
) -> None:
    alice.set_credits(100)
    first, asked = reserve(alice, 2), reserve(alice, 2)
    *_, [settled] = commit_in_turn(
        [first], [Settle(hold=first.hold, charge=CREDIT)], [asked], [Settle(hold=asked.hold, charge=CREDIT)]
    )
    assert (settled.charged, settled.available) == (CREDIT, 98 * CREDIT)
    *_, reserving, settling = trips
    assert reserving[:2] == ["BEGIN", "SET LOCAL synchronous_commit = off"] and reserving[-1] == "COMMIT"
    assert "SET LOCAL synchronous_commit = off" not in settling and settling[-1] == "COMMIT"
    assert list(problems()) == []


@pytest.mark.parametrize("each", [1, 7])
def test_many_settlements_are_chained_as_if_they_came_one_by_one(
    alice: Actor, bob: Actor, no_threads: None, trips: Trips, each: int
) -> None:
    people = (alice, bob)[:each]
    for actor in people:
        actor.set_credits(100)
    asked = [reserve(actor, 3) for _ in range(each) for actor in people]
    commit(*asked)
    trips.clear()
    charges = [CREDIT + number for number in range(len(asked))]
    results = commit(*[Settle(hold=one.hold, charge=charge) for one, charge in zip(asked, charges, strict=True)])
    assert [result.charged for result in results] == charges and len(trips) == 1
    for actor in people:
        entries = LedgerEntry.objects.filter(wallet=actor.wallet, kind="CHARGE").order_by("sequence")
        mine = [result.entry for result in results if result.entry.wallet_id == actor.wallet.pk]
        assert [(one.sequence, one.balance_after, one.amount) for one in mine] == [
            (one.sequence, one.balance_after, one.amount) for one in entries
        ]
    assert list(problems()) == []


STRANGE = ["a|b", "q'\"\\", "é𝕊|", "%s$1", "\\u0041", "tab\t\n"]


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
def test_the_database_computes_the_same_digests(alice: Actor, no_threads: None, together: bool) -> None:
    """`problems` computes each again, in Python."""
    alice.set_credits(100)
    asked = [dataclasses.replace(reserve(alice, 1), reference=reference) for reference in STRANGE]
    charges = [Settle(hold=one.hold, charge=number) for number, one in enumerate(asked, start=1)]
    commit_in_turn(asked, *([charges] if together else [[charge] for charge in charges]))
    found = LedgerEntry.objects.filter(wallet=alice.wallet, kind="CHARGE").order_by("sequence")
    assert list(found.values_list("reference", flat=True)) == STRANGE
    assert list(problems()) == []


def test_settlements_and_releases_go_together(alice: Actor, bob: Actor, no_threads: None, trips: Trips) -> None:
    for actor in (alice, bob):
        actor.set_credits(10)
    asked = [reserve(alice, 2), reserve(alice, 3), reserve(bob, 4)]
    commit(*asked)
    trips.clear()
    settled, *released = commit(
        Settle(hold=asked[0].hold, charge=CREDIT), *[Release(hold=one.hold) for one in asked[1:]]
    )
    assert settled.charged == CREDIT and [one.charged for one in released] == [0, 0] and len(trips) == 1
    assert standing(alice) == (9, 0) and standing(bob) == (10, 0)
    assert sorted(Hold.objects.values_list("state", flat=True)) == ["RELEASED", "RELEASED", "SETTLED"]
    assert list(problems()) == []


def test_the_first_entry_of_a_wallet_begins_its_chain(alice: Actor, no_threads: None, settings: Any) -> None:
    settings.STARTER_CREDITS = 0
    assert alice.wallet.sequence == 0
    asked = reserve(alice, 0)
    commit(asked)
    commit(Release(hold=asked.hold))
    free = reserve(alice, 0)
    commit(free)
    assert commit(Settle(hold=free.hold, charge=0))[0].entry is None
    assert list(problems()) == []


def test_limits_are_counted_and_corrected(alice: Actor, no_threads: None, trips: Trips) -> None:
    alice.set_credits(100)
    apply([within(alice, 1, 10)])  # makes the counter
    asked = [within(alice, 3, 10), within(alice, 2, 10)]
    commit(*asked)
    assert spent() == [6] and standing(alice) == (94, 6)
    commit(Settle(hold=asked[0].hold, charge=CREDIT), Release(hold=asked[1].hold))
    assert spent() == [2] and len(trips) == 2
    assert list(problems()) == []


# --- What is left to threads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "free", "kept"), [(10, 100, 5), (20, 8, 5)], ids=["the limit", "the wallet"])
def test_what_a_limit_or_the_wallet_refuses_is_counted_nowhere(alice: Actor, most: int, free: int, kept: int) -> None:
    alice.set_credits(free)
    apply([within(alice, 5, most), within(alice, 0, most, "user")])
    asked = within(alice, 6, most)
    both = dataclasses.replace(asked, limits=[*asked.limits, *within(alice, 0, most, "user").limits])
    [refused] = commit(both)
    assert isinstance(refused, Exception) and sorted(spent()) == [0, kept]
    assert standing(alice) == (free - 5, 5)


def test_reservations_made_together_are_refused_wallet_by_wallet(alice: Actor, bob: Actor) -> None:
    alice.set_credits(100)
    bob.set_credits(1)
    results = commit(reserve(alice, 10), reserve(bob, 2), reserve(alice, 5), reserve(bob, 1))
    assert [isinstance(result, InsufficientCreditsError) for result in results] == [False, True, False, False]
    assert standing(alice) == (85, 15) and standing(bob) == (0, 1)
    assert list(problems()) == []


def test_a_charge_that_the_wallet_lacks_is_cut_and_takes_no_other_down(alice: Actor, bob: Actor) -> None:
    alice.set_credits(3)
    bob.set_credits(3)
    asked = [reserve(alice, 2), reserve(bob, 2)]
    commit(*asked)
    mine, others = commit(
        *[Settle(hold=one.hold, charge=credits * CREDIT) for one, credits in zip(asked, (5, 1), strict=True)]
    )
    assert (mine.charged, mine.shortfall) == (3 * CREDIT, 2 * CREDIT)
    assert (others.charged, others.shortfall) == (CREDIT, 0)
    assert list(problems()) == []


@pytest.mark.parametrize("charge", [0, CREDIT])
def test_a_hold_that_is_closed_already_is_not_closed_again(alice: Actor, charge: int) -> None:
    alice.set_credits(100)
    asked, other = reserve(alice, 2), reserve(alice, 2)
    commit(asked, other)
    first: Operation = Settle(hold=asked.hold, charge=charge)
    assert [one.repeated for one in commit(first)] == [False]
    assert [one.repeated for one in commit(first, Release(hold=other.hold))] == [True, False]
    assert [one.repeated for one in commit(first)] == [True]
    assert standing(alice) == (100 - charge / CREDIT, 0)
    assert list(problems()) == []


def test_a_settlement_of_a_released_hold_takes_nothing_of_another_hold(alice: Actor) -> None:
    """The wallet's guard is met by the other hold, and the ledger has no entry yet: only the hold itself tells."""
    alice.set_credits(100)
    asked, other = reserve(alice, 2), reserve(alice, 2)
    commit_in_turn([asked, other], [Release(hold=asked.hold)], [Settle(hold=asked.hold, charge=CREDIT)])
    assert alice.wallet.held == 2 * CREDIT
    assert list(problems()) == []


def test_an_entry_that_another_transaction_adds_meanwhile_is_chained_before(
    alice: Actor, no_threads: None, trips: Trips
) -> None:
    """The settlement waits for the wallet's lock, and then sees the entry that was committed while it waited."""
    alice.set_credits(100)
    asked = [reserve(alice, 2), reserve(alice, 2)]
    commit(*asked)
    trips.clear()
    moved, waits = threading.Event(), threading.Event()

    def settle_and_wait() -> None:
        with contextlib.closing(connections["default"]), transaction.atomic():
            apply([Settle(hold=asked[0].hold, charge=CREDIT)])
            moved.set()
            with connection.cursor() as cursor:
                while not waits.is_set():
                    cursor.execute("SELECT pg_sleep(0.01) FROM pg_locks WHERE NOT granted")
                    if cursor.fetchall():
                        waits.set()

    async def work() -> None:
        other = asyncio.ensure_future(asyncio.to_thread(settle_and_wait))
        await asyncio.to_thread(moved.wait)
        await submit(Unit(operation=Settle(hold=asked[1].hold, charge=CREDIT)))
        await other
        on_loop.close()
        await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(work(), 20))
    assert waits.is_set() and standing(alice) == (98, 0)
    # Close and lock, move and insert, COMMIT. BEGIN went before, while the new connection prepared them.
    assert [len(trip) for trip in trips] == [3]
    assert list(problems()) == []


@pytest.mark.parametrize("through", ["the event loop", "a thread"])
def test_an_error_that_comes_with_commit_itself_takes_no_other_unit_down(
    alice: Actor, bob: Actor, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Foreign keys are checked by COMMIT: somebody's first chat ends after their row was deleted. That error is an answer."""
    if through == "a thread":
        monkeypatch.setattr(Unit, "__post_init__", _is_not_ready(Unit.__post_init__))
    for actor in (alice, bob):
        actor.set_credits(10)
    asked = [reserve(alice, 2), reserve(bob, 2)]
    commit(*asked)

    def write_for(user: UUID) -> Callable[[Any], list[NewRow]]:
        now = timezone.now()
        values = {field.attname: field.get_default() for field in UsageRecord._meta.concrete_fields}
        values |= {"organization_id": alice.organization.pk, "user_id": user, "prices": {}, "final": True}
        return lambda result: [(UsageRecord, values | {"id": uuid7(), "created_at": now, "day": now.date()})]

    units = [
        Unit(operation=Settle(hold=one.hold, charge=CREDIT), write=write_for(user), writes_ahead=True)
        for one, user in zip(asked, (alice.user.pk, uuid7()), strict=True)
    ]
    [[done, failed]] = commit_units(units)
    assert isinstance(done, OperationResult) and done.charged == CREDIT
    assert isinstance(failed, IntegrityError)
    assert standing(alice) == (9, 0) and standing(bob) == (8, 2)
    assert UsageRecord.objects.count() == 1 and list(problems()) == []


def _is_not_ready(prepare: Callable[[Unit], None]) -> Callable[[Unit], None]:
    def prepared(unit: Unit) -> None:
        prepare(unit)
        unit.is_ready = False

    return prepared


def test_the_rows_of_a_reservation_are_written(alice: Actor) -> None:
    alice.set_credits(10)
    values = {"id": uuid5(alice.user.pk, "written"), "starts": date(2026, 11, 1), "spent": 0}
    [[done]] = commit_units(
        [Unit(operation=reserve(alice, 1), write=lambda result: [(SpendCounter, values)], writes_ahead=True)]
    )
    assert isinstance(done, OperationResult) and SpendCounter.objects.count() == 1
