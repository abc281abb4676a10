"""The pages at Stripe on which people buy credits and subscribe to plans."""

from typing import Any

import pytest

from aichat.payments import stripe_api
from aichat.payments.models import Plan
from tests.conftest import Actor
from tests.payments.stripe_stand_in import FakeStripe, invoice, told


@pytest.mark.parametrize("page", ["checkout", "portal"])
def test_without_a_key_nothing_is_sold(alice: Actor, settings: Any, page: str) -> None:
    settings.STRIPE_SECRET_KEY = ""
    answer = alice.post(f"/api/v1/billing/{page}", {"credits": "1000"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "billing_unavailable")


def test_credits_are_bought_on_a_page_of_stripes(alice: Actor, fake: FakeStripe) -> None:
    answer = alice.post("/api/v1/billing/checkout", {"credits": "1500.5"})
    assert (answer.status_code, answer.json()) == (201, {"url": "https://stripe.test/pay"})
    _, (_, _, asked) = fake.asked
    assert asked["line_items[0][price_data][unit_amount]"] == ["151"]  # 1000 credits a dollar, rounded up to a cent
    assert asked["metadata[credits]"] == asked["payment_intent_data[metadata][credits]"] == [str(1_500_500_000)]
    assert asked["metadata[organization]"] == [str(alice.organization.pk)]
    alice.post("/api/v1/billing/checkout", {"credits": "1000"})
    assert [path for _, path, _ in fake.asked].count("/v1/customers") == 1
    assert alice.post("/api/v1/billing/portal").json() == {"url": "https://stripe.test/me"}


def test_a_plan_is_subscribed_to_once(alice: Actor, fake: FakeStripe, pro: Plan) -> None:
    assert alice.post("/api/v1/billing/checkout", {"plan": "pro"}).status_code == 201
    _, (_, _, asked) = fake.asked
    assert (asked["mode"], asked["line_items[0][price_data][unit_amount]"]) == (["subscription"], ["999"])
    assert asked["subscription_data[metadata][plan]"] == ["pro"]
    told(invoice(alice))
    again = alice.post("/api/v1/billing/checkout", {"plan": "pro"})
    assert (again.status_code, again.json()["error"]["param"]) == (400, "plan")


@pytest.mark.parametrize(
    ("page", "body", "param"),
    [
        ("checkout", {}, "plan"),
        ("checkout", {"plan": "pro", "credits": "1000"}, "plan"),
        ("checkout", {"plan": "gold"}, "plan"),
        ("checkout", {"credits": "1"}, "credits"),
        ("checkout", {"credits": "999999999999"}, "credits"),
        ("checkout", {"credits": "1000", "success_url": "https://evil.test"}, "success_url"),
        ("portal", None, None),
    ],
)
def test_what_can_not_be_bought_is_refused_by_name(
    alice: Actor, fake: FakeStripe, pro: Plan, page: str, body: Any, param: str | None
) -> None:
    answer = alice.post(f"/api/v1/billing/{page}", body)
    assert (answer.status_code, answer.json()["error"]["param"], fake.asked) == (400, param, [])


def test_an_outage_of_stripes_is_said(alice: Actor, fake: FakeStripe) -> None:
    fake.answers.clear()
    answer = alice.post("/api/v1/billing/checkout", {"credits": "1000"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "billing_unavailable")
    assert "no such thing" not in answer.content.decode()


def test_amounts_are_in_the_units_of_their_currency() -> None:
    cases: list[tuple[int, str, int]] = [(9_990_000, "eur", 999), (500_000_000, "JPY", 500), (1_500_000, "kwd", 1500)]
    for millionths, currency, units in cases:
        assert stripe_api.to_units(millionths, currency) == units
        assert stripe_api.from_units(units, currency) == millionths
    with pytest.raises(ValueError, match="decimal places"):
        stripe_api.to_units(1, "eur")
