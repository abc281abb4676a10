"""Group commit: few transactions for many requests, and each request answered as if it were alone."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError

from aichat.core.background import lifecycle
from aichat.core.database import transactions
from aichat.core.errors import Overloaded
from aichat.core.money import CREDIT
from aichat.core.telemetry.tracing import begin, request_id
from aichat.generation.charging import group_commit
from aichat.generation.charging.group_commit import Unit, submit
from credits.models import Hold
from credits.services import InsufficientCreditsError, Operation, OperationResult, Release, Reserve, Settle, hold_expiry
from tests.conftest import Actor

pytestmark = pytest.mark.django_db(transaction=True)


def reserve(actor: Actor, credits: int = 1) -> Unit:
    return Unit(operation=Reserve(wallet_id=actor.organization.pk, amount=credits * CREDIT, expires_at=hold_expiry()))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the transactions that were tried."""
    sizes: list[int] = []
    commit, commit_at_once = group_commit.commit_together, group_commit.commit_at_once

    def counted(units: Sequence[Unit]) -> list[OperationResult]:
        sizes.append(len(units))
        return commit(units)

    async def counted_at_once(units: Sequence[Unit]) -> list[OperationResult | None]:
        results = await commit_at_once(units)
        if None not in results:
            sizes.append(len(units))
        return results

    monkeypatch.setattr(group_commit, "commit_together", counted)
    monkeypatch.setattr(group_commit, "commit_at_once", counted_at_once)
    return sizes


async def outcomes(*units: Unit) -> list[Any]:
    return await asyncio.gather(*(submit(unit) for unit in units), return_exceptions=True)


def run(work: Callable[[], Any]) -> Any:
    async def all_of_it() -> Any:
        try:
            return await work()
        finally:
            while lifecycle._tasks:
                await asyncio.gather(*lifecycle._tasks)

    return asyncio.run(all_of_it())


def test_what_comes_together_is_committed_together(alice: Actor, bob: Actor, batches: list[int]) -> None:
    found = run(lambda: outcomes(*[reserve(who) for who in (alice, bob) for _ in range(20)]))
    assert all(isinstance(outcome, OperationResult) for outcome in found)
    assert batches == [40]
    assert alice.wallet.held == bob.wallet.held == 20 * CREDIT


def test_what_comes_during_a_commit_makes_the_next_one(alice: Actor, batches: list[int]) -> None:
    running, go_on = threading.Event(), threading.Event()

    def slow(outcome: OperationResult) -> list[Any]:
        running.set()
        assert go_on.wait(5)
        return []

    async def work() -> None:
        first = submit(Unit(write=slow))
        await asyncio.to_thread(running.wait, 5)
        others = [submit(reserve(alice)) for _ in range(5)]
        go_on.set()
        await asyncio.gather(first, *others)

    run(work)
    assert batches == [1, 5]


def test_a_failure_after_the_commit_of_one_unit_keeps_no_other_waiting(alice: Actor) -> None:
    def fail(outcome: OperationResult) -> None:
        raise RuntimeError("a defect behind the commit")

    failing = Unit(committed=fail)
    found = run(lambda: asyncio.wait_for(outcomes(failing, *[reserve(alice) for _ in range(3)]), 5))
    assert all(isinstance(outcome, OperationResult) for outcome in found)
    assert alice.wallet.held == 3 * CREDIT


def test_a_refused_reservation_refuses_no_other(alice: Actor, batches: list[int]) -> None:
    alice.set_credits(2)
    found = run(lambda: outcomes(*[reserve(alice) for _ in range(5)]))
    assert [type(outcome) for outcome in found].count(InsufficientCreditsError) == 3
    assert alice.wallet.held == 2 * CREDIT
    assert batches == [5]


def test_a_unit_that_fails_fails_alone(alice: Actor, batches: list[int]) -> None:
    def broken(outcome: OperationResult) -> list[Any]:
        raise ZeroDivisionError

    bad = Unit(operation=reserve(alice).operation, write=broken)
    good = [Unit(operation=reserve(alice).operation, write=lambda outcome: []) for _ in range(2)]
    found = run(lambda: outcomes(good[0], bad, good[1]))
    assert [type(outcome) for outcome in found] == [OperationResult, ZeroDivisionError, OperationResult]
    assert batches == [3, 1, 1, 1]
    assert Hold.objects.count() == 2 and alice.wallet.held == 2 * CREDIT


def test_a_full_queue_refuses_before_anything_is_taken(alice: Actor, settings: Any) -> None:
    settings.COMMIT_QUEUE = 3

    async def work() -> None:
        taken = [submit(reserve(alice), refusable=True) for _ in range(3)]
        with pytest.raises(Overloaded) as caught:
            submit(reserve(alice), refusable=True)
        assert caught.value.retry_after
        await asyncio.gather(*taken, submit(Unit()))  # what is not refusable (a settlement) always has a place

    run(work)
    assert alice.wallet.held == 3 * CREDIT


def test_what_nobody_waits_for_is_committed_all_the_same(alice: Actor) -> None:
    async def leave() -> None:
        waiting = asyncio.ensure_future(asyncio.wait_for(asyncio.shield(submit(reserve(alice))), 10))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    run(leave)
    assert alice.wallet.held == CREDIT


def test_a_patient_unit_is_tried_again_while_the_database_is_away(
    alice: Actor, commits_by_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, tries = group_commit.commit_together, []
    monkeypatch.setattr(group_commit, "SHORTEST_PAUSE", 0.01)
    monkeypatch.setattr(
        transactions, "is_unavailable", lambda error: isinstance(error, OperationalError)
    )  # as engines differ

    def away_twice(units: Sequence[Unit]) -> list[OperationResult]:
        tries.append(len(units))
        if len(tries) < 3:
            raise OperationalError("away")
        return commit(units)

    monkeypatch.setattr(group_commit, "commit_together", away_twice)
    patient = Unit(operation=reserve(alice).operation, patience=5)
    found = run(lambda: outcomes(patient, reserve(alice)))
    assert [type(outcome) for outcome in found] == [OperationResult, OperationalError]
    assert tries == [2, 1, 1]
    assert alice.wallet.held == CREDIT


@pytest.mark.parametrize("charge", [0, CREDIT])
def test_a_settlement_that_comes_again_moves_nothing(alice: Actor, charge: int) -> None:
    first, other = reserve(alice), reserve(alice)  # without another open hold the wallet's own guard would refuse it
    run(lambda: outcomes(first, other))
    assert isinstance(first.operation, Reserve)
    hold = first.operation.hold
    again: Operation = Settle(hold=hold, charge=charge) if charge else Release(hold=hold)
    for repeated in (False, True, True):
        (outcome,) = run(lambda: outcomes(Unit(operation=again)))
        assert (outcome.error, outcome.repeated) == (None, repeated)
        assert (alice.wallet.available, alice.wallet.held) == (99 * CREDIT - charge, CREDIT)


def test_each_unit_writes_in_the_context_of_its_own_request() -> None:
    seen: dict[str, str] = {}

    async def one(name: str) -> None:
        begin(name)

        def write(outcome: OperationResult) -> list[Any]:
            seen[name] = request_id()
            return []

        await submit(Unit(write=write))

    async def work() -> None:
        await asyncio.gather(*(one(f"request-{number}") for number in range(5)))

    run(work)
    assert seen == {name: name for name in seen} and len(seen) == 5


def test_rows_of_several_kinds_are_written_with_the_operation(alice: Actor) -> None:
    from aichat.chat.models import Conversation, Message

    def write(outcome: OperationResult) -> list[Any]:
        conversation = Conversation(organization=alice.organization, user=alice.user, title="t")
        message = Message(conversation=conversation, role="user", content=str(uuid4()))
        return [(Conversation, vars(conversation)), (Message, vars(message))]

    run(lambda: outcomes(*[Unit(operation=reserve(alice).operation, write=write) for _ in range(3)]))
    assert (Conversation.objects.count(), Message.objects.count(), Hold.objects.count()) == (3, 3, 3)


def test_a_batch_ends_no_transaction_around_it(alice: Actor) -> None:
    def work() -> None:
        group_commit.commit_together([reserve(alice)])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        transactions.run_atomic(work)
    assert alice.wallet.held == 0 and not Hold.objects.exists()
