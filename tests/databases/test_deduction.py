"""Money moves by one conditional statement, on each engine; read from what the engine was sent."""

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from credits.models import Wallet
from credits.services import InsufficientCreditsError, Reserve, apply, hold_expiry
from tests.conftest import Actor


def statements_on_wallets(alice: Actor, amount: int) -> list[str]:
    operation = Reserve(wallet_id=alice.organization.pk, amount=amount, expires_at=hold_expiry())
    with CaptureQueriesContext(connection) as queries:
        apply([operation])[0].or_raise()
    return [query["sql"] for query in queries if "credits_wallet" in query["sql"]]


def test_a_reservation_is_one_statement_with_the_balance_in_its_condition(alice: Actor) -> None:
    alice.set_credits(10)
    (statement,) = statements_on_wallets(alice, 1_234_567)
    if connection.vendor == "mongodb":
        assert statement.startswith("db.credits_wallet.update_many(")
        condition, change = statement.split(", [{'$set'")
        assert "'available': {'$gte': Int64(1234567)}" in condition or "'available': {'$gte': 1234567}" in condition
        assert "'$add'" in change or "'$subtract'" in change
    else:
        assert statement.startswith("UPDATE")
        assert '"available" >= 1234567' in statement.split("WHERE")[1]


def test_what_is_not_there_is_not_reserved(alice: Actor) -> None:
    alice.set_credits(1)
    with pytest.raises(InsufficientCreditsError):
        statements_on_wallets(alice, 1_000_001)
    assert (alice.wallet.available, alice.wallet.held) == (1_000_000, 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("column", ["available", "held"])
def test_the_database_itself_refuses_less_than_nothing(alice: Actor, column: str) -> None:
    alice.set_credits(1)
    with pytest.raises(DatabaseError):
        Wallet.objects.filter(pk=alice.organization.pk).update(**{column: -1})
    assert alice.wallet.available == 1_000_000
