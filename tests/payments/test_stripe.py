"""Stripe: only what it signed is believed, and purchases, refunds and disputes move credits once."""

from typing import Any

import pytest
from django.test import Client

from aichat.core.money import CREDIT
from aichat.payments.models import Payment
from tests.conftest import Actor
from tests.payments.stripe_stand_in import (
    HOOK,
    SECRET,
    FakeStripe,
    bought,
    disputed,
    event,
    movements,
    refunded,
    send,
    told,
)


@pytest.mark.parametrize("secret", ["", "  "])
def test_without_a_secret_nothing_is_taken(customer: Actor, fake: FakeStripe, settings: Any, secret: str) -> None:
    settings.STRIPE_WEBHOOK_SECRET = secret
    answer = send(bought(customer), secret=secret)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "billing_unavailable")
    assert movements(customer) == []


@pytest.mark.parametrize(("secret", "age"), [("whsec_another-secret", 0), ("", 0), (SECRET, 301)])
def test_what_stripe_did_not_sign_is_refused(customer: Actor, fake: FakeStripe, secret: str, age: int) -> None:
    answer = send(bought(customer), secret=secret, age=age)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_signature")
    assert movements(customer) == []


@pytest.mark.parametrize("header", [None, "", "t=1", "t=x,v1=a", "v1=é", "t=1,v1=é", "nonsense"])
def test_a_strange_signature_is_refused(customer: Actor, fake: FakeStripe, header: str | None) -> None:
    headers = {} if header is None else {"Stripe-Signature": header}
    answer = Client().post(HOOK, b"\xff{}", content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_signature")


def test_a_purchase_gives_its_credits_once(customer: Actor, fake: FakeStripe) -> None:
    said = bought(customer)
    told(said, said, event("checkout.session.async_payment_succeeded", said["data"]["object"]))
    assert movements(customer) == [1000]
    row = Payment.objects.get()
    assert (row.source, row.external_id, row.amount, row.currency) == ("stripe", "pi_1", 1_000_000, "USD")


def test_what_is_not_paid_or_not_ours_gives_nothing(customer: Actor, fake: FakeStripe) -> None:
    told(
        bought(customer, payment_status="unpaid"),
        bought(customer, metadata={}),
        bought(customer, metadata={"organization": "x", "credits": "1"}),
        bought(customer, metadata={"organization": str(customer.organization.pk), "credits": "-5"}),
        event("charge.refunded", refunded(customer="cus_other")["data"]["object"]),
        event("customer.created", {"id": "cus_9"}),
    )
    assert (movements(customer), Payment.objects.count()) == ([], 0)


def test_refunds_take_their_part_back_once(customer: Actor, fake: FakeStripe) -> None:
    told(bought(customer), refunded(amount=25), refunded(amount=25), refunded(amount=100), refunded(amount=25))
    assert movements(customer) == [1000, -250, -750]


def test_a_whole_refund_before_its_purchase_is_kept_and_a_part_is_asked_for_again(
    customer: Actor, fake: FakeStripe
) -> None:
    answer = send(refunded("pi_2", amount=50))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "payment_unknown")
    told(refunded("pi_1"), bought(customer, "pi_1"), bought(customer, "pi_2"), refunded("pi_2", amount=50))
    assert movements(customer) == [1000, -1000, 1000, -500]


def test_a_dispute_takes_everything_down_to_zero_and_gives_it_back_when_it_is_won(
    customer: Actor, fake: FakeStripe
) -> None:
    fake.answers["/v1/charges/ch_pi_1"] = refunded(amount=0)["data"]["object"]
    asked = disputed("created", "warning_needs_response")  # a bank's question moves no money
    told(bought(customer), asked)
    customer.set_credits(300)
    opened = disputed("created", "needs_response")
    told(opened, opened, disputed("funds_withdrawn", "needs_response"))
    assert movements(customer) == [1000, -300]
    assert Payment.objects.get().owed == 700 * CREDIT
    won = disputed("closed", "won")
    told(won, won, disputed("funds_reinstated", "won"), opened)
    assert movements(customer) == [1000, -300, 300]
    row = Payment.objects.get()
    assert (row.owed, row.taken_back, row.state) == (0, 0, "paid")
    told(
        refunded(amount=50), disputed("created", "needs_response", 100, "dp_2"), disputed("closed", "lost", 100, "dp_2")
    )
    assert movements(customer) == [1000, -300, 300, -300]
    row = Payment.objects.get()
    assert (row.taken_back, row.owed, row.state) == (300 * CREDIT, 700 * CREDIT, "refunded")


def test_a_dispute_may_come_before_its_purchase_and_its_end_before_its_beginning(
    customer: Actor, fake: FakeStripe
) -> None:
    fake.answers["/v1/charges/ch_pi_1"] = refunded(amount=0)["data"]["object"]
    told(disputed("closed", "won", name="dp_0"), disputed("created", "needs_response", 40), bought(customer))
    told(disputed("created", "needs_response", name="dp_0"))
    assert movements(customer) == [1000, -400]
