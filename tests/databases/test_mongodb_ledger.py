"""What a chat's two commits send to MongoDB, and the digest that is kept beside a wallet."""

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from django.db import IntegrityError
from django.db import connection as django_connection
from pymongo import MongoClient, monitoring

from aichat.core.database.models import uuid7
from aichat.core.database.mongodb import commands
from aichat.core.database.statements import insert_rows
from aichat.core.database.transactions import run_atomic
from aichat.core.money import CREDIT
from aichat.generation.charging.group_commit import Unit, commit_together
from credits import engines
from credits.models import Hold, LedgerEntry
from credits.services import InsufficientCreditsError, OperationResult, Reserve, Settle, apply, hold_expiry
from credits.verify import problems
from tests.conftest import Actor

pytestmark = pytest.mark.django_db(transaction=True)
connection: Any = django_connection  # MongoDB's has more


class Recorder(monitoring.CommandListener):
    def __init__(self) -> None:
        self.commands: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        table = event.command[event.command_name]
        self.commands.append(f"{event.command_name} {table}" if isinstance(table, str) else event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


@pytest.fixture
def sent(alice: Actor) -> Iterator[list[str]]:
    """The commands that the driver sends, with their tables."""
    alice.wallet  # noqa: B018 - opens it
    before, recorder = (connection.connection, connection.database), Recorder()
    connection.connection = MongoClient(**connection.get_connection_params(), event_listeners=[recorder])
    connection.database = connection.connection[connection.settings_dict["NAME"]]
    yield recorder.commands
    connection.connection.close()
    connection.connection, connection.database = before


def reserve(actor: Actor, credits: int) -> Reserve:
    return Reserve(wallet_id=actor.organization.pk, amount=credits * CREDIT, expires_at=hold_expiry())


def settle(asked: Reserve, credits: int) -> Settle:
    return Settle(hold=asked.hold, charge=credits * CREDIT)


def last_entry(actor: Actor) -> dict[str, Any]:
    found: dict[str, Any] = connection.get_collection("credits_wallet").find_one({"_id": actor.organization.pk.hex})
    return found["last_entry"]  # type: ignore[no-any-return]


def charges(actor: Actor) -> list[int]:
    rows = LedgerEntry.objects.filter(wallet=actor.wallet, kind="CHARGE").order_by("sequence")
    return [-amount // CREDIT for amount in rows.values_list("amount", flat=True)]


def test_a_chat_is_nine_commands_however_many_are_committed_together(alice: Actor, bob: Actor, sent: list[str]) -> None:
    alice.set_credits(100)
    bob.set_credits(100)
    asked = [reserve(actor, 5) for actor in (alice, bob, alice)]
    sent.clear()
    commit_together([Unit(operation=each) for each in asked])
    assert sent == ["update credits_wallet", "insert credits_hold", "commitTransaction"]
    sent.clear()
    commit_together([Unit(operation=settle(each, 3)) for each in asked])
    assert sent == [
        "find credits_wallet", "update credits_wallet", "update credits_hold", "insert credits_ledgerentry",
        "commitTransaction",
    ]  # fmt: skip
    assert (alice.wallet.available, alice.wallet.held, bob.wallet.available) == (94 * CREDIT, 0, 97 * CREDIT)
    assert list(problems()) == []


def test_reservations_of_which_one_is_refused_are_made_one_by_one(alice: Actor, bob: Actor) -> None:
    alice.set_credits(10)
    bob.set_credits(1)
    outcomes = commit_together([Unit(operation=each) for each in (reserve(alice, 4), reserve(bob, 2))])
    assert [type(outcome.error) for outcome in outcomes] == [type(None), InsufficientCreditsError]
    assert (alice.wallet.held, bob.wallet.held, Hold.objects.count()) == (4 * CREDIT, 0, 1)
    assert list(problems()) == []


def test_a_reservation_that_was_made_before_moves_nothing(alice: Actor) -> None:
    alice.set_credits(10)
    asked = Unit(operation=reserve(alice, 4))
    outcomes = [commit_together([asked])[0].repeated for _ in range(2)]
    assert outcomes == [False, True] and alice.wallet.held == 4 * CREDIT


def test_the_digest_of_the_last_entry_stands_beside_the_wallet(alice: Actor, sent: list[str]) -> None:
    alice.set_credits(10)
    for _ in range(2):
        asked = reserve(alice, 2)
        apply([asked])
        sent.clear()
        apply([settle(asked, 1)])
        assert "find credits_ledgerentry" not in sent
    newest = LedgerEntry.objects.filter(wallet=alice.wallet).order_by("-sequence")[0]
    assert last_entry(alice) == {"sequence": newest.sequence, "digest": newest.digest}
    assert list(problems()) == []


def test_an_entry_of_the_version_before_does_not_break_the_chain(alice: Actor) -> None:
    """It writes entries and leaves the digest beside the wallet as it is."""
    alice.set_credits(10)
    asked = [reserve(alice, 1) for _ in range(4)]
    apply(asked)
    for number, each in enumerate(asked):
        if number % 2:
            with mock.patch.object(engines, "ENGINES", {}):
                apply([settle(each, 1)])
            assert last_entry(alice)["sequence"] == alice.wallet.sequence - 1
        else:
            apply([settle(each, 1)])
    assert charges(alice) == [1, 1, 1, 1]
    assert list(problems()) == []


def test_a_transaction_that_fails_leaves_the_last_digest_as_it_was(alice: Actor) -> None:
    alice.set_credits(10)
    asked = reserve(alice, 2)
    apply([asked])
    before = last_entry(alice)

    def fail(outcome: OperationResult) -> list[Any]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        commit_together([Unit(operation=settle(asked, 1), write=fail)])
    assert last_entry(alice) == before
    apply([settle(asked, 1)])
    assert list(problems()) == []


@pytest.mark.parametrize("longest", [commands.LONGEST, 0], ids=["one command", "too long for one command"])
def test_rows_are_inserted_in_their_transaction_whatever_their_length(
    alice: Actor, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    monkeypatch.setattr(commands, "LONGEST", longest)
    apply([reserve(alice, 0)])
    row = dict(Hold.objects.values().get())

    def insert(*rows: dict[str, Any]) -> None:
        insert_rows((Hold, each) for each in rows)

    new = [row | {"id": uuid7(), "reference": f"{number}" * 50} for number in range(3)]
    with pytest.raises(IntegrityError):
        run_atomic(insert, *new, row)
    assert Hold.objects.count() == 1
    run_atomic(insert, *new)
    assert Hold.objects.count() == 4
