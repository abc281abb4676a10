"""The monthly allowance: by role, once a month, on any number of hosts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import Role
from aichat.core.money import CREDIT, LARGEST
from credits import allowances
from credits.allowances import grant_allowances
from credits.models import CreditPlan, LedgerEntry
from credits.verify import problems
from tests.conftest import Actor

NOVEMBER, DECEMBER = datetime(2026, 11, 30, 23, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def plan(db: None) -> CreditPlan:
    return CreditPlan.objects.create(role=Role.SUBSCRIBER, amount=50 * CREDIT)


@pytest.fixture
def subscriber(actor: Callable[..., Actor]) -> Actor:
    return actor("sue", Role.SUBSCRIBER)


def allowances_of(actor: Actor) -> list[str]:
    found = LedgerEntry.objects.filter(wallet_id=actor.organization.pk, kind="ALLOWANCE")
    return list(found.order_by("sequence").values_list("reference", flat=True))


def test_only_the_role_of_the_plan_gets_it_each_month_once(plan: CreditPlan, subscriber: Actor, alice: Actor) -> None:
    subscriber.set_credits(0)
    assert [grant_allowances(NOVEMBER), grant_allowances(NOVEMBER), grant_allowances(DECEMBER)] == [1, 0, 1]
    assert allowances_of(subscriber) == ["allowance:2026-11", "allowance:2026-12"]
    assert allowances_of(alice) == []
    assert subscriber.wallet.available == 100 * CREDIT


def test_a_wallet_that_was_never_touched_is_opened(plan: CreditPlan, subscriber: Actor) -> None:
    assert grant_allowances(NOVEMBER) == 1
    assert list(LedgerEntry.objects.order_by("sequence").values_list("kind", flat=True)) == ["STARTER", "ALLOWANCE"]
    assert list(problems()) == []


def test_who_left_gets_nothing(plan: CreditPlan, subscriber: Actor) -> None:
    subscriber.user.is_active = False
    subscriber.user.save()
    assert grant_allowances(NOVEMBER) == 0


def test_more_people_than_one_batch(
    plan: CreditPlan, actor: Callable[..., Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowances, "AT_ONCE", 2)
    people = [actor(f"s{number}", Role.SUBSCRIBER) for number in range(5)]
    assert grant_allowances(NOVEMBER) == 5
    assert all(allowances_of(person) for person in people)


def test_one_that_the_wallet_can_not_hold_is_in_the_log(
    plan: CreditPlan, subscriber: Actor, alice: Actor, caplog: pytest.LogCaptureFixture
) -> None:
    subscriber.set_credits(LARGEST // CREDIT)
    assert grant_allowances(NOVEMBER) == 0
    assert ["no allowance: A wallet holds at most" in record.getMessage() for record in caplog.records] == [True]


def test_the_command_says_how_many(plan: CreditPlan, subscriber: Actor) -> None:
    out = StringIO()
    call_command("grant_allowances", stdout=out)
    assert out.getvalue() == "Granted allowances: 1.\n"


@pytest.mark.django_db(transaction=True)
def test_hosts_that_run_it_at_once_give_it_once(plan: CreditPlan, actor: Callable[..., Actor]) -> None:
    people = [actor(f"s{number}", Role.SUBSCRIBER) for number in range(6)]

    def host() -> int:
        try:
            return grant_allowances(NOVEMBER)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        granted = [task.result() for task in [pool.submit(host) for _ in range(4)]]
    assert sum(granted) == 6
    assert [len(allowances_of(person)) for person in people] == [1] * 6
    assert list(problems()) == []
