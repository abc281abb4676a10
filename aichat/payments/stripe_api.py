"""What we ask of Stripe, by its official library: an organization's customer, Checkout, and the Customer Portal.

The library is an optional package (the extra `stripe`), so it is imported by what needs it. A sale's organization, credits
and plan stand in the metadata of Stripe's objects, which only our secret key can write.
"""

import logging
from contextlib import contextmanager
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError
from django.utils.translation import gettext

from accounts.models import Organization
from aichat.core.database import transactions
from aichat.core.errors import InvalidRequest
from aichat.core.money import CREDIT, credits_in_words
from aichat.payments.models import Plan, StripeCustomer, Subscription
from aichat.payments.payments import BillingUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import stripe

logger = logging.getLogger(__name__)
TIMEOUT_SECONDS = 20.0
MILLION = 1_000_000
# https://docs.stripe.com/currencies: how many of Stripe's units one unit of the currency has; all others have 100
WHOLE = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
THOUSANDTHS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
SMALLEST_CENTS, LARGEST_CENTS = 50, 99_999_999  # of a payment in US dollars


def client() -> "stripe.StripeClient":
    """A client of Stripe's API. Raises `BillingUnavailable` without `STRIPE_SECRET_KEY` or without the library."""
    if not settings.STRIPE_SECRET_KEY:
        raise BillingUnavailable(
            "Nothing is sold here: this server's operator sets STRIPE_SECRET_KEY to sell by Stripe."
        )
    try:
        import stripe  # optional
    except ImportError:
        raise BillingUnavailable("Nothing is sold here: the package stripe is not installed.") from None
    return stripe.StripeClient(settings.STRIPE_SECRET_KEY, http_client=http_client())


def http_client() -> Any:
    """How Stripe's library sends its requests."""
    import stripe  # optional

    return stripe.RequestsClient(timeout=TIMEOUT_SECONDS)


@contextmanager
def _asking() -> "Iterator[None]":
    """Turn Stripe's errors into ours: `BillingUnavailable`, with what Stripe said in the log."""
    import stripe  # optional

    try:
        yield
    except stripe.StripeError as error:
        logger.error("Stripe refused or did not answer: %s", error.user_message or type(error).__name__)
        raise BillingUnavailable(gettext("Stripe does not sell at the moment: try again shortly.")) from error


def units_in(currency: str) -> int:
    """How many of Stripe's units one unit of the currency has: 100 cents are a dollar."""
    code = currency.upper()
    return 1 if code in WHOLE else 1000 if code in THOUSANDTHS else 100


def to_units(amount: int, currency: str) -> int:
    """Millionths of a currency's unit in Stripe's units. Raises `ValueError` when the amount is not whole in those."""
    units, rest = divmod(amount * units_in(currency), MILLION)
    if rest:
        raise ValueError("the amount has more decimal places than the currency")
    return units


def from_units(units: int, currency: str) -> int:
    """Stripe's units in millionths of the currency's unit."""
    return units * MILLION // units_in(currency)


# --- Customers --------------------------------------------------------------------------------------------------------


def customer_of(organization: Organization, email: str) -> str:
    """Stripe's ID of the organization's customer, made at the first purchase; of two made at once one is used."""
    found = StripeCustomer.objects.filter(organization=organization).first()
    if found is None:
        with _asking():
            made = client().v1.customers.create(
                params={"email": email, "metadata": {"organization": str(organization.pk)}}
            )
        try:
            found = transactions.run_atomic(
                StripeCustomer.objects.create, organization=organization, external_id=made.id
            )
        except IntegrityError:  # somebody else's request was quicker
            found = StripeCustomer.objects.get(organization=organization)
    return found.external_id


def charge(charge_id: str) -> dict[str, Any]:
    """A charge as it is at Stripe now."""
    with _asking():
        return client().v1.charges.retrieve(charge_id).to_dict()


def invoice_with_payments(invoice_id: str) -> dict[str, Any]:
    """An invoice as it is at Stripe now, with its payments."""
    with _asking():
        return client().v1.invoices.retrieve(invoice_id, params={"expand": ["payments"]}).to_dict()


def events_since(seconds: int, types: list[str]) -> list[dict[str, Any]]:
    """The events of these types since a moment (in seconds since 1970), the oldest first."""
    with _asking():
        found = client().v1.events.list(params={"created": {"gte": seconds}, "types": types, "limit": 100})
        return [event.to_dict() for event in found.auto_paging_iter()][::-1]


# --- Pages at Stripe --------------------------------------------------------------------------------------------------


def sell_credits(organization: Organization, *, credits: int, email: str, back: str) -> str:
    """The address of a Checkout page for `credits` (microcredits). Raises `InvalidRequest` for too few or too many.

    They cost a US dollar for each CREDITS_PER_USD, rounded up to a cent.
    """
    if not settings.CREDITS_PER_USD:
        raise BillingUnavailable("Credits have no price here: CREDITS_PER_USD is 0.")
    exact = Decimal(credits) * 100 / CREDIT / settings.CREDITS_PER_USD
    cents = int(exact.to_integral_value(rounding=ROUND_CEILING))
    if not SMALLEST_CENTS <= cents <= LARGEST_CENTS:
        least, most = (settings.CREDITS_PER_USD * limit / 100 for limit in (SMALLEST_CENTS, LARGEST_CENTS))
        text = gettext("Buy from %(least)s to %(most)s credits at once.")
        limits = {"least": f"{least.normalize():f}", "most": f"{most.normalize():f}"}
        raise InvalidRequest(text % limits, param="credits")
    metadata = {"organization": str(organization.pk), "credits": str(credits)}
    product = {"name": credits_in_words(credits)}
    line = {"quantity": 1, "price_data": {"currency": "usd", "unit_amount": cents, "product_data": product}}
    return _checkout(organization, email, back, mode="payment", line=line, metadata=metadata)


def sell_plan(organization: Organization, plan: Plan, *, email: str, back: str) -> str:
    """The address of a Checkout page for a subscription to the plan.

    Raises `InvalidRequest` when the organization has a subscription at Stripe already, or the plan has no price for it.
    """
    running = Subscription.objects.filter(organization=organization, source=Subscription.Source.STRIPE, is_live=True)
    if running.exists():
        raise InvalidRequest(
            gettext("There is a subscription already: change it by POST /api/v1/billing/portal."), param="plan"
        )
    try:
        price = to_units(plan.price, plan.currency)
    except ValueError as error:
        text = gettext("This plan can't be sold by Stripe: %(reason)s.")
        raise InvalidRequest(text % {"reason": error}, param="plan") from None
    # By `price` a later switch to a price of no plan is noticed.
    metadata = {"organization": str(organization.pk), "plan": plan.slug, "price": plan.stripe_price or str(price)}
    line: dict[str, Any] = {"quantity": 1}
    if plan.stripe_price:
        line["price"] = plan.stripe_price
    else:
        line["price_data"] = {
            "currency": plan.currency.lower(),
            "unit_amount": price,
            "product_data": {"name": plan.name},
            "recurring": {"interval": plan.interval},
        }
    return _checkout(organization, email, back, mode="subscription", line=line, metadata=metadata)


def _checkout(
    organization: Organization, email: str, back: str, *, mode: str, line: dict[str, Any], metadata: dict[str, str]
) -> str:
    customer = customer_of(organization, email)
    part = "payment_intent_data" if mode == "payment" else "subscription_data"
    params: Any = {
        "mode": mode,
        "customer": customer,
        "client_reference_id": str(organization.pk),
        "line_items": [line],
        "metadata": metadata,
        part: {"metadata": metadata},
        "success_url": f"{back}?checkout=done",
        "cancel_url": f"{back}?checkout=cancelled",
    }
    with _asking():
        session = client().v1.checkout.sessions.create(params=params)
    if not session.url:
        raise BillingUnavailable(gettext("Stripe made no page: try again shortly."))
    return session.url


def portal(organization: Organization, *, back: str) -> str:
    """The address of the organization's Customer Portal. Raises `InvalidRequest` before its first purchase."""
    asked = client()
    found = StripeCustomer.objects.filter(organization=organization).first()
    if found is None:
        raise InvalidRequest(gettext("Nothing was bought by Stripe yet: begin with POST /api/v1/billing/checkout."))
    with _asking():
        return asked.v1.billing_portal.sessions.create(params={"customer": found.external_id, "return_url": back}).url
