"""Alerts: an organization is told once when its balance gets low, and when the month's spending passes shares of a budget.

A periodic task compares, so that no request does anything for it. What was told stands on the settings' row, which is locked
and written in the transaction that makes the messages: two processes tell once, and a killed one loses nothing.
"""

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import F, Sum
from django.utils import timezone

from accounts.models import Organization
from aichat.core.database import transactions
from aichat.core.money import format_credits
from aichat.payments.models import AlertMessage, AlertSettings
from credits.models import LedgerEntry, Wallet
from credits.services import wallet_of

logger = logging.getLogger(__name__)
Kind, Channel = AlertMessage.Kind, AlertMessage.Channel
AT_ONCE = 500  # settings read at a time
MOST_MAILS_A_DAY = 100  # of one organization: alerts are no way to write to strangers
SPENDING = (LedgerEntry.Kind.CHARGE, LedgerEntry.Kind.REFUND)


def settings_of(organization: Organization) -> AlertSettings:
    """The organization's alerts, as they were set or as they are by default; an unsaved row when none were set."""
    found = AlertSettings.objects.filter(organization=organization).first()
    return found or AlertSettings(organization=organization)


def set_alerts(organization: Organization, columns: dict[str, Any]) -> AlertSettings:
    """Set all of an organization's alerts. A threshold that changed is told again when it is crossed; others are not."""
    wallet_of(organization)
    return transactions.run_repeatable(_set, organization.pk, columns)


def _set(organization_id: UUID, columns: dict[str, Any]) -> AlertSettings:
    row = _locked(organization_id)
    if row is None:
        try:
            return AlertSettings.objects.create(organization_id=organization_id, **columns)
        except IntegrityError as error:  # somebody else made it at the same moment: run again, and find it
            raise transactions.Conflict(str(error)) from error
    if row.low_balance != columns["low_balance"]:
        row.is_low = False
    for name, value in columns.items():
        setattr(row, name, value)
    row.sequence = -1
    row.save(update_fields=[*columns, "is_low", "sequence"])
    return row


def _locked(organization_id: UUID) -> AlertSettings | None:
    """The organization's row, written, so that others wait for this transaction's end. None when there is none."""
    which = AlertSettings.objects.filter(organization_id=organization_id)
    return which.get() if which.update(revision=F("revision") + 1) else None


# --- Crossings --------------------------------------------------------------------------------------------------------


def check(now: datetime | None = None) -> int:
    """Look at every organization with alerts whose balance has moved; return how many messages were made.

    Any number of processes may run this at any time; one organization's failure holds up no other.
    """
    month = (now or timezone.now()).astimezone(UTC).date().replace(day=1)
    made = 0
    rows = AlertSettings.objects.order_by("pk")
    batch = list(rows[:AT_ONCE])
    while batch:
        owners = [row.organization_id for row in batch]
        wallets = dict(Wallet.objects.filter(pk__in=owners).values_list("pk", "sequence"))
        for row in batch:
            moved = row.sequence != wallets.get(row.organization_id, row.sequence) or row.month != month
            if moved and row.channels:
                made += _tried(look, row.organization_id, month)
        batch = list(rows.filter(pk__gt=batch[-1].pk)[:AT_ONCE])
    return made


def _tried(work: Callable[..., int], organization_id: UUID, month: date) -> int:
    try:
        return transactions.run_atomic(work, organization_id, month)
    except Exception:  # tried again by the next run
        logger.exception("alerts can't be checked", extra={"organization": str(organization_id)})
        return 0


def look(organization_id: UUID, month: date) -> int:
    """Compare an organization's balance and spending with what it wants to be told, and note what is told now."""
    row = _locked(organization_id)
    wallet = Wallet.objects.filter(pk=organization_id).first()
    if row is None or wallet is None:
        return 0
    _count(row, month, wallet.sequence)
    facts = [*_low_balance(row, wallet.balance), *_budget(row)]
    row.save(update_fields=["is_low", "month", "spent", "told_percents", "sequence"])
    messages = [
        AlertMessage(organization_id=organization_id, kind=kind, facts=said, channel=channel, address=address)
        for kind, said in facts
        for channel, address in _allowed(row)
    ]
    AlertMessage.objects.bulk_create(messages)
    return len(messages)


def _count(row: AlertSettings, month: date, sequence: int) -> None:
    """Bring `spent` up to the entry `sequence`: what was charged in the month, less what was refunded."""
    if row.month != month:
        row.month, row.spent, row.sequence, row.told_percents = month, 0, -1, []
    elif row.sequence < 0:  # the settings changed: what was told is kept, the sum is made anew
        row.spent = 0
    entries = LedgerEntry.objects.filter(
        wallet_id=row.organization_id,
        kind__in=SPENDING,
        sequence__gt=row.sequence,
        sequence__lte=sequence,
        created_at__gte=datetime.combine(month, time(), UTC),
    )
    row.spent -= entries.aggregate(moved=Sum("amount"))["moved"] or 0
    row.sequence = sequence


def _low_balance(row: AlertSettings, balance: int) -> list[tuple[str, dict[str, Any]]]:
    was_low, row.is_low = row.is_low, row.low_balance is not None and balance < row.low_balance
    if was_low or row.low_balance is None or not row.is_low:
        return []
    return [(Kind.LOW_BALANCE, {"balance": format_credits(balance), "low_balance": format_credits(row.low_balance)})]


def _budget(row: AlertSettings) -> list[tuple[str, dict[str, Any]]]:
    limit = row.monthly_budget
    if limit is None:
        limit = Organization.objects.values_list("spend_limit_month", flat=True).get(pk=row.organization_id)
    reached = [percent for percent in row.budget_percent if limit and 100 * row.spent >= percent * limit]
    told, row.told_percents = row.told_percents, reached
    return [
        (
            Kind.BUDGET,
            {
                "percent": percent,
                "spent": format_credits(row.spent),
                "budget": format_credits(limit or 0),
                "month": f"{row.month:%Y-%m}",
            },
        )
        for percent in reached
        if percent not in told
    ]


def _allowed(row: AlertSettings) -> list[tuple[str, str]]:
    """The organization's channels, without mail when it was sent so many today."""
    since = datetime.combine(timezone.now().date(), time(), UTC)
    mails = AlertMessage.objects.filter(
        organization_id=row.organization_id, created_at__gte=since, channel=Channel.EMAIL
    )
    if not row.email or mails.count() < MOST_MAILS_A_DAY:
        return row.channels
    logger.warning("an organization got its mails of today", extra={"organization": str(row.organization_id)})
    return [pair for pair in row.channels if pair[0] != Channel.EMAIL]
