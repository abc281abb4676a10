"""The verbs of the ledger for the rest of the product. Every movement of credits is an operation given to `apply`.

`apply` takes a list of operations and returns one result for each, in order. One request is a list of one, and a list of
many requests needs hardly more statements. A refused operation (not enough credits) fails alone.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError

from accounts.models import Organization, User
from aichat.core.database import clock, transactions
from aichat.core.database.models import uuid7
from aichat.core.money import to_microcredits
from aichat.core.telemetry import product_events
from credits import engines
from credits.ledger import Kind, State, apply, move_new, open_wallet, reserve_new
from credits.lots import set_expiry
from credits.models import Hold, HoldRef, LedgerEntry, Wallet
from credits.operations import (
    Credit,
    InsufficientCreditsError,
    Operation,
    OperationResult,
    ReferenceTaken,
    Refund,
    RefundTooLarge,
    Release,
    Reserve,
    Settle,
    Unaffordable,
    UnknownHold,
)

logger = logging.getLogger(__name__)

__all__ = [
    "Credit",
    "InsufficientCreditsError",
    "Kind",
    "Operation",
    "OperationResult",
    "ReferenceTaken",
    "Refund",
    "RefundTooLarge",
    "Release",
    "Reserve",
    "Settle",
    "State",
    "Unaffordable",
    "UnknownHold",
    "adjust",
    "apply",
    "available_to",
    "expire_holds",
    "grant",
    "hold_expiry",
    "is_low",
    "move_new",
    "notice_if_low",
    "refund",
    "renew_holds",
    "reserve_new",
    "wallet_of",
]


def wallet_of(organization: Organization) -> Wallet:
    """The organization's wallet; the first call for an organization opens its wallet."""
    try:
        return Wallet.objects.filter(pk=organization.pk).first() or transactions.run_atomic(
            open_wallet, organization.pk
        )
    except IntegrityError:  # a concurrent first touch opened it
        return Wallet.objects.get(pk=organization.pk)


def available_to(organizations: Iterable[Organization]) -> dict[UUID, int]:
    """Free microcredits by organization ID. An organization without a wallet gets one."""
    wanted = {organization.pk: organization for organization in organizations}
    if not wanted:
        return {}
    found = engines.current().available(list(wanted))
    for pk in wanted.keys() - found.keys():
        found[pk] = wallet_of(wanted[pk]).available
    return found


def grant(
    organization: Organization,
    amount: int,
    *,
    reason: str,
    actor: User | None = None,
    reference: str = "",
    expires_at: datetime | None = None,
) -> OperationResult:
    """Add `amount` microcredits, above 0. A second call with the same `reference` adds nothing and returns the first entry.

    What is left of them at `expires_at` is taken off.
    """
    if amount <= 0:
        raise ValueError("A grant is more than 0 credits.")
    wallet_of(organization)
    operation = Credit(
        wallet_id=organization.pk,
        amount=amount,
        reference=reference or f"grant:{uuid7()}",
        actor_id=actor.pk if actor else None,
        reason=reason,
    )
    if expires_at is None:
        return apply([operation])[0].or_raise()
    return transactions.run_repeatable(_grant_until, operation, expires_at)


def _grant_until(operation: Credit, expires_at: datetime) -> OperationResult:
    set_expiry(operation.wallet_id, operation.reference, expires_at)
    return apply([operation])[0].or_raise()


def adjust(
    organization: Organization, amount: int, *, reason: str, actor: User, reference: str = ""
) -> OperationResult:
    """Correct a balance by `amount` microcredits, which may be negative. Raises `InsufficientCreditsError`."""
    wallet_of(organization)
    operation = Credit(
        wallet_id=organization.pk,
        amount=amount,
        reference=reference or f"adjustment:{uuid7()}",
        kind=Kind.ADJUSTMENT,
        actor_id=actor.pk,
        reason=reason,
    )
    return apply([operation])[0].or_raise()


def refund(
    charge: LedgerEntry, amount: int, *, reason: str, actor: User | None = None, reference: str = ""
) -> OperationResult:
    """Give `amount` microcredits of a charge back. Raises `RefundTooLarge` when its refunds would exceed the charge."""
    if charge.kind != Kind.CHARGE:
        raise ValueError("Only a charge can be refunded.")
    operation = Refund(
        charge=charge.charge_ref,
        amount=amount,
        reference=reference or f"refund:{uuid7()}",
        actor_id=actor.pk if actor else None,
        reason=reason,
    )
    return apply([operation])[0].or_raise()


def expire_holds(now: datetime | None = None, *, batch: int = 500) -> int:
    """Release every open hold whose time has run out, because its process died; return how many were released.

    Any number of processes may run this at any time.
    """
    clock.keep_compared()
    moment = now or clock.shared_now()
    overdue = Hold.objects.filter(state=State.OPEN, expires_at__lte=moment).order_by("expires_at", "id")
    released = 0
    failed: set[UUID] = set()
    while holds := list(overdue.exclude(id__in=failed)[:batch]):
        results = apply([Release(hold=hold.ref, if_expired_at=moment) for hold in holds])
        released += sum(not result.repeated and not result.error for result in results)
        for hold, result in zip(holds, results, strict=True):
            if result.error:
                failed.add(hold.id)
                logger.error("hold %s can't be released: %s", hold.id, result.error)
    return released


def is_low(available: int) -> bool:
    """Whether `available` microcredits are so few that a person should be told."""
    return available < _in_microcredits(settings.LOW_CREDITS)


_in_microcredits = cache(to_microcredits)  # of a setting: few amounts, asked for with every charge


def notice_if_low(result: OperationResult, user_id: UUID) -> None:
    """Emit `CreditsLow` when this charge took the balance below LOW_CREDITS. Call it after the commit."""
    entry = result.entry
    if entry and not result.repeated and is_low(entry.balance_after) and not is_low(entry.balance_after - entry.amount):
        product_events.emit(
            product_events.CreditsLow(user=user_id, organization=entry.wallet_id, balance=entry.balance_after)
        )


def hold_expiry() -> datetime:
    """The moment at which a hold made now expires: HOLD_TTL seconds from now."""
    return clock.shared_now() + timedelta(seconds=settings.HOLD_TTL)


def renew_holds(holds: Iterable[HoldRef]) -> int:
    """Give open holds a full HOLD_TTL again (a queued job waits longer than a request); return how many were open."""
    ids = [hold.id for hold in holds]
    return Hold.objects.filter(id__in=ids, state=State.OPEN).update(expires_at=hold_expiry())
