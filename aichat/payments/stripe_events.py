"""What Stripe's events mean here. They may come in any order and number; what one does is committed when `take` returns.

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
from aichat.payments.payments import Switch
from aichat.payments.periods import Period, difference

logger = logging.getLogger(__name__)
SOURCE = Payment.Source.STRIPE
Status = Subscription.Status
SWEPT = timedelta(days=3)  # as long as Stripe itself sends an event again
PERIODS = {"subscription_create", "subscription_cycle"}  # reasons of an invoice that pays a whole period
SWITCH = "subscription_update"  # the reason of one for a switch of plans
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
    """Do what an event says. An event of an unknown type changes nothing."""
    handler = HANDLERS.get(str(event.get("type")))
    if handler is not None:
        handler(event["data"]["object"], datetime.fromtimestamp(event["created"], UTC))


def sync(now: datetime | None = None) -> int:
    """Take the events of the last three days once more, for webhooks that were lost; return how many there were.

    Does nothing without `STRIPE_SECRET_KEY`. An event that can't be taken holds up no other: it is logged, and the last such
    error is raised at the end.
    """
    if not settings.STRIPE_SECRET_KEY:
        return 0
    since = (now or timezone.now()) - SWEPT
    events = stripe_api.events_since(int(since.timestamp()), sorted(HANDLERS))
    failed: Exception | None = None
    for event in events:
        try:
            take(event)
        except ApiError as error:
            failed = error
            logger.error("an event of Stripe can't be taken: %s", error.message, extra={"event": event.get("id")})
        except Exception as error:  # such as an object that lacks a part, or a wallet that `verify_ledger` calls broken
            failed = error
            logger.exception("an event of Stripe can't be taken", extra={"event": event.get("id")})
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
    organization = _organization(metadata)
    if organization is None or not subscription or invoice.get("billing_reason") not in PERIODS | {SWITCH}:
        return
    lines = (invoice.get("lines") or {}).get("data") or []
    whole = next((_period(line, metadata) for line in lines if not _is_proration(line)), None)
    switch = _switch_of([line for line in lines if _is_proration(line)], metadata)
    period = whole or (switch.rest if switch else None)
    if period is None:
        return
    currency = str(invoice.get("currency") or "")
    paid = payments.Paid(
        source=SOURCE,
        external_id=_paid_by(invoice),
        plan=period.plan,
        subscription=subscription,
        period_start=period.starts,
        period_end=period.ends,
        is_period=whole is not None,
        switch=switch,
        told_at=at,
        amount=stripe_api.from_units(int(invoice.get("amount_paid") or 0), currency),
        currency=currency.upper()[:3],
    )
    payments.succeed(organization, paid)


def _switch_of(lines: list[dict[str, Any]], metadata: dict[str, Any]) -> Switch | None:
    """The switch of plans in an invoice's prorated lines: money back for the rest of the old plan, money for the new one."""
    old = next((_period(line, metadata) for line in lines if int(line.get("amount") or 0) < 0), None)
    new = next((_period(line, metadata) for line in reversed(lines) if int(line.get("amount") or 0) >= 0), None)
    return Switch(new, difference(old, new)) if old and new and old.plan != new.plan else None


def _period(line: dict[str, Any], metadata: dict[str, Any]) -> Period | None:
    """The time and the plan that a line of an invoice is for."""
    plan, found = _plan(metadata, line), line.get("period") or {}
    if plan is None or not found:
        return None
    return Period(plan, datetime.fromtimestamp(found["start"], UTC), datetime.fromtimestamp(found["end"], UTC))


def _subscription(found: dict[str, Any], at: datetime) -> None:
    """A subscription changed: follow its state. What its periods give comes with their paid invoices."""
    metadata = found.get("metadata") or {}
    # Since 2025 the period stands on the items of a subscription.
    item: dict[str, Any] = next(iter((found.get("items") or {}).get("data") or []), {})
    organization, plan = _organization(metadata), _plan(metadata, item)
    status = STATUSES.get(str(found.get("status")))
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
    paid_by, whole = _our_payment(charge)
    part = int(charge.get("amount_refunded") or 0)
    if paid_by and part:
        payments.refund_part(SOURCE, paid_by, part, whole)


def _dispute(dispute: dict[str, Any], at: datetime) -> None:
    """The payer's bank takes the money of a charge back, or the dispute was won and the money is here again."""
    status = str(dispute.get("status") or "")
    if status.startswith("warning_") or not dispute.get("id"):  # a bank only asks: no money was moved
        return
    charge = stripe_api.charge(_id(dispute.get("charge")))
    paid_by, whole = _our_payment(charge)
    part = int(dispute.get("amount") or 0)
    if paid_by and part:
        payments.dispute(SOURCE, paid_by, _id(dispute), part, whole, is_won=status == "won")


def _our_payment(charge: dict[str, Any]) -> tuple[str, int]:
    """The payment of a charge, and the charge's amount in the currency's units; nothing for one that is not ours."""
    whole = int(charge.get("amount") or 0)
    is_ours = whole and StripeCustomer.objects.filter(external_id=_id(charge.get("customer"))).exists()
    return (_id(charge.get("payment_intent")), whole) if is_ours else ("", 0)


HANDLERS: dict[str, Callable[[dict[str, Any], datetime], None]] = {
    "checkout.session.completed": _checkout,
    "checkout.session.async_payment_succeeded": _checkout,
    "invoice.paid": _invoice,
    "customer.subscription.created": _subscription,
    "customer.subscription.updated": _subscription,
    "customer.subscription.deleted": _subscription,
    "charge.refunded": _charge,
    "charge.dispute.created": _dispute,
    "charge.dispute.funds_withdrawn": _dispute,
    "charge.dispute.closed": _dispute,
    "charge.dispute.funds_reinstated": _dispute,
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


def _plan(metadata: dict[str, Any], sold: dict[str, Any]) -> Plan | None:
    """The plan whose price a subscription's item or an invoice's line (`sold`) has, else the one that was sold at Checkout.

    A price that is neither a plan's nor the one of the Checkout gives nothing: somebody could switch to a cheap one.
    """
    price = sold.get("price") or {}
    price_id = _id(price) or _id(((sold.get("pricing") or {}).get("price_details") or {}).get("price"))
    found = Plan.objects.filter(stripe_price=price_id).order_by("slug").first() if price_id else None
    if found:
        return found
    pays = (sold.get("pricing") or price).get("unit_amount_decimal")
    if (price_id or pays is not None) and metadata.get("price") not in {None, price_id, str(pays)}:
        logger.error("a subscription at Stripe has a price of no plan", extra={"price": price_id})
        return None
    return Plan.objects.filter(slug=str(metadata.get("plan") or "")[:50]).first()


def _subscription_of(invoice: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The subscription that an invoice is for, and its metadata. Since 2025 both stand under `parent`."""
    details = (invoice.get("parent") or {}).get("subscription_details") or invoice.get("subscription_details") or {}
    return _id(details.get("subscription") or invoice.get("subscription")), details.get("metadata") or {}


def _is_proration(line: dict[str, Any]) -> bool:
    details = (line.get("parent") or {}).get("subscription_item_details") or {}
    return bool(line.get("proration") or details.get("proration"))


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
