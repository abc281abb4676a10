"""Messages of any shop: signed, in any order, any number of times, and exactly once in the ledger."""

import json
import random
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from standardwebhooks import Webhook

from accounts import teams
from accounts.models import Role, User
from aichat.core.database.models import uuid7
from aichat.core.money import CREDIT
from aichat.payments.models import Payment, Plan, Subscription
from aichat.payments.subscriptions import follow_time
from credits.models import LedgerEntry
from credits.verify import problems
from tests.conftest import Actor
from tests.service import ROOT

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOOK = "/webhooks/payments"


@pytest.fixture(autouse=True)
def _secret(settings: Any) -> None:
    settings.PAYMENTS_WEBHOOK_SECRET = SECRET


def signed(body: bytes, *, secret: str = SECRET, at: datetime | None = None) -> dict[str, str]:
    moment, name = at or datetime.now(UTC), f"msg_{uuid7()}"
    signature = Webhook(secret).sign(name, moment, body.decode())
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature,
    }


def send(message: dict[str, Any]) -> Any:
    body = json.dumps(message).encode()
    return Client().post(HOOK, body, content_type="application/json", headers=signed(body))


def told(**message: Any) -> None:
    answer = send(message)
    assert (answer.status_code, answer.json()) == (200, {"received": True}), answer.content


def paid(name: str = "pay_1", credits: str = "100", **facts: Any) -> dict[str, Any]:
    return {
        "type": "payment.succeeded", "id": name, "email": "alice@example.com", "credits": credits, "amount": "9.99",
        "currency": "EUR", **facts,
    }  # fmt: skip


def refunded(name: str = "pay_1", **facts: Any) -> dict[str, Any]:
    return {"type": "payment.refunded", "id": name, "email": "alice@example.com", **facts}


def movements(actor: Actor) -> list[int]:
    entries = LedgerEntry.objects.filter(wallet_id=actor.organization.pk, reference__startswith="payment:")
    return [amount // CREDIT for amount in entries.order_by("sequence").values_list("amount", flat=True)]


def role(actor: Actor) -> str:
    return User.objects.get(pk=actor.user.pk).role


# --- Who is believed --------------------------------------------------------------------------------------------------


def test_without_a_secret_nothing_is_taken(alice: Actor, settings: Any) -> None:
    settings.PAYMENTS_WEBHOOK_SECRET = ""
    answer = send(paid())
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "billing_unavailable")
    assert movements(alice) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda headers: {},
        lambda headers: {**headers, "webhook-signature": "v1,AAAA"},
        lambda headers: {**headers, "webhook-signature": "nonsense"},
        lambda headers: {**headers, "webhook-signature": "v1,é"},
        lambda headers: {**headers, "webhook-id": "another"},
        lambda headers: {**headers, "webhook-timestamp": "nan"},
        lambda headers: signed(b"another body"),
        lambda headers: signed(json.dumps(paid()).encode(), secret="whsec_AAAAAAAAAAAAAAAAAAAAAAAA"),
        lambda headers: signed(json.dumps(paid()).encode(), at=datetime.now(UTC) - timedelta(minutes=6)),
    ],
)
def test_what_is_not_signed_is_refused(alice: Actor, spoil: Callable[[dict[str, str]], dict[str, str]]) -> None:
    body = json.dumps(paid()).encode()
    answer = Client().post(HOOK, body, content_type="application/json", headers=spoil(signed(body)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_signature")
    assert movements(alice) == []


def test_a_secret_may_be_any_long_text(alice: Actor, settings: Any) -> None:
    settings.PAYMENTS_WEBHOOK_SECRET = "a long secret of words"
    body = json.dumps(paid()).encode()
    moment = datetime.now(UTC)
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(b"a long secret of words").sign("m", moment, body.decode()),
    }
    assert Client().post(HOOK, body, content_type="application/json", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("message", "status", "param"),
    [
        (paid(type="payment.lost"), 400, "type"),
        (paid(email="nobody@example.com"), 404, "email"),
        ({**paid(), "organization": str(uuid7())}, 400, "email"),
        ({key: value for key, value in paid().items() if key != "credits"}, 400, "credits"),
        (paid(credits="-5"), 400, "credits"),
        (paid(credits="1e40"), 400, "credits"),
        (paid(id="x" * 201), 400, "id"),
        (paid(id="a\0b"), 400, "id"),
        (paid(currency="€"), 400, "currency"),
        (paid(subscription="sub_1"), 400, "subscription"),
        ({"type": "subscription.updated", "id": "s", "email": "alice@example.com", "plan": "pro"}, 400, "period_end"),
        ({"type": "subscription.updated", "id": "s", "email": "alice@example.com", "plan": "gold",
          "period_end": "2027-01-01T00:00:00Z"}, 400, "plan"),
        ({"type": "subscription.updated", "id": "s", "email": "alice@example.com", "plan": "pro",
          "period_end": "0001-01-01T00:00:00Z"}, 400, "period_end"),
    ],
)  # fmt: skip
def test_a_wrong_message_is_refused_by_name(
    pro: Plan, alice: Actor, message: dict[str, Any], status: int, param: str
) -> None:
    answer = send(message)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert Payment.objects.count() + Subscription.objects.count() == 0


def test_a_person_who_registers_later_gets_it_when_it_is_sent_again(actor: Callable[..., Actor]) -> None:
    assert send(paid(email="Late@example.com")).status_code == 404
    late = actor("late")
    told(**paid(email="Late@example.com"))
    assert movements(late) == [100]


# --- Payments and refunds ---------------------------------------------------------------------------------------------


def test_a_payment_gives_its_credits_once(alice: Actor) -> None:
    alice.set_credits(0)
    for _ in range(3):
        told(**paid())
    assert (movements(alice), alice.wallet.available) == ([100], 100 * CREDIT)
    row = Payment.objects.get()
    assert (row.amount, row.currency, row.state) == (9_990_000, "EUR", "paid")
    assert list(problems()) == []


def test_a_team_is_paid_by_its_id(alice: Actor) -> None:
    team = teams.create_team(alice.user, "Wonderland").organization
    message = {key: value for key, value in paid().items() if key != "email"}
    told(**message, organization=str(team.pk))
    assert LedgerEntry.objects.filter(wallet_id=team.pk, amount=100 * CREDIT).exists()


def test_a_refund_takes_the_credits_back_once(alice: Actor) -> None:
    alice.set_credits(7)
    told(**paid())
    for _ in range(3):
        told(**refunded())
    assert (movements(alice), alice.wallet.available) == ([100, -100], 7 * CREDIT)
    assert list(problems()) == []


def test_a_refund_goes_down_to_zero_and_the_rest_is_owed(alice: Actor) -> None:
    alice.set_credits(0)
    told(**paid())
    alice.set_credits(40)
    for _ in range(2):
        told(**refunded())
    row = Payment.objects.get()
    assert (movements(alice), alice.wallet.available) == ([100, -40], 0)
    assert (row.taken_back, row.owed, row.state) == (40 * CREDIT, 60 * CREDIT, "refunded")
    told(**paid("pay_2", "50"))
    told(**refunded())
    assert alice.wallet.available == 50 * CREDIT


def test_a_refund_in_parts_says_how_much_in_all(alice: Actor) -> None:
    told(**paid())
    for credits in ("30", "30", "80", "30", "500"):
        told(**refunded(credits=credits))
    assert movements(alice) == [100, -30, -50, -20]


def test_a_refund_before_its_payment_is_kept_until_then(alice: Actor) -> None:
    alice.set_credits(5)
    told(**refunded())
    told(**paid())
    told(**paid())
    assert (movements(alice), alice.wallet.available) == ([100, -100], 5 * CREDIT)


def test_a_payment_for_a_plan_gives_a_period_and_its_refund_ends_it(pro: Plan, alice: Actor) -> None:
    alice.set_credits(0)
    message = {key: value for key, value in paid().items() if key != "credits"}
    for _ in range(2):
        told(**message, plan="pro")
    assert (role(alice), alice.wallet.available) == (Role.SUBSCRIBER, 500 * CREDIT)
    told(**{**message, "id": "pay_2"}, plan="pro")
    first, second = Subscription.objects.order_by("period_end")
    assert first.period_end is not None and second.period_end is not None
    assert second.period_end - first.period_end > timedelta(days=27)
    told(**refunded("pay_2"))
    assert (role(alice), alice.wallet.available) == (Role.SUBSCRIBER, 500 * CREDIT)
    told(**refunded("pay_1"))
    assert (role(alice), alice.wallet.available) == (Role.USER, 0)


def test_a_subscription_is_followed(pro: Plan, alice: Actor) -> None:
    ends = (timezone.now() + timedelta(days=20)).replace(microsecond=0)
    message = {"type": "subscription.updated", "id": "sub_1", "email": "alice@example.com", "plan": "pro"}
    for _ in range(3):
        told(**message, period_end=ends.isoformat())
    mine = alice.get("/api/v1/subscription").json()
    assert (mine["status"], mine["source"], role(alice)) == ("active", "shop", Role.SUBSCRIBER)
    assert LedgerEntry.objects.filter(reference__startswith="subscription:").count() == 1
    told(**message, period_end=ends.isoformat(), status="cancelled")
    assert (alice.get("/api/v1/subscription").json()["status"], role(alice)) == ("cancelled", Role.USER)
    assert follow_time() == 0


@pytest.mark.parametrize("first", ["payment", "subscription"])
def test_a_period_of_a_subscription_that_is_told_in_both_ways_is_given_once(
    pro: Plan, alice: Actor, first: str
) -> None:
    alice.set_credits(0)
    ends = (timezone.now() + timedelta(days=20)).replace(microsecond=0).isoformat()
    payment = {
        key: value for key, value in paid(plan="pro", subscription="sub_1", period_end=ends).items() if key != "credits"
    }
    messages = [
        payment,
        {
            "type": "subscription.updated",
            "id": "sub_1",
            "email": "alice@example.com",
            "plan": "pro",
            "period_end": ends,
        },
    ]
    for message in messages if first == "payment" else messages[::-1]:
        told(**message)
    assert (alice.wallet.available, role(alice), Subscription.objects.count()) == (500 * CREDIT, Role.SUBSCRIBER, 1)
    told(**refunded())
    assert (alice.wallet.available, role(alice)) == (0, Role.SUBSCRIBER)  # the shop says when its subscription ends


def test_the_admin_shows_payments_with_their_entries_and_what_is_owed(ada: Actor, alice: Actor) -> None:
    told(**paid())
    alice.set_credits(40)
    told(**refunded())
    console = Client()
    console.force_login(ada.user)
    page = console.get("/admin/payments/payment/?owed=yes").content.decode()
    assert "pay_1" in page
    assert "60" in page
    row = Payment.objects.get()
    assert "reversal of -40 credits" in console.get(f"/admin/payments/payment/{row.pk}/change/").content.decode()


# --- A storm ----------------------------------------------------------------------------------------------------------


def test_a_switch_in_the_middle_of_a_period_gives_the_difference_once_to_whoever_it_began_with(
    alice: Actor, bob: Actor
) -> None:
    for slug, credits in (("small", 100), ("large", 500), ("huge", 900)):
        Plan.objects.create(slug=slug, name=slug, price=1, currency="EUR", credits=credits * CREDIT)
    ends = timezone.now().replace(microsecond=0) + timedelta(days=10)
    said = {"type": "subscription.updated", "id": "sub", "email": "alice@example.com", "period_end": ends.isoformat()}
    plans = ("small", "large", "large", "small", "large", "huge", "small", "large")
    for number, plan in enumerate(plans):
        at = (ends - timedelta(days=9, seconds=-number)).isoformat()
        assert send({**said, "plan": plan, "timestamp": at}).status_code == 200
    periods = LedgerEntry.objects.filter(reference__startswith="subscription:")
    assert [amount // CREDIT for amount in periods.values_list("amount", flat=True)] == [100, 400, 400]
    # Bob pays for Alice's next month: what it gives, and what its refund takes, is hers.
    after = (ends + timedelta(days=31)).isoformat()
    month: dict[str, Any] = {
        "credits": None,
        "plan": "large",
        "subscription": "sub",
        "period_end": after,
        "email": "bob@example.com",
    }
    body = {name: value for name, value in paid("pay_2", **month).items() if value is not None}
    assert send(body).status_code == 200
    before = bob.wallet.balance
    assert (periods.count(), send(refunded("pay_2")).status_code, bob.wallet.balance) == (4, 200, before)
    assert Payment.objects.get().organization == alice.organization
    assert movements(alice) == [-500]


def test_the_shop_of_the_documentation_runs(server: str, bob: Actor, pro: Plan) -> None:
    code = re.findall("```python\n(.*?)```", (ROOT / "docs/PAYMENTS.md").read_text(), re.DOTALL)[0]
    for written, used in (("whsec_…", SECRET), ("https://ai.example.com", server), ("(0, 5, 60, ", "(0,) or (")):
        assert written in code
        code = code.replace(written, used)
    before = bob.wallet.balance
    exec(code, {})
    assert (movements(bob), bob.wallet.balance - before) == ([500, -500], 500 * CREDIT)
    assert bob.get("/api/v1/subscription").json()["plan"] == "pro"


@pytest.mark.django_db(transaction=True)
def test_a_storm_of_shuffled_tripled_messages_at_once_is_exactly_once_in_the_ledger(
    actor: Callable[..., Actor],
) -> None:
    people = [actor(f"p{number}") for number in range(3)]
    for person in people:
        person.set_credits(0)
    pro = Plan.objects.create(slug="pro", name="Pro", price=1, currency="EUR", credits=500 * CREDIT)
    messages: list[dict[str, Any]] = []
    for number in range(12):
        email = people[number % 3].user.email
        messages.append(paid(f"pay_{number}", "10", email=email))
        if number >= 6:
            messages.append(refunded(f"pay_{number}", email=email))
    for months in (1, 2):
        ends = timezone.now().replace(microsecond=0) + timedelta(days=30 * months)
        messages.append({
            "type": "subscription.updated", "id": "sub", "email": people[0].user.email, "plan": pro.slug,
            "period_end": ends.isoformat(),
        })  # fmt: skip
    storm = messages * 3
    random.Random(7).shuffle(storm)

    def deliver(message: dict[str, Any]) -> int:
        try:
            return int(send(message).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(deliver, storm)) == {200}
    taken_and_owed = [row.taken_back + row.owed for row in Payment.objects.filter(refund_told__gt=0)]
    assert taken_and_owed == [10 * CREDIT] * 6
    granted = LedgerEntry.objects.filter(kind="GRANT", reference__startswith="payment:")
    assert sorted(granted.values_list("amount", flat=True)) == [10 * CREDIT] * 12
    assert LedgerEntry.objects.filter(reference__startswith="subscription:").count() == 2
    owed = sum(Payment.objects.values_list("owed", flat=True))
    assert sum(person.wallet.available for person in people) == (6 * 10 + 2 * 500) * CREDIT + owed
    assert list(problems()) == []
