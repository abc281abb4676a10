"""Batches of the group commit: which units go together, and which wait for others."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import pytest

from aichat.core.database import executor
from aichat.generation.charging import group_commit
from aichat.generation.charging.group_commit import Unit, submit
from credits.models import HoldRef
from credits.services import OperationResult, Release, Reserve, hold_expiry

ONE, OTHER, THIRD = uuid4(), uuid4(), uuid4()  # wallets


class Commits:
    """Stands for the database: each batch of settlements lasts until `may_end` is set."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.begun: list[list[str]] = []

    def __call__(self, units: Sequence[Unit], unknown: object = None) -> list[OperationResult]:
        kinds = [("reserve " if unit.only_reserves else "settle ") + NAMES[wallet_of(unit)] for unit in units]
        self.begun.append(kinds)
        if "settle" in kinds[0]:
            assert self.may_end.wait(5)
        return [OperationResult() for _ in units]


NAMES = {ONE: "one", OTHER: "other", THIRD: "third"}


def wallet_of(unit: Unit) -> UUID:
    assert unit.operation is not None
    return unit.operation.wallet_id


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch, commits_by_threads: None) -> Iterator[Commits]:
    """On an engine that can commit several transactions at the same time."""
    found = Commits()
    monkeypatch.setattr(group_commit, "commit_each", found)
    monkeypatch.setattr(group_commit, "connection", mock.Mock(vendor="postgresql"))

    async def run_kept(name: str, threads: int, work: Any, *arguments: Any) -> Any:
        return await asyncio.to_thread(work, *arguments)

    monkeypatch.setattr(executor, "run_kept", run_kept)
    yield found
    found.may_end.set()


def reserve(wallet: UUID) -> Unit:
    return Unit(operation=Reserve(wallet_id=wallet, amount=1, expires_at=hold_expiry()))


def settle(wallet: UUID) -> Unit:
    return Unit(operation=Release(hold=HoldRef(uuid4(), wallet, 1, "r")))


async def begun(commits: Commits, count: int) -> list[list[str]]:
    for _ in range(500):
        if len(commits.begun) >= count:
            break
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)  # nothing more begins
    return commits.begun


async def test_a_reservation_waits_for_no_settlement_of_another_wallet(commits: Commits) -> None:
    settling = submit(settle(ONE))
    assert await begun(commits, 1) == [["settle one"]]
    await asyncio.wait_for(submit(reserve(OTHER)), 2)
    assert not settling.done()


async def test_settlements_of_two_wallets_wait_for_the_disk_at_the_same_time(commits: Commits) -> None:
    first = submit(settle(ONE))
    await begun(commits, 1)
    second = submit(settle(OTHER))
    assert await begun(commits, 2) == [["settle one"], ["settle other"]]
    commits.may_end.set()
    await asyncio.gather(first, second)


async def test_a_lone_unit_is_taken_at_once_and_others_gather_while_a_batch_is_on_its_way(commits: Commits) -> None:
    first = submit(settle(ONE))
    await asyncio.sleep(0)
    assert not group_commit._queues[asyncio.get_running_loop()].settling.waiting
    await begun(commits, 1)
    second = submit(settle(OTHER))
    await asyncio.sleep(0)
    third = submit(settle(THIRD))
    assert await begun(commits, 2) == [["settle one"], ["settle other", "settle third"]]
    commits.may_end.set()
    await asyncio.gather(first, second, third)


async def test_settlements_on_mongodb_gather_until_a_batch_has_kept_them_waiting(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "connection", mock.Mock(vendor="mongodb"))
    monkeypatch.setattr(group_commit, "ALONE", 0.2)
    first = submit(settle(ONE))
    await begun(commits, 1)
    others = [submit(settle(wallet)) for wallet in (OTHER, OTHER)]
    assert await begun(commits, 1) == [["settle one"]]
    assert await begun(commits, 2) == [["settle one"], ["settle other", "settle other"]]
    later = [submit(settle(wallet)) for wallet in (THIRD, OTHER)]
    commits.may_end.set()
    await asyncio.gather(first, *others, *later)
    assert sorted(unit for batch in commits.begun[2:] for unit in batch) == ["settle other", "settle third"]


async def test_units_of_a_wallet_that_a_batch_moves_wait_for_it(commits: Commits) -> None:
    first = submit(settle(ONE))
    await begun(commits, 1)
    others = [submit(unit) for unit in (reserve(ONE), settle(ONE), reserve(OTHER))]
    assert await begun(commits, 2) == [["settle one"], ["reserve other"]]
    commits.may_end.set()
    await asyncio.gather(first, *others)
    assert sorted(commits.begun[2:]) == [["reserve one"], ["settle one"]]


async def test_no_lane_keeps_a_wallet_for_itself(commits: Commits) -> None:
    """Settlements of the wallet go on coming; its reservation is next all the same."""
    first = submit(settle(ONE))
    await begun(commits, 1)
    reservation, later = submit(reserve(ONE)), [submit(settle(ONE)) for _ in range(3)]
    await asyncio.sleep(0.02)
    commits.may_end.set()
    await asyncio.gather(first, reservation, *later)
    assert commits.begun == [["settle one"], ["reserve one"], ["settle one"] * 3]
