"""Alerts: an organization is told once when its balance gets low, when the month's spending passes shares of a budget, when
an hour's is far above the usual, and when a payment of its subscription failed.

A periodic task compares, so that no request does anything for it. What was told stands on the settings' row, which is locked
and written in the transaction that makes the messages: two processes tell once, and a killed one loses nothing.
"""

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.db.models import F, Sum
from django.db.models.functions import TruncHour
from django.utils import timezone

from accounts.models import Organization
from aichat.core.database import transactions
from aichat.core.database.batches import rows_by_key
from aichat.core.money import format_credits, to_microcredits
from aichat.payments import operator_alerts
from aichat.payments.models import AlertMessage, AlertSettings, Subscription
from credits.models import LedgerEntry, Wallet
from credits.services import wallet_of

logger = logging.getLogger(__name__)
Kind, Channel = AlertMessage.Kind, AlertMessage.Channel
AT_ONCE = 500  # settings read at a time
MOST_MAILS_A_DAY = 100  # of one organization: alerts are no way to write to strangers
WEEK, HOURS = timedelta(days=7), 7 * 24  # that an hour's spending is compared with
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
    for batch in rows_by_key(AlertSettings.objects.all(), AT_ONCE):
        owners = [row.organization_id for row in batch]
        wallets = dict(Wallet.objects.filter(pk__in=owners).values_list("pk", "sequence"))
        for row in batch:
            moved = row.sequence != wallets.get(row.organization_id, row.sequence) or row.month != month
            if moved and row.channels:
                made += _tried(look, row.organization_id, month)
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
    facts = [*_low_balance(row, wallet.balance), *_budget(row), *_hour(row, timezone.now())]
    row.save(update_fields=["is_low", "month", "spent", "told_percents", "hours", "told_hour", "sequence"])
    return _tell(row, facts)


def _tell(row: AlertSettings, facts: list[tuple[str, dict[str, Any]]]) -> int:
    messages = [
        AlertMessage(organization_id=row.organization_id, kind=kind, facts=said, channel=channel, address=address)
        for kind, said in facts
        for channel, address in _allowed(row)
    ]
    AlertMessage.objects.bulk_create(messages)
    return len(messages)


def payment_failed(row: Subscription) -> None:
    """Tell the organization and the operator that a subscription's renewal was not paid, in the caller's transaction."""
    facts = {"plan": row.plan.name if row.plan else "", "period_end": row.period_end and f"{row.period_end:%Y-%m-%d}"}
    found = AlertSettings.objects.filter(organization_id=row.organization_id).first()
    if found:
        _tell(found, [(Kind.PAYMENT_FAILED, facts)])
    operator_alerts.tell(Kind.PAYMENT_FAILED, {**facts, "organization": str(row.organization_id)})


def _count(row: AlertSettings, month: date, sequence: int) -> None:
    """Bring `spent` up to the entry `sequence`: what was charged in the month, less what was refunded."""
    if row.month != month:
        row.month, row.told_percents, row.sequence = month, [], -1
    if row.sequence < 0:  # a new month, or the settings changed: what was told is kept, the sums are made anew
        row.spent = 0
        row.hours = {name: spent for name, spent in row.hours.items() if name < f"{month:%Y-%m-%d}"}
    entries = LedgerEntry.objects.filter(
        wallet_id=row.organization_id,
        kind__in=SPENDING,
        sequence__gt=row.sequence,
        sequence__lte=sequence,
        created_at__gte=datetime.combine(month, time(), UTC),
    ).annotate(hour=TruncHour("created_at", tzinfo=UTC))
    for hour, moved in entries.values_list("hour").annotate(moved=Sum("amount")):
        row.spent -= moved
        name = hour_name(hour)
        row.hours[name] = row.hours.get(name, 0) - moved
    row.sequence = sequence


def hour_name(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H}"


def _hour(row: AlertSettings, now: datetime) -> list[tuple[str, dict[str, Any]]]:
    """The running hour's spending, when it is far above the usual of the last week and was not told."""
    this = hour_name(now)
    row.hours = {name: spent for name, spent in row.hours.items() if name > hour_name(now - WEEK)}
    spent, usual = row.hours.get(this, 0), sum(each for name, each in row.hours.items() if name != this) // HOURS
    if row.told_hour == this or not is_far_above(spent, usual):
        return []
    row.told_hour = this
    return [(Kind.SPENDING, spending_facts(this, spent, usual))]


def is_far_above(spent: int, usual: int) -> bool:
    """Whether an hour's spending is far above the usual, both in microcredits.

    It is, above ALERT_SPENDING_FACTOR times the usual and above a US dollar's worth of credits.
    """
    factor, least = settings.ALERT_SPENDING_FACTOR, to_microcredits(settings.CREDITS_PER_USD)
    return bool(factor) and usual > 0 and spent > max(factor * usual, least)


def spending_facts(hour: str, spent: int, usual: int) -> dict[str, Any]:
    return {"hour": f"{hour}:00Z", "spent": format_credits(spent), "usual": format_credits(usual)}


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
