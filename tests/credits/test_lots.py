"""Lots: where credits came from, in which order they are spent, and what becomes of them when their time is over."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts.teams import create_team
from aichat.core.money import CREDIT
from aichat.payments import subscriptions
from aichat.payments.models import Plan, add_months
from aichat.payments.subscriptions import Told
from credits import lots
from credits.lots import account_lots, catch_up, expire_credits, lots_of
from credits.models import CreditExpiry, LedgerEntry, Lot, LotCursor
from credits.operations import LedgerBroken
from credits.services import Credit, Kind, Release, Settle, apply, refund
from credits.verify import problems
from tests.conftest import Actor
from tests.credits.conftest import give, hold, left, spend

SOON = timedelta(days=1)


def later(days: float) -> datetime:
    return timezone.now() + timedelta(days=days)


def test_credits_are_spent_soonest_to_expire_first_and_bought_ones_last(poor: Actor) -> None:
    give(poor, 10, reference="payment:1")
    give(poor, 10, days=2, reference="voucher:1")
    give(poor, 10)
    give(poor, 10, days=1, reference="subscription:1")
    assert left(poor) == [("subscription", 10), ("voucher", 10), ("grant", 10), ("payment", 10)]
    spend(poor, 15)
    assert left(poor) == [("voucher", 5), ("grant", 10), ("payment", 10)]
    shown = poor.get("/api/v1/credits").json()
    assert shown["balance"] == "25"
    assert [(lot["source"], lot["amount"], lot["remaining"]) for lot in shown["lots"]] == [
        ("voucher", "10", "5"), ("grant", "10", "10"), ("payment", "10", "10"),
    ]  # fmt: skip
    assert [bool(lot["expires_at"]) for lot in shown["lots"]] == [True, False, False]


def test_what_is_left_at_the_end_is_taken_off_once(poor: Actor) -> None:
    give(poor, 10, days=1)
    give(poor, 7)
    spend(poor, 4)
    assert expire_credits() == 0
    for _ in range(3):
        expire_credits(later(2))
    taken = LedgerEntry.objects.filter(kind=Kind.EXPIRY).values_list("amount", flat=True)
    assert (list(taken), left(poor)) == ([-6 * CREDIT], [("grant", 7)])
    month = f"{datetime.now(UTC):%Y-%m}"
    assert poor.get(f"/api/v1/statements/{month}").json()["totals"]["expiries"] == "-6"
    assert list(problems()) == []


def test_credits_expire_by_the_databases_clock_whatever_the_hosts_says(
    poor: Actor, host_goes_ahead: Callable[[], None]
) -> None:
    give(poor, 10, days=1)
    host_goes_ahead()
    assert expire_credits() == 0
    assert left(poor) == [("grant", 10)]


def test_what_is_held_at_the_end_may_be_spent_and_is_taken_off_when_it_is_free(poor: Actor) -> None:
    give(poor, 10, days=1)
    first, second = hold(poor, 4), hold(poor, 3)
    assert expire_credits(later(2)) == 1
    assert left(poor) == [("grant", 7)]
    apply([Settle(hold=first, charge=2 * CREDIT)])
    apply([Release(hold=second)])
    assert (expire_credits(later(2)), expire_credits(later(2))) == (1, 0)
    assert (left(poor), poor.wallet.balance) == ([], 0)
    assert not CreditExpiry.objects.filter(lapsed=False).exists()
    assert list(problems()) == []


def test_a_refund_goes_back_to_its_lot_and_after_its_end_to_one_of_its_own(poor: Actor) -> None:
    give(poor, 10, reference="payment:1")
    give(poor, 5, days=1, reference="voucher:1")
    charge = spend(poor, 8)
    assert left(poor) == [("payment", 7)]
    refund(charge, 3 * CREDIT, reason="Test")
    assert left(poor) == [("voucher", 3), ("payment", 7)]
    refund(charge, 4 * CREDIT, reason="Test")
    assert left(poor) == [("voucher", 5), ("payment", 9)]
    again = spend(poor, 5)
    catch_up(poor.organization.pk)
    Lot.objects.filter(source="voucher").update(expires_at=timezone.now() - SOON)
    refund(again, 5 * CREDIT, reason="Test")
    assert left(poor) == [("refund", 5), ("payment", 9)]


def test_what_a_payments_refund_takes_is_of_the_payments_own_lot(poor: Actor) -> None:
    give(poor, 10, days=1)
    give(poor, 10, reference="payment:1")
    taken = Credit(
        wallet_id=poor.organization.pk, amount=-12 * CREDIT, reference="payment:1:refund:12", kind=Kind.REVERSAL
    )
    apply([taken])[0].or_raise()
    assert left(poor) == [("grant", 8)]


def test_the_same_grant_again_keeps_its_end(poor: Actor) -> None:
    for days in (1.0, 2.0):
        give(poor, 10, days=days, reference="gift")
    give(poor, 10, reference="plain")
    give(poor, 10, days=1, reference="plain")
    expire_credits(later(1.5))
    assert left(poor) == [("grant", 10)]


def test_a_plans_credits_lapse_with_its_period_where_the_plan_says_so(poor: Actor, ada: Actor) -> None:
    body = {"slug": "pro", "name": "Pro", "price": "9", "currency": "EUR", "interval": "month", "credits": "50"}
    assert ada.post("/api/v1/admin/plans", {**body, "credits_expire": True}).status_code == 201
    subscriptions.give(poor.organization, Plan.objects.get(), period_end=None, actor=ada.user)
    assert left(poor) == [("subscription", 50)]
    subscriptions.follow_time(later(32))
    expire_credits(later(32))
    assert left(poor) == [("subscription", 50)]
    assert (poor.wallet.available, Lot.objects.filter(source="subscription").count()) == (50 * CREDIT, 2)


def test_what_is_left_of_a_period_rolls_over_up_to_the_plans_cap(poor: Actor, ada: Actor, settings: Any) -> None:
    settings.SUBSCRIPTION_GRACE_DAYS = 3
    body = {"slug": "pro", "name": "Pro", "price": "9", "currency": "EUR", "interval": "month", "credits": "50"}
    wrong = ada.post("/api/v1/admin/plans", {**body, "rollover": "30"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "rollover")
    made = ada.post("/api/v1/admin/plans", {**body, "credits_expire": True, "rollover": "30"})
    assert (made.status_code, made.json()["rollover"]) == (201, "30")
    team = create_team(poor.user, "Wonderland").organization
    began = timezone.now()
    months = [began, *(add_months(began, number) for number in (1, 2, 3))]
    for organization in (poor.organization, team):
        subscriptions.give(organization, Plan.objects.get(), period_end=months[3], actor=ada.user)
    spend(poor, 10)
    held = hold(poor, 5)
    later = timedelta(minutes=1)
    expire_credits(months[1] + later)  # the next period has not been told: what is left waits
    assert left(poor) == [("subscription", 40)]
    subscriptions.follow_time(months[1] + later)
    for _ in range(2):
        expire_credits(months[1] + later)
    apply([Release(hold=held)])
    assert left(poor) == [("subscription", 50), ("subscription", 30)]
    entries = LedgerEntry.objects.filter(wallet_id=poor.organization.pk, reason__in=["Credits expired", "Rolled over"])
    assert [amount // CREDIT for amount in entries.order_by("sequence").values_list("amount", flat=True)] == [-40, 30]
    subscriptions.follow_time(months[2] + later)
    expire_credits(months[2] + later)
    assert [lot.remaining // CREDIT for lot in lots_of(team.pk)] == [50, 30]
    subscriptions.follow_time(months[3] + timedelta(days=4))
    expire_credits(months[3] + timedelta(days=4))
    assert (left(poor), lots_of(team.pk)) == ([], [])
    assert list(problems()) == []


def test_periods_that_are_told_in_any_order_roll_over_the_same(alice: Actor, bob: Actor) -> None:
    plan = Plan.objects.create(
        slug="pro", name="Pro", price=1, currency="EUR", credits=50 * CREDIT, credits_expire=True, rollover=30 * CREDIT
    )
    day = timezone.now().replace(microsecond=0)
    for person, order in ((alice, (0, 1, 2)), (bob, (2, 0, 1))):
        person.set_credits(0)
        for number in order:
            starts = day + timedelta(days=30 * number)
            word = Told(
                source="shop", external_id=person.user.email, plan=plan, period_start=starts,
                period_end=starts + timedelta(days=30),
            )  # fmt: skip
            subscriptions.record(person.organization, word)
        expire_credits(day + timedelta(days=31))
        assert [remaining for _, remaining in left(person)] == [50, 30, 50]
        expire_credits(day + timedelta(days=61))
        assert [remaining for _, remaining in left(person)] == [50, 30]
    assert list(problems()) == []


def test_commands_give_credits_that_expire_and_take_them_off(poor: Actor) -> None:
    call_command("grant_credits", poor.user.email, "10", "--expires-at", later(1).isoformat())
    with pytest.raises(CommandError, match="still to come"):
        call_command("grant_credits", poor.user.email, "10", "--expires-at", "2020-01-01")
    CreditExpiry.objects.update(expires_at=timezone.now() - SOON)
    call_command("expire_credits")
    assert poor.wallet.balance == 0


def test_the_proof_finds_lots_that_do_not_fit_the_ledger(poor: Actor) -> None:
    give(poor, 10)
    give(poor, 5)
    catch_up(poor.organization.pk)
    assert list(problems()) == []
    Lot.objects.filter(amount=10 * CREDIT).update(remaining=11 * CREDIT)
    found = [str(problem) for problem in problems()]
    assert any("its lots have 16000000 left" in text for text in found)
    assert any("has 11000000 of 10000000 left" in text for text in found)
    Lot.objects.filter(amount=10 * CREDIT).update(remaining=10 * CREDIT, amount=12 * CREDIT)
    assert any("added" in str(problem) for problem in problems())


def test_a_wallet_that_is_far_behind_is_accounted_in_the_background(
    poor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lots, "MOST_PENDING", 4)
    account_lots()
    assert account_lots() == 0
    for _ in range(4):
        give(poor, 1)
    assert (account_lots(), account_lots()) == (1, 0)
    assert LotCursor.objects.get(pk=poor.organization.pk).sequence == poor.wallet.sequence


def test_a_broken_wallet_keeps_no_other_behind(poor: Actor, bob: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lots, "MOST_PENDING", 0)
    people = sorted([poor, bob], key=lambda person: person.organization.pk)
    for person in people:
        give(person, 1)
    catch_up_well = lots.catch_up

    def fail_for_the_first(wallet_id: Any) -> None:
        if wallet_id == people[0].organization.pk:
            raise LedgerBroken("wrong")
        catch_up_well(wallet_id)

    monkeypatch.setattr(lots, "catch_up", fail_for_the_first)
    account_lots()
    assert LotCursor.objects.get(pk=people[1].organization.pk).sequence == people[1].wallet.sequence


@pytest.mark.django_db(transaction=True)
def test_expiries_between_charges_of_other_processes_are_exact(poor: Actor) -> None:
    for number in range(4):
        give(poor, 10, days=1 + number / 10)
    give(poor, 10)

    def work(number: int) -> int:
        try:
            if number % 3:
                return -(spend(poor, 1).amount // CREDIT)
            return expire_credits(later(1 + number / 100)) and 0
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        spent = sum(pool.map(work, range(18)))
    expire_credits(later(3))
    expired = -sum(LedgerEntry.objects.filter(kind=Kind.EXPIRY).values_list("amount", flat=True)) // CREDIT
    assert (spent, expired) == (12, 40 - min(40, spent))
    assert left(poor) == [("grant", 10)]
    assert list(problems()) == []


# --- Against a plain model --------------------------------------------------------------------------------------------
