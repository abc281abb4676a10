"""Stripe: its signed events, in any order and number, and the pages that we ask it for. Nothing here uses the network."""

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from accounts.models import Role, User
from aichat.core.database import transactions
from aichat.core.database.transactions import OutcomeUnknown
from aichat.core.money import CREDIT
from aichat.payments import stripe_api, stripe_events
from aichat.payments.models import Payment, Plan, StripeCustomer, Subscription
from credits.models import LedgerEntry
from credits.verify import problems
from tests.conftest import Actor

SECRET = "whsec_a-secret-of-stripe"
HOOK = "/webhooks/stripe"
START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
Event = dict[str, Any]


class FakeStripe(stripe.HTTPClient):
    """Answers the library's requests with what it was given, and remembers them."""

    name = "fake"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, dict[str, list[str]]]] = []
        self.answers: dict[str, dict[str, Any]] = {
            "/v1/customers": {"id": "cus_1", "object": "customer"},
            "/v1/checkout/sessions": {"id": "cs_1", "object": "checkout.session", "url": "https://stripe.test/pay"},
            "/v1/billing_portal/sessions": {
                "id": "bps_1",
                "object": "billing_portal.session",
                "url": "https://stripe.test/me",
            },
        }

    def request(
        self, method: str, url: str, headers: Any, post_data: Any = None, *, _usage: list[str] | None = None
    ) -> tuple[str, int, Any]:
        path = urlsplit(url).path
        self.asked.append((method, path, parse_qs(post_data or urlsplit(url).query)))
        if path not in self.answers:
            return json.dumps({"error": {"message": "no such thing", "type": "invalid_request_error"}}), 404, {}
        return json.dumps(self.answers[path]), 200, {}


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


def event(kind: str, found: dict[str, Any], at: datetime = START) -> Event:
    return {
        "id": f"evt_{random.getrandbits(40)}", "object": "event", "type": kind, "created": int(at.timestamp()),
        "data": {"object": found},
    }  # fmt: skip


def bought(actor: Actor, payment: str = "pi_1", credits: int = 1000, **facts: Any) -> Event:
    metadata = {"organization": str(actor.organization.pk), "credits": str(credits * CREDIT)}
    session = {
        "id": f"cs_{payment}", "object": "checkout.session", "mode": "payment", "payment_status": "paid",
        "payment_intent": payment, "customer": "cus_1", "amount_total": 100, "currency": "usd", "metadata": metadata,
        **facts,
    }  # fmt: skip
    return event("checkout.session.completed", session)


def refunded(payment: str = "pi_1", amount: int = 100, of: int = 100, customer: str = "cus_1") -> Event:
    charge = {"id": f"ch_{payment}", "object": "charge", "amount": of, "amount_refunded": amount}
    return event("charge.refunded", {**charge, "payment_intent": payment, "customer": customer})


def invoice(actor: Actor, month: int = 0, *, old: bool = False, **facts: Any) -> Event:
    """A paid invoice for a month of the subscription, as Stripe writes it now or (`old`) before 2025."""
    starts = START + timedelta(days=30 * month)
    details = {"metadata": {"organization": str(actor.organization.pk), "plan": "pro"}}
    period = {"start": int(starts.timestamp()), "end": int((starts + timedelta(days=30)).timestamp())}
    paid = {"status": "paid", "payment": {"type": "payment_intent", "payment_intent": f"pi_month_{month}"}}
    now = {
        "parent": {"subscription_details": {"subscription": "sub_1", **details}},
        "payments": {"object": "list", "data": [paid]},
    }
    before = {"subscription": "sub_1", "subscription_details": details, "payment_intent": f"pi_month_{month}"}
    found = {
        "id": f"in_{month}", "object": "invoice", "amount_paid": 999, "currency": "eur", "customer": "cus_1",
        "billing_reason": "subscription_cycle" if month else "subscription_create",
        "lines": {"object": "list", "data": [{"period": period}]}, **(before if old else now), **facts,
    }  # fmt: skip
    return event("invoice.paid", found, starts)


def subscription(actor: Actor, month: int = 0, kind: str = "updated", after: int = 0, **facts: Any) -> Event:
    starts = START + timedelta(days=30 * month)
    item = {
        "current_period_start": int(starts.timestamp()),
        "current_period_end": int((starts + timedelta(days=30)).timestamp()),
    }
    found = {
        "id": "sub_1", "object": "subscription", "status": "active", "cancel_at_period_end": False,
        "items": {"object": "list", "data": [item]}, "customer": "cus_1",
        "metadata": {"organization": str(actor.organization.pk), "plan": "pro"}, **facts,
    }  # fmt: skip
    return event(f"customer.subscription.{kind}", found, starts + timedelta(seconds=after))


def send(said: Event, secret: str = SECRET, age: int = 0) -> Any:
    body = json.dumps(said)
    header = stripe.WebhookSignature.generate_signature_header(body, secret, int(time.time()) - age)
    return Client().post(HOOK, body, content_type="application/json", headers={"Stripe-Signature": header})


def told(*events: Event) -> None:
    for said in events:
        answer = send(said)
        assert (answer.status_code, answer.json()) == (200, {"received": True}), answer.content


def movements(actor: Actor) -> list[int]:
    entries = LedgerEntry.objects.filter(wallet_id=actor.organization.pk).exclude(kind__in=["STARTER", "ADJUSTMENT"])
    return [amount // CREDIT for amount in entries.order_by("sequence").values_list("amount", flat=True)]


def role(actor: Actor) -> str:
    return User.objects.get(pk=actor.user.pk).role


# --- Who is believed --------------------------------------------------------------------------------------------------


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


# --- Credits ----------------------------------------------------------------------------------------------------------


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


def disputed(kind: str, status: str, amount: int = 100, name: str = "dp_1") -> Event:
    found = {"id": name, "object": "dispute", "charge": "ch_pi_1", "amount": amount, "status": status}
    return event(f"charge.dispute.{kind}", found)


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


# --- Subscriptions ----------------------------------------------------------------------------------------------------


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


@pytest.fixture
def team_plan(pro: Plan) -> Plan:
    """A larger plan; both have a price at Stripe, so that people can switch there."""
    Plan.objects.update(stripe_price="price_pro", prorate=True)
    return Plan.objects.create(
        slug="team", name="Team", price=29_990_000, currency="EUR", credits=1500 * CREDIT, stripe_price="price_team",
        prorate=True,
    )  # fmt: skip


def switched(actor: Actor, old: str, new: str, day: int, number: int, paid: int, whole: int = 0) -> Event:
    """The invoice of a switch after so many days of a month of 30; with `whole` that of the next month, which has it."""
    at, ends = START + timedelta(days=day), START + timedelta(days=30)
    rest = {"start": int(at.timestamp()), "end": int(ends.timestamp())}
    proration = {"parent": {"subscription_item_details": {"proration": True}}, "period": rest}
    lines = [
        {**proration, "amount": -100, "pricing": {"price_details": {"price": f"price_{old}"}}},
        {**proration, "amount": 300, "pricing": {"price_details": {"price": f"price_{new}"}}},
    ]
    if whole:
        after = {"start": rest["end"], "end": int((ends + timedelta(days=30)).timestamp())}
        lines.append({"amount": 999, "period": after, "pricing": {"price_details": {"price": f"price_{new}"}}})
    found = invoice(actor)["data"]["object"]
    why = {"billing_reason": "subscription_cycle" if whole else "subscription_update", "amount_paid": paid}
    payments = {"object": "list", "data": []}
    said = {**found, "id": f"in_switch_{number}", **why, "lines": {"data": lines}, "payments": payments}
    return event("invoice.paid", said, at)


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


# --- Lost, doubled, shuffled ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_storm_of_shuffled_tripled_events_at_once_is_exactly_once_in_the_ledger(
    customer: Actor, fake: FakeStripe
) -> None:
    pro = Plan.objects.create(slug="pro", name="Pro", price=1, currency="EUR", credits=500 * CREDIT)
    events = [bought(customer, f"pi_{number}", 10) for number in range(8)]
    events += [refunded(f"pi_{number}") for number in range(4)]
    events += [subscription(customer, month) for month in range(2)] + [invoice(customer, month) for month in range(2)]
    storm = events * 3
    random.Random(7).shuffle(storm)

    def deliver(said: Event) -> int:
        try:
            return int(send(said).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(deliver, storm)) == {200}
    owed = sum(Payment.objects.values_list("owed", flat=True))
    assert sum(movements(customer)) * CREDIT == 8 * 10 * CREDIT + 2 * pro.credits - 4 * 10 * CREDIT + owed
    assert list(problems()) == []


class Killed(BaseException):
    """The process died."""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["before", "after", "unknown"])
def test_a_process_killed_at_any_commit_leaves_what_the_next_delivery_completes_once(
    customer: Actor, fake: FakeStripe, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    Plan.objects.create(slug="pro", name="Pro", price=1, currency="EUR", credits=500 * CREDIT, stripe_price="price_pro")
    Plan.objects.create(slug="team", name="T", price=2, currency="EUR", credits=900 * CREDIT, stripe_price="price_team")
    fake.answers["/v1/charges/ch_pi_1"] = refunded(amount=0)["data"]["object"]
    attempt, commits, dies_at = transactions._attempt, 0, -1

    def dying(work: Any) -> Any:
        nonlocal commits
        commits += 1
        if commits - 1 != dies_at:
            return attempt(work)
        if end == "before":
            return attempt(lambda: kill(work()))
        return kill(attempt(work))

    def kill(done: Any) -> Any:
        raise OutcomeUnknown("lost") if end == "unknown" else Killed

    monkeypatch.setattr(transactions, "_attempt", dying)
    story = [
        bought(customer), refunded(amount=25), disputed("created", "needs_response", 50), disputed("closed", "won", 50),
        subscription(customer, kind="created"), invoice(customer), switched(customer, "pro", "team", 15, 1, 0),
        subscription(customer, after=9, items={"data": [{
            "price": {"id": "price_team"}, **subscription(customer)["data"]["object"]["items"]["data"][0],
        }]}), switched(customer, "team", "pro", 20, 2, 0), invoice(customer, 1),
        subscription(customer, 1, kind="deleted", after=60, status="canceled"),
    ]  # fmt: skip
    deaths = 0
    for said in story:
        for dies_at in range(9):
            commits = 0
            with suppress(Killed):
                assert send(said).status_code == 200
            if commits <= dies_at:
                break
            deaths += 1
    assert deaths >= len(story)
    dies_at = -1
    told(*story)
    assert movements(customer) == [1000, -250, -500, 500, 500, 400, -400, 500]
    assert (role(customer), Payment.objects.exclude(owed=0).count()) == (Role.USER, 0)
    assert list(problems()) == []


def test_what_a_lost_webhook_left_is_swept_up(customer: Actor, fake: FakeStripe, pro: Plan) -> None:
    events = [invoice(customer), bought(customer)]
    fake.answers["/v1/events"] = {"object": "list", "data": events, "has_more": False, "url": "/v1/events"}
    for _ in range(2):
        call_command("sync_payments")
    assert sorted(movements(customer)) == [500, 1000]
    (_, _, query), *_ = fake.asked
    assert int(query["created[gte]"][0]) < time.time() - 2 * 86_400


def test_an_event_that_can_not_be_read_holds_up_no_other(customer: Actor, fake: FakeStripe) -> None:
    newest_first = [bought(customer), bought(customer, "pi_2", amount_total="many")]
    fake.answers["/v1/events"] = {"object": "list", "data": newest_first, "has_more": False, "url": "/v1/events"}
    with pytest.raises(ValueError, match="many"):
        stripe_events.sync()
    assert movements(customer) == [1000]


def test_the_sweep_without_a_key_says_so(db: None, settings: Any) -> None:
    settings.STRIPE_SECRET_KEY = ""
    with pytest.raises(CommandError, match="STRIPE_SECRET_KEY"):
        call_command("sync_payments")


# --- Pages at Stripe --------------------------------------------------------------------------------------------------


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
