"""Payments: money that a seller received, and gave back. Each verb is one transaction; any order and number gives the same.

The payment's row is made or found first, and written, so that a second message about the same payment waits for the first
on every engine. Its credits are the ledger's entry `payment:<id>`; what a refund or a dispute takes is
`payment:<id>:refund:<total>`, what a won dispute gives back `payment:<id>:restored:<total>`.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError
from django.db.models import F
from django.utils import timezone

from accounts import tenancy
from accounts.models import Organization
from aichat.core.database import transactions
from aichat.core.errors import ApiError
from aichat.core.money import LARGEST
from aichat.payments import periods, subscriptions
from aichat.payments.models import Payment, Plan, Subscription, add_months
from aichat.payments.periods import Period
from aichat.payments.subscriptions import Told
from credits.models import Wallet
from credits.services import Credit, InsufficientCreditsError, Kind, apply, wallet_of

TRIES = 10  # to take what is available while it is being spent


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch of plans in the middle of a period. `amount` (microcredits) is below 0 for one to a smaller plan."""

    rest: Period
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """A payment as its seller tells it: for `credits` (microcredits), or for one period of a `plan`."""

    source: str
    external_id: str
    credits: int = 0
    plan: Plan | None = None
    period_end: datetime | None = None
    period_start: datetime | None = None
    subscription: str = ""  # the seller's ID of the subscription whose period was paid, with `period_end`
    told_at: datetime | None = None
    amount: int = 0
    currency: str = ""
    switch: Switch | None = None
    is_period: bool = True  # whether a whole period of the plan was paid, not only a switch


def succeed(organization: Organization, paid: Paid) -> None:
    """Write a payment down and give what was paid for, once."""
    wallet_of(organization)
    transactions.run_repeatable(_succeed, organization.pk, paid)


def _succeed(organization_id: UUID, paid: Paid) -> None:
    row = _locked(paid.source, paid.external_id)
    if row.is_paid:
        return
    row.is_paid, row.organization_id, row.plan = True, organization_id, paid.plan
    row.amount, row.currency = paid.amount, paid.currency
    if paid.plan:
        _give_plan(organization_id, row, paid, paid.plan)
    elif paid.credits:
        row.credits = paid.credits
        _credit(row, paid.credits, f"payment:{row.pk}", f"Payment {paid.external_id}")
    row.save(
        update_fields=[
            "is_paid", "organization", "plan", "subscription", "amount", "currency", "credits", "switched_down"
        ]
    )  # fmt: skip
    _take_back(row)


def _credit(row: Payment, amount: int, reference: str, reason: str) -> None:
    assert row.organization_id is not None
    apply([Credit(wallet_id=row.organization_id, amount=amount, reference=reference, reason=reason[:200])])[
        0
    ].or_raise()


def _give_plan(organization_id: UUID, row: Payment, paid: Paid, plan: Plan) -> None:
    """Open the period that was paid, and do the switch of plans that its invoice has."""
    told = _told_of(organization_id, row, paid, plan)
    row.subscription = subscriptions.record_in_transaction(organization_id, told)
    row.organization_id = row.subscription.organization_id  # whoever paid: it stays with whom it began
    row.credits = periods.granted(row.subscription, told.period) if paid.is_period else 0
    if paid.switch and paid.switch.amount > 0:
        rest, name = paid.switch.rest, row.pk.hex[-24:]
        periods.grant_switch(row.subscription, rest, paid.switch.amount, rest.starts, name)
        row.credits += paid.switch.amount
    elif paid.switch:
        row.switched_down = -paid.switch.amount


def _told_of(organization_id: UUID, row: Payment, paid: Paid, plan: Plan) -> Told:
    """The period that was paid, as a seller tells it.

    Without the seller's subscription the payment makes one of its own, from now on, that cuts no running period short.
    """
    if paid.subscription and paid.period_end:
        return Told(
            source=paid.source,
            external_id=paid.subscription,
            plan=plan,
            period_end=paid.period_end,
            period_start=paid.period_start,
            told_at=paid.told_at,
            part="payment" if paid.is_period else "switch",
        )
    tenancy.lock(organization_id)
    now = timezone.now().replace(microsecond=0)
    running = Subscription.objects.filter(
        organization_id=organization_id, plan=plan, is_live=True, period_end__gt=now
    ).values_list("period_end", flat=True)
    return Told(
        source=paid.source,
        external_id=f"payment:{row.pk}",
        plan=plan,
        period_end=paid.period_end or add_months(max([now, *filter(None, running)]), plan.months),
        period_start=None if paid.period_end else now,
    )


class BillingUnavailable(ApiError):
    """503: the way to pay is not set up here; the message names the setting."""

    status, code = 503, "billing_unavailable"


class PaymentUnknown(ApiError):
    """409: a part of a payment was given back that is not known yet; the seller sends it again."""

    status, code = 409, "payment_unknown"
    message = "This payment is not known yet: send its refund again when the payment was told."


def refund_part(source: str, external_id: str, part: int, whole: int) -> None:
    """Take back credits of a payment, whose money was given back: `part` of `whole` in all, in units of its currency.

    Raises `PaymentUnknown` for a part of a payment that is not known yet.
    """
    transactions.run_repeatable(_refund_part, source, external_id, part, whole)


def _refund_part(source: str, external_id: str, part: int, whole: int) -> None:
    if part >= whole:
        _refund(source, external_id, LARGEST)
        return
    row = _locked(source, external_id)
    if not row.is_paid:
        raise PaymentUnknown()
    _refund(source, external_id, row.credits * part // whole)


def dispute(source: str, external_id: str, name: str, part: int, whole: int, *, is_won: bool) -> None:
    """Take back what `part` of `whole` gave while it is disputed or lost, and give it back once the dispute is won.

    `name` is the seller's ID of the dispute. Once it is won, later messages about it take nothing.
    """
    transactions.run_repeatable(_dispute, source, external_id, name, part, whole, is_won)


def _dispute(source: str, external_id: str, name: str, part: int, whole: int, is_won: bool) -> None:
    row = _locked(source, external_id)
    row.disputes[name] = [min(part, whole), whole, is_won or row.disputes.get(name, [0, 0, False])[2]]
    row.save(update_fields=["disputes"])
    _take_back(row)


def refund(source: str, external_id: str, credits: int | None) -> None:
    """Take back what a payment gave: `credits` microcredits in all, or everything with None.

    The balance never goes below zero: what was spent already is noted as owed. A refund that is told before its payment is
    kept, and done with the payment.
    """
    transactions.run_repeatable(_refund, source, external_id, LARGEST if credits is None else credits)


def _refund(source: str, external_id: str, credits: int) -> None:
    row = _locked(source, external_id)
    if credits > row.refund_told:
        row.refund_told = credits
        row.save(update_fields=["refund_told"])
    _take_back(row)


def _locked(source: str, external_id: str) -> Payment:
    """The payment's row, made unless it is there, and written, so that others wait for this transaction's end."""
    which = Payment.objects.filter(source=source, external_id=external_id)
    if not which.update(revision=F("revision") + 1):
        try:
            Payment.objects.create(source=source, external_id=external_id)
        except IntegrityError as error:  # another message about it was quicker: run again, and find it
            raise transactions.Conflict(str(error)) from error
    return which.get()


def _take_back(row: Payment) -> None:
    """Take from the wallet what was refunded and is neither taken nor owed yet. A plan's period ends with its refund."""
    if not row.is_paid or row.organization_id is None:
        return
    # The subscription that this payment made ends with its refund; a seller's own ends when the seller says so.
    own = row.subscription is not None and row.subscription.external_id == f"payment:{row.pk}"
    if own and row.subscription_id and row.refunded and row.refunded == row.credits:
        subscriptions.end_in_transaction(row.subscription_id, row.organization_id)
    due = row.refunded + row.switched_down - row.taken_back - row.owed
    if due > 0:
        taken = _take(row, due)
        row.taken_back, row.owed = row.taken_back + taken, row.owed + due - taken
    elif due < 0:
        _restore(row, -due)
    row.save(update_fields=["taken_back", "owed", "restored"])


def _restore(row: Payment, amount: int) -> None:
    """Give back what a dispute took that was won since; what is still owed of it is owed no more."""
    written_off = min(row.owed, amount)
    row.restored += amount
    row.owed, row.taken_back = row.owed - written_off, row.taken_back - (amount - written_off)
    if amount > written_off:
        reference = f"payment:{row.pk}:restored:{row.restored}"
        _credit(row, amount - written_off, reference, f"Dispute won, payment {row.external_id}")


def _take(row: Payment, due: int) -> int:
    """Take at most `due` microcredits, as many as are available; return how many. The wallet may be spending meanwhile."""
    assert row.organization_id is not None
    available = Wallet.objects.values_list("available", flat=True).get(pk=row.organization_id)
    for _ in range(TRIES):
        take = min(due, available)
        if take <= 0:
            return 0
        operation = Credit(
            wallet_id=row.organization_id,
            amount=-take,
            reference=f"payment:{row.pk}:refund:{row.refunded + row.switched_down + row.restored}",
            kind=Kind.REVERSAL,
            reason=f"Refund of payment {row.external_id}"[:200],
        )
        outcome = apply([operation])[0]
        if not isinstance(outcome.error, InsufficientCreditsError):
            outcome.or_raise()
            return take
        available = outcome.available
    raise transactions.Conflict("the wallet is being spent")
