"""A stand-in for Stripe: the events that it sends, signed as it signs them, and the answers to what we ask. No network."""

import json
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import stripe
from django.test import Client

from accounts.models import User
from aichat.core.money import CREDIT
from credits.models import LedgerEntry
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


def disputed(kind: str, status: str, amount: int = 100, name: str = "dp_1") -> Event:
    found = {"id": name, "object": "dispute", "charge": "ch_pi_1", "amount": amount, "status": status}
    return event(f"charge.dispute.{kind}", found)


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
