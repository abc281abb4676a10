"""The connections with which the event loop commits on PostgreSQL: lost, ended by the server, silent, forgotten."""

import asyncio
import contextlib
import dataclasses
import select
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvloop
from django.db import OperationalError, connection, connections, transaction
from psycopg.pq import ConnStatus

from aichat.core.background import lifecycle
from aichat.core.database import transactions
from aichat.core.database.models import uuid7
from aichat.core.database.statements import on_loop
from aichat.core.database.statements.pipeline import Exchange
from aichat.core.money import CREDIT
from aichat.generation.charging import group_commit
from aichat.generation.charging.group_commit import Unit, submit
from credits.models import Hold, Wallet
from credits.services import OperationResult, Settle
from credits.verify import problems
from tests.conftest import Actor
from tests.databases.commits import commit, commit_in_turn, reserve, standing

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="other engines have no pipeline"),
]


def broken(when: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The first connection is lost: before anything is sent, or after COMMIT was answered. Returns how often."""
    lost: list[str] = []
    exchange = on_loop._Connection.exchange

    async def breaking(line: Any, asked: Any) -> Any:
        if lost or not asked.commits:
            return await exchange(line, asked)
        lost.append(when)
        if when == "after COMMIT":
            await exchange(line, asked)
        line.close()
        error = OperationalError("the connection is lost")
        error.commit_was_sent = when == "after COMMIT"  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr(on_loop._Connection, "exchange", breaking)
    return lambda: len(lost)


@pytest.mark.parametrize("when", ["before", "after COMMIT"])
@pytest.mark.parametrize("what", ["reserve", "settle"])
def test_a_lost_connection_does_it_exactly_once(
    alice: Actor, monkeypatch: pytest.MonkeyPatch, what: str, when: str
) -> None:
    alice.set_credits(100)
    asked = reserve(alice, 2)
    if what == "settle":
        commit(asked)
    count = broken(when, monkeypatch)
    [result] = commit(asked if what == "reserve" else Settle(hold=asked.hold, charge=CREDIT))
    assert count() == 1 and not isinstance(result, Exception)
    assert standing(alice) == ((98, 2) if what == "reserve" else (99, 0))
    assert list(problems()) == []


def end(session: int) -> None:
    """Have the server end a session, by a connection of this thread."""
    with contextlib.closing(connections["default"]), connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [session])


def test_a_connection_that_the_server_ends_is_replaced(alice: Actor, no_threads: None) -> None:
    alice.set_credits(100)

    async def work() -> None:
        await submit(Unit(operation=reserve(alice, 1)))
        [kept] = on_loop._free[asyncio.get_running_loop()]
        await asyncio.to_thread(end, kept.libpq.backend_pid)
        while kept.is_open:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await submit(Unit(operation=reserve(alice, 1)))
        on_loop.close()
        await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(work(), 20))
    assert standing(alice) == (98, 2)


@pytest.mark.parametrize("forgotten", ["ALL", "BEGIN", "COMMIT"])
def test_a_session_that_forgot_its_statements_prepares_them_again(
    alice: Actor, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    """A pooler says DEALLOCATE ALL. The batch that meets it is done by a thread, the next one as before.

    The session may miss any of the statements first; even where it is COMMIT, it is certain that nothing was done.
    """
    alice.set_credits(100)
    outcomes: list[object] = []
    by_thread = group_commit.commit_each

    def noting(units: Sequence[Unit], unknown: transactions.OutcomeUnknown | None = None) -> list[Any]:
        outcomes.append(unknown)
        return by_thread(units, unknown)

    monkeypatch.setattr(group_commit, "commit_each", noting)

    async def work() -> None:
        await submit(Unit(operation=reserve(alice, 1)))
        [kept] = on_loop._free[asyncio.get_running_loop()]
        name = kept.line.names.get(forgotten, b"ALL").decode()
        await kept.exchange(Exchange([kept.line.saying(f"DEALLOCATE {name}")], commits=False))
        for _ in range(2):
            await submit(Unit(operation=reserve(alice, 1)))
        assert kept.line.names and kept.is_open
        on_loop.close()
        await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(work(), 20))
    assert outcomes == [None] and standing(alice) == (97, 3)
    assert list(problems()) == []


def test_a_session_that_ends_while_it_waits_for_a_lock_settles_once(alice: Actor) -> None:
    alice.set_credits(100)
    asked = reserve(alice, 2)
    locked, done = threading.Event(), threading.Event()

    def hold_the_lock() -> None:
        with contextlib.closing(connections["default"]), transaction.atomic():
            list(Wallet.objects.select_for_update())
            locked.set()
            done.wait(20)

    async def work() -> None:
        await submit(Unit(operation=asked))
        locking = asyncio.ensure_future(asyncio.to_thread(hold_the_lock))
        await asyncio.to_thread(locked.wait)
        settling = submit(Unit(operation=Settle(hold=asked.hold, charge=CREDIT), patience=20))
        while not (busy := [one for one in on_loop._connections if one.answer is not None]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.to_thread(end, busy[0].libpq.backend_pid)
        done.set()
        await locking
        assert (await settling).charged == CREDIT
        while lifecycle._tasks:
            await asyncio.gather(*lifecycle._tasks)
        on_loop.close()
        await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(work(), 40))
    assert standing(alice) == (99, 0)
    assert list(problems()) == []


def test_a_batch_larger_than_the_sockets_buffer_arrives_whole(alice: Actor, no_threads: None) -> None:
    alice.set_credits(100)
    asked = [dataclasses.replace(reserve(alice, 0), reference=f"{uuid7()}{'ä' * 40}") for _ in range(250)]
    commit(*asked)
    results = commit(*[Settle(hold=one.hold, charge=1, reason="ä" * 200) for one in asked])
    assert {type(result).__name__ for result in results} == {"OperationResult"}
    assert list(problems()) == []


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_that_ends_right_after_its_answer_takes_no_other_ones_socket_away(
    loop: Callable[[], asyncio.AbstractEventLoop], alice: Actor, no_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop tells of both before the transaction goes on. Meanwhile another connection gets the socket's number."""
    alice.set_credits(100)
    monkeypatch.setattr(on_loop, "LOOK", 60)  # what is not told takes longer than the test may
    read = on_loop._Connection.read
    outside = ThreadPoolExecutor(1)

    async def work() -> None:
        await submit(Unit(operation=reserve(alice, 1)))
        [ended] = on_loop._free[asyncio.get_running_loop()]
        others: list[on_loop._Connection] = []

        def read_all(self: on_loop._Connection) -> None:
            read(self)
            if self is ended and self.answer is not None and self.answer.done() and not others:
                outside.submit(end, self.libpq.backend_pid).result()
                while self.libpq.status == ConnStatus.OK:
                    select.select([self.socket], [], [], 10)
                    read(self)
                others.append(on_loop._Connection(outside.submit(on_loop._connect).result()))

        monkeypatch.setattr(on_loop._Connection, "read", read_all)
        asyncio.get_running_loop().remove_reader(ended.socket)
        asyncio.get_running_loop().add_reader(ended.socket, ended.read)
        assert type(await submit(Unit(operation=reserve(alice, 1)))) is OperationResult
        [other] = others
        assert other.socket == ended.socket and not ended.is_open
        on_loop._free[asyncio.get_running_loop()].append(other)
        assert type(await submit(Unit(operation=reserve(alice, 1)))) is OperationResult
        on_loop.close()
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(work(), 20))
    outside.shutdown()
    assert standing(alice) == (97, 3)


def test_an_answer_of_which_the_event_loop_is_not_told_is_found(
    alice: Actor, no_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection whose socket is not watched any more is not used again."""
    alice.set_credits(10)
    made: list[on_loop._Connection] = []

    class Unwatched(on_loop._Connection):
        def __init__(self, database: Any) -> None:
            super().__init__(database)
            asyncio.get_running_loop().remove_reader(self.socket)
            made.append(self)

    monkeypatch.setattr(on_loop, "_Connection", Unwatched)
    monkeypatch.setattr(on_loop, "LOOK", 0.01)
    first, second = commit_in_turn([reserve(alice, 1)], [reserve(alice, 1)])
    assert [type(result) for result in (*first, *second)] == [OperationResult] * 2
    assert len(made) == 2 and not any(connection.is_open for connection in made)


def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_its_statements_may_take(
    alice: Actor, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reservation waits for a lock; the event loop gives up, and a thread finds out what became of it."""
    alice.set_credits(10)
    settings.DATABASE_TIMEOUT = 0.2
    failed: list[str] = []
    fail = on_loop._Connection.fail

    def noted(self: on_loop._Connection, error: Exception) -> None:
        failed.append(str(error))
        fail(self, error)

    monkeypatch.setattr(on_loop, "LOOK", 0.05)
    monkeypatch.setattr(on_loop._Connection, "fail", noted)
    locked, may_end = threading.Event(), threading.Event()

    def hold_the_wallet() -> None:
        with transaction.atomic():
            Wallet.objects.select_for_update().get(pk=alice.organization.pk)
            locked.set()
            may_end.wait(1)
        connection.close()

    thread = threading.Thread(target=hold_the_wallet)
    thread.start()
    locked.wait(5)
    [result] = commit(reserve(alice, 1))
    thread.join()
    assert failed == ["The server does not answer."]
    assert isinstance(result, OperationResult)
    assert Hold.objects.count() == 1 and standing(alice) == (9, 1) and not list(problems())
