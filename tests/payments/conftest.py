"""People and plans of the tests of payments."""

from typing import Any

import pytest

from aichat.core.money import CREDIT
from aichat.payments import stripe_api
from aichat.payments.models import Plan, StripeCustomer
from tests.conftest import Actor
from tests.payments.stripe_stand_in import SECRET, FakeStripe


@pytest.fixture
def fake(settings: Any, monkeypatch: pytest.MonkeyPatch) -> FakeStripe:
    found = FakeStripe()
    settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET = "sk_test_1", SECRET
    monkeypatch.setattr(stripe_api, "http_client", lambda: found)
    return found


@pytest.fixture
def pro(db: None) -> Plan:
    return Plan.objects.create(slug="pro", name="Pro", price=9_990_000, currency="EUR", credits=500 * CREDIT)


@pytest.fixture
def customer(alice: Actor) -> Actor:
    """Alice, who has bought something before."""
    StripeCustomer.objects.create(organization=alice.organization, external_id="cus_1")
    alice.set_credits(0)
    return alice


@pytest.fixture
def team_plan(pro: Plan) -> Plan:
    """A larger plan; both have a price at Stripe, so that people can switch there."""
    Plan.objects.update(stripe_price="price_pro", prorate=True)
    return Plan.objects.create(
        slug="team", name="Team", price=29_990_000, currency="EUR", credits=1500 * CREDIT, stripe_price="price_team",
        prorate=True,
    )  # fmt: skip
