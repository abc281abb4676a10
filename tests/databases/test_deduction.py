"""Money moves by one conditional statement, on each engine; read from what the engine was sent."""

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from credits.models import Wallet
from credits.services import InsufficientCreditsError, Reserve, apply, hold_expiry
from tests.conftest import Actor


def reserve(alice: Actor, amount: int) -> None:
    apply([Reserve(wallet_id=alice.organization.pk, amount=amount, expires_at=hold_expiry())])[0].or_raise()


@pytest.mark.skipif(connection.vendor == "mongodb", reason="it reads SQL")
def test_a_reservation_is_one_statement_with_the_balance_in_its_condition(alice: Actor) -> None:
    alice.set_credits(10)
    with CaptureQueriesContext(connection) as queries:
        reserve(alice, 1_234_567)
    (statement,) = [query["sql"] for query in queries if "credits_wallet" in query["sql"]]
    assert statement.split()[0] == "UPDATE"
    assert "available >= moves.needs" in statement.split("WHERE", 1)[1]


@pytest.mark.skipif(connection.vendor != "mongodb", reason="it reads MongoDB's log of commands")
@pytest.mark.django_db(transaction=True)
def test_a_reservation_is_one_command_with_the_balance_in_its_filter(alice: Actor) -> None:
    alice.set_credits(10)
    database = connection.get_collection("credits_wallet").database  # type: ignore[attr-defined]
    database.command("profile", 2)
    try:
        reserve(alice, 1_234_567)
    finally:
        database.command("profile", 0)
        commands = list(database["system.profile"].find({"op": "update", "ns": {"$regex": "[.]credits_wallet$"}}))
        database.drop_collection("system.profile")
    (command,) = commands
    assert command["command"]["q"]["available"] == {"$gte": 1_234_567}
    assert command["command"]["u"]["$inc"]["available"] == -1_234_567


def test_what_is_not_there_is_not_reserved(alice: Actor) -> None:
    alice.set_credits(1)
    with pytest.raises(InsufficientCreditsError):
        reserve(alice, 1_000_001)
    assert (alice.wallet.available, alice.wallet.held) == (1_000_000, 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("column", ["available", "held"])
def test_the_database_itself_refuses_less_than_nothing(alice: Actor, column: str) -> None:
    alice.set_credits(1)
    with pytest.raises(DatabaseError):
        Wallet.objects.filter(pk=alice.organization.pk).update(**{column: -1})
    assert alice.wallet.available == 1_000_000
