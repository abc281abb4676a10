"""Subscriptions at Stripe: each paid period gives its credits, and a switch of plans gives the difference."""

from typing import Any

import pytest

from accounts.models import Role
from aichat.core.money import CREDIT
from aichat.payments.models import Payment, Plan, Subscription
from credits.verify import problems
from tests.conftest import Actor
from tests.payments.stripe_stand_in import (
    FakeStripe,
    event,
    invoice,
    movements,
    refunded,
    role,
    subscription,
    switched,
    told,
)


@pytest.mark.parametrize("old", [False, True])
def test_a_subscription_gives_each_paid_period_once(customer: Actor, fake: FakeStripe, pro: Plan, old: bool) -> None:
    told(subscription(customer, kind="created"), invoice(customer, old=old), invoice(customer, old=old))
    mine = customer.get("/api/v1/subscription").json()
    assert (mine["plan"], mine["status"], mine["source"]) == ("pro", "active", "stripe")
    assert (movements(customer), role(customer)) == ([500], Role.SUBSCRIBER)
    told(subscription(customer, 1), invoice(customer, 1, old=old), subscription(customer, 1))
    assert movements(customer) == [500, 500]
    assert [row.external_id for row in Payment.objects.order_by("created_at")] == ["pi_month_0", "pi_month_1"]


def test_a_period_that_is_not_paid_is_not_given(customer: Actor, fake: FakeStripe, pro: Plan) -> None:
    told(subscription(customer, kind="created"), invoice(customer))
    ends = Subscription.objects.get().period_end
    told(subscription(customer, 1), subscription(customer, 1, after=9, status="past_due"))
    assert (movements(customer), Subscription.objects.get().period_end) == ([500], ends)
    nothing: dict[str, Any] = {"billing_reason": "subscription_update", "lines": {"data": []}}
    told(invoice(customer, 1, billing_reason="manual"), invoice(customer, 1, **nothing))
    assert movements(customer) == [500]


def test_the_end_of_a_subscription_ends_the_role_and_an_older_event_does_not_revive_it(
    customer: Actor, fake: FakeStripe, pro: Plan
) -> None:
    told(invoice(customer), subscription(customer, after=5, cancel_at_period_end=True))
    assert customer.get("/api/v1/subscription").json()["cancel_at_period_end"] is True
    told(subscription(customer, kind="deleted", after=60, status="canceled"))
    told(subscription(customer, after=30), invoice(customer), invoice(customer, 1))
    assert role(customer) == Role.SUBSCRIBER  # the next month was paid after the end was told
    told(subscription(customer, 1, kind="deleted", after=60, status="canceled"), subscription(customer, 1, after=30))
    assert (role(customer), movements(customer)) == (Role.USER, [500, 500])


def test_a_refunded_period_takes_its_credits_and_stripe_says_when_it_ends(
    customer: Actor, fake: FakeStripe, pro: Plan
) -> None:
    said = invoice(customer)
    fake.answers["/v1/invoices/in_0"] = said["data"]["object"]
    told({**said, "data": {"object": {**said["data"]["object"], "payments": None}}}, refunded("pi_month_0", 999, 999))
    assert (movements(customer), role(customer)) == ([500, -500], Role.SUBSCRIBER)


def test_a_switch_of_plans_gives_and_takes_the_difference_for_the_rest_once_it_is_paid(
    customer: Actor, fake: FakeStripe, team_plan: Plan
) -> None:
    told(invoice(customer))
    item = subscription(customer)["data"]["object"]["items"]["data"][0]
    up = subscription(customer, after=60, items={"data": [{**item, "price": {"id": "price_team"}}]})
    told(up)
    assert customer.get("/api/v1/subscription").json()["plan"] == "team"
    assert movements(customer) == [500]  # what is not paid gives nothing
    paid = switched(customer, "pro", "team", 15, 1, 1000)
    fake.answers["/v1/invoices/in_switch_1"] = paid["data"]["object"]
    told(paid, up, paid)
    part = (1500 * CREDIT - 500 * CREDIT) * 15 // 31  # of a month that has 31 days, or 30
    gave = Payment.objects.get(external_id="in_switch_1").credits
    assert abs(gave - part) <= (1000 * CREDIT) * 15 // (30 * 31)
    customer.set_credits(100)
    back = switched(customer, "team", "pro", 15, 2, 0)
    told(back, back)
    row = Payment.objects.get(external_id="in_switch_2")
    assert (row.credits, row.switched_down, row.taken_back, row.owed) == (0, gave, 100 * CREDIT, gave - 100 * CREDIT)
    assert customer.wallet.available == 0
    told(switched(customer, "pro", "team", 15, 3, 5000, whole=1))
    assert customer.wallet.available == gave + 1500 * CREDIT
    assert list(problems()) == []


def test_a_price_that_is_no_plans_gives_nothing(customer: Actor, fake: FakeStripe, pro: Plan) -> None:
    found = invoice(customer)["data"]["object"]
    found["parent"]["subscription_details"]["metadata"]["price"] = "999"
    for pays, given in (("1", []), ("999", [500])):
        found["lines"]["data"][0]["pricing"] = {"unit_amount_decimal": pays, "price_details": {"price": "price_x"}}
        told(event("invoice.paid", found))
        assert movements(customer) == given
