"""What Stripe's events mean here. Each is safe in any order and any number of times, and committed when `take` returns.

A purchase of credits is fulfilled by its Checkout session, a period of a subscription by its paid invoice; both are one
`Payment`, named by the payment intent, which refunds and disputes name as well. Objects that are not ours (another product
of the same Stripe account, another installation) are passed over.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.models import Organization
from aichat.core.errors import ApiError
from aichat.payments import payments, stripe_api, subscriptions
from aichat.payments.models import Payment, Plan, StripeCustomer, Subscription

logger = logging.getLogger(__name__)
SOURCE = Payment.Source.STRIPE
Status = Subscription.Status
SWEPT = timedelta(days=3)  # as long as Stripe itself sends an event again
PERIODS = {"subscription_create", "subscription_cycle"}  # reasons of an invoice that pays a whole period
# https://docs.stripe.com/billing/subscriptions/overview#subscription-statuses; `incomplete` ones never began.
STATUSES = {
    "active": Status.ACTIVE,
    "trialing": Status.ACTIVE,
    "past_due": Status.PAST_DUE,
    "unpaid": Status.PAST_DUE,
    "paused": Status.PAST_DUE,
    "canceled": Status.CANCELLED,
}


def take(event: dict[str, Any]) -> None:
    """Do what an event says; one of an unknown type says nothing."""
    handler = HANDLERS.get(str(event.get("type")))
    if handler is not None:
        handler(event["data"]["object"], datetime.fromtimestamp(event["created"], UTC))


def sync(now: datetime | None = None) -> int:
    """Take the events of the last three days once more, for webhooks that were lost; return how many there were.

    Does nothing without `STRIPE_SECRET_KEY`. Raises the last error when some could not be taken, after all others were.
    """
    if not settings.STRIPE_SECRET_KEY:
        return 0
    since = (now or timezone.now()) - SWEPT
    events = stripe_api.events_since(int(since.timestamp()), sorted(HANDLERS))
    failed: ApiError | None = None
    for event in events:
        try:
            take(event)
        except ApiError as error:
            failed = error
            logger.error("an event of Stripe can't be taken: %s", error.message, extra={"event": event.get("id")})
    if failed is not None:
        raise failed
    return len(events)


def _checkout(session: dict[str, Any], at: datetime) -> None:
    """A Checkout page is done: fulfil the purchase of credits when it is paid. Subscriptions are fulfilled by invoices."""
    metadata = session.get("metadata") or {}
    organization = _organization(metadata)
    credits, paid_by = _number(metadata.get("credits")), _id(session.get("payment_intent"))
    if session.get("mode") != "payment" or session.get("payment_status") != "paid":
        return
    if organization is None or credits is None or not paid_by:
        return
    currency = str(session.get("currency") or "")
    paid = payments.Paid(
        source=SOURCE,
        external_id=paid_by,
        credits=credits,
        amount=stripe_api.from_units(int(session.get("amount_total") or 0), currency),
        currency=currency.upper()[:3],
    )
    payments.succeed(organization, paid)


def _invoice(invoice: dict[str, Any], at: datetime) -> None:
    """An invoice is paid: give the period of the subscription that it is for."""
    subscription, metadata = _subscription_of(invoice)
    organization, plan = _organization(metadata), _plan(metadata)
    line = _period_line(invoice)
    if organization is None or plan is None or line is None or invoice.get("billing_reason") not in PERIODS:
        return
    currency = str(invoice.get("currency") or "")
    paid = payments.Paid(
        source=SOURCE,
        external_id=_paid_by(invoice),
        plan=plan,
        subscription=subscription,
        period_start=datetime.fromtimestamp(line["period"]["start"], UTC),
        period_end=datetime.fromtimestamp(line["period"]["end"], UTC),
        told_at=at,
        amount=stripe_api.from_units(int(invoice.get("amount_paid") or 0), currency),
        currency=currency.upper()[:3],
    )
    payments.succeed(organization, paid)


def _subscription(found: dict[str, Any], at: datetime) -> None:
    """A subscription changed: follow its state. What its periods give comes with their paid invoices."""
    metadata = found.get("metadata") or {}
    organization, plan, status = _organization(metadata), _plan(metadata), STATUSES.get(str(found.get("status")))
    # Since 2025 the period stands on the items of a subscription.
    item: dict[str, Any] = next(iter((found.get("items") or {}).get("data") or []), {})
    starts, ends = (found.get(name) or item.get(name) for name in ("current_period_start", "current_period_end"))
    if organization is None or plan is None or status is None or not starts or not ends:
        return
    is_ending = bool(found.get("cancel_at_period_end")) or bool(found.get("cancel_at"))
    told = subscriptions.Told(
        source=SOURCE,
        external_id=str(found["id"])[:255],
        plan=plan,
        period_start=datetime.fromtimestamp(starts, UTC),
        period_end=datetime.fromtimestamp(ends, UTC),
        status=status,
        cancel_at_period_end=is_ending,
        told_at=at,
        part="state",
    )
    subscriptions.record(organization, told)


def _charge(charge: dict[str, Any], at: datetime) -> None:
    """A charge was given back, as a whole or in part."""
    _take_back(charge, int(charge.get("amount_refunded") or 0))


def _dispute(dispute: dict[str, Any], at: datetime) -> None:
    """The payer's bank takes the money of a charge back."""
    charge = stripe_api.charge(_id(dispute.get("charge")))
    _take_back(charge, int(charge.get("amount_refunded") or 0) + int(dispute.get("amount") or 0))


def _take_back(charge: dict[str, Any], part: int) -> None:
    paid_by, whole = _id(charge.get("payment_intent")), int(charge.get("amount") or 0)
    is_ours = StripeCustomer.objects.filter(external_id=_id(charge.get("customer"))).exists()
    if is_ours and paid_by and whole and part:
        payments.refund_part(SOURCE, paid_by, part, whole)


HANDLERS: dict[str, Callable[[dict[str, Any], datetime], None]] = {
    "checkout.session.completed": _checkout,
    "checkout.session.async_payment_succeeded": _checkout,
    "invoice.paid": _invoice,
    "customer.subscription.created": _subscription,
    "customer.subscription.updated": _subscription,
    "customer.subscription.deleted": _subscription,
    "charge.refunded": _charge,
    "charge.dispute.created": _dispute,
}


# --- Parts of Stripe's objects ----------------------------------------------------------------------------------------


def _id(value: Any) -> str:
    """The ID of an object that Stripe names by its ID or writes out."""
    return str((value.get("id") if isinstance(value, dict) else value) or "")[:255]


def _number(text: Any) -> int | None:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 19 else None


def _organization(metadata: dict[str, Any]) -> Organization | None:
    try:
        return Organization.objects.filter(pk=str(metadata.get("organization"))).first()
    except (ValidationError, ValueError):  # not our ID
        return None


def _plan(metadata: dict[str, Any]) -> Plan | None:
    return Plan.objects.filter(slug=str(metadata.get("plan") or "")[:50]).first()


def _subscription_of(invoice: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The subscription that an invoice is for, and its metadata. Since 2025 both stand under `parent`."""
    details = (invoice.get("parent") or {}).get("subscription_details") or invoice.get("subscription_details") or {}
    return _id(details.get("subscription") or invoice.get("subscription")), details.get("metadata") or {}


def _period_line(invoice: dict[str, Any]) -> dict[str, Any] | None:
    """The line of an invoice that is for a whole period."""
    for line in (invoice.get("lines") or {}).get("data") or []:
        details = (line.get("parent") or {}).get("subscription_item_details") or {}
        if not (line.get("proration") or details.get("proration")):
            found: dict[str, Any] = line
            return found
    return None


def _paid_by(invoice: dict[str, Any]) -> str:
    """The payment intent that paid an invoice, looked up where the event does not say it; else the invoice itself."""
    if invoice.get("payment_intent"):  # before 2025
        return _id(invoice["payment_intent"])
    if not invoice.get("payments") and invoice.get("amount_paid"):
        invoice = stripe_api.invoice_with_payments(_id(invoice))
    for row in (invoice.get("payments") or {}).get("data") or []:
        if row.get("status") == "paid" and (row.get("payment") or {}).get("payment_intent"):
            return _id(row["payment"]["payment_intent"])
    return _id(invoice)
