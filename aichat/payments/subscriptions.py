"""Subscriptions: how they begin, change and end, and what follows: the credits of each period, and the person's role.

Sellers change them (`record`), administrators (`give`, `end`, `follow_hand`), and time (`follow_time`). Each of these verbs
is one transaction that locks the organization's row first, so two changes of the same organization wait for each other on
every engine. `periods.py` says what a period gives.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from django.db import IntegrityError
from django.utils import timezone

from accounts import tenancy
from accounts.models import Organization, Role, User
from accounts.services import change_user
from aichat.core.admin import audit_log
from aichat.core.database import clock, transactions
from aichat.core.database.models import uuid7
from aichat.core.errors import ApiError, InvalidRequest
from aichat.payments import alerts, periods
from aichat.payments.models import Plan, Subscription, add_months
from aichat.payments.periods import Period
from credits.services import wallet_of

logger = logging.getLogger(__name__)
Source, Status = Subscription.Source, Subscription.Status
MOST_AT_ONCE = 10_000  # subscriptions of one run
FOREVER = datetime.max.replace(tzinfo=UTC)
MOST_PERIODS_AT_ONCE = 120  # of one subscription, when nothing ran for years


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a seller says of a subscription. `told_at` is the seller's time of saying it, when the message has one."""

    source: str
    external_id: str
    plan: Plan
    period_end: datetime
    period_start: datetime | None = None
    status: str = Status.ACTIVE
    cancel_at_period_end: bool = False
    told_at: datetime | None = None
    # What the message is about. "payment": a period was paid; "state": everything but payments, so no credits are granted;
    # "switch": a switch of plans was paid, so the subscription exists. Else other messages say the rest.
    part: Literal["all", "payment", "state", "switch"] = "all"

    @property
    def period(self) -> Period:
        return Period(self.plan, self.starts, self.period_end)

    @property
    def starts(self) -> datetime:
        """When the period begins: unless the seller says it, an interval of the plan before its end.

        So messages give the same in any order.
        """
        return self.period_start or add_months(self.period_end, -self.plan.months)


def current(organization: Organization) -> Subscription | None:
    """The organization's live subscription, of several the one that ends last; else the one that ended last."""
    rows = Subscription.objects.select_related("plan").filter(organization=organization).order_by("-created_at")[:100]
    return max(rows, key=lambda row: (row.is_live, row.period_end or FOREVER), default=None)


def make_plan(*, actor: User, **columns: Any) -> Plan:
    """Make a plan, with an entry in the audit log. Raises `InvalidRequest` when its slug is taken."""
    try:
        return transactions.run_atomic(_make_plan, actor, columns)
    except IntegrityError:
        raise InvalidRequest("There is a plan of this name: choose another.", param="slug") from None


def _make_plan(actor: User, columns: dict[str, Any]) -> Plan:
    plan = Plan.objects.create(**columns)
    audit_log.record(actor, plan, audit_log.ADDED, {name: (None, value) for name, value in columns.items()})
    return plan


# --- What sellers say -------------------------------------------------------------------------------------------------


def record(organization: Organization, told: Told) -> Subscription:
    """Write down what a seller says, grant the period's credits and change the role.

    Messages may come in any order and any number of times: one that is older than the last one grants the credits of its
    period, and changes nothing else.
    """
    wallet_of(organization)
    return transactions.run_repeatable(record_in_transaction, organization.pk, told)


def record_in_transaction(organization_id: UUID, told: Told) -> Subscription:
    """The work of `record`, for a caller that has a transaction and has opened the wallet."""
    tenancy.lock(organization_id)
    row = Subscription.objects.filter(source=told.source, external_id=told.external_id).first()
    before: Period | None = None
    is_news = row is None
    if row is None:
        row, was = _insert(organization_id, told), ""
    else:
        organization_id = row.organization_id  # a subscription stays with whom it began
        tenancy.lock(organization_id)
        row.refresh_from_db()
        was = row.status
        before = Period(row.plan, row.period_start, row.period_end) if row.plan and row.period_end else None
        is_news = not _is_older(told, row)
        if told.part == "payment":
            _extend(row, told)
        elif told.part != "switch" and is_news:
            _write(row, told)
    if told.status == Status.ACTIVE and told.part in {"all", "payment"}:
        periods.grant_period(row, told.period, before)
        if before and told.part == "all" and is_news:
            _grant_switch(row, before, told)
    if row.status == Status.PAST_DUE != was:
        alerts.payment_failed(row)
    _end_lapsed(organization_id, clock.shared_now())
    follow_role(organization_id)
    row.refresh_from_db()
    return row


def _grant_switch(row: Subscription, before: Period, told: Told) -> None:
    """Grant what a larger plan gives for the rest of the same period.

    All grants of the period together are at most the larger plan's credits: who switches to and fro gains nothing.
    """
    if before.plan == told.plan or before.ends != told.period_end:
        return
    moment = told.told_at or timezone.now()
    amount = periods.difference(before.since(moment), told.period.since(moment))
    rest = told.plan.credits - periods.given_in(row, before)
    periods.grant_switch(row, told.period, min(amount, rest), moment)


def _insert(organization_id: UUID, told: Told) -> Subscription:
    try:
        return Subscription.objects.create(
            organization_id=organization_id,
            source=told.source,
            external_id=told.external_id,
            **{"period_start": told.starts, **_columns(told, told.starts)},
        )
    except IntegrityError as error:  # the same message at the same moment: the transaction runs again and finds the row
        raise transactions.Conflict(str(error)) from error


def _columns(told: Told, paid_until: datetime) -> dict[str, object]:
    """The columns that a message sets. The new period of a subscription past due is not paid: it ends at `paid_until`."""
    is_paid = told.status != Status.PAST_DUE
    return {
        "plan": told.plan,
        "status": told.status,
        "is_live": told.status != Status.CANCELLED,
        **({"period_start": told.starts, "period_end": told.period_end} if is_paid else {"period_end": paid_until}),
        "cancel_at_period_end": told.cancel_at_period_end,
        "told_at": told.told_at,
    }


def _is_older(told: Told, row: Subscription) -> bool:
    if told.told_at and row.told_at:
        # Of two messages of the same second, the one that ends the subscription is the later one.
        return (told.told_at, told.status == Status.CANCELLED) < (row.told_at, row.status == Status.CANCELLED)
    if row.period_end is None or told.period_end != row.period_end:
        return row.period_end is None or told.period_end < row.period_end
    return row.status == Status.CANCELLED  # neither has a time, and the period is the same: nothing comes after the end


def _extend(row: Subscription, told: Told) -> None:
    """Write down that a later period was paid. A subscription that was cancelled after the payment stays cancelled."""
    was_cancelled_since = row.status == Status.CANCELLED and row.told_at and told.told_at and told.told_at < row.told_at
    if was_cancelled_since or row.period_end is None or told.period_end <= row.period_end:
        return
    row.plan, row.status, row.is_live = told.plan, Status.ACTIVE, True
    row.period_start, row.period_end = told.starts, told.period_end
    row.save(update_fields=["plan", "status", "is_live", "period_start", "period_end"])


def _write(row: Subscription, told: Told) -> None:
    columns = _columns(told, min(row.period_end or told.period_end, told.period_end))
    if told.part == "state":
        columns = {name: value for name, value in columns.items() if name not in {"period_start", "period_end"}}
    for name, value in columns.items():
        setattr(row, name, value)
    row.save(update_fields=list(columns))


# --- What administrators do -------------------------------------------------------------------------------------------


def give(organization: Organization, plan: Plan, *, period_end: datetime | None, actor: User) -> Subscription:
    """Give the organization a manual subscription from now on; the manual one that it had before ends.

    The subscription gives its credits anew each interval, until its `period_end` or until somebody ends it.
    """
    wallet_of(organization)
    return transactions.run_atomic(_give, organization.pk, plan, period_end, actor)


def _give(organization_id: UUID, plan: Plan, period_end: datetime | None, actor: User) -> Subscription:
    tenancy.lock(organization_id)
    now = timezone.now().replace(microsecond=0)
    before = _given_period(organization_id, now)
    _end(organization_id, Source.MANUAL)
    row = _insert_manual(organization_id, plan, now, period_end)
    periods.grant_period(row, manual_period(row, plan), before)
    follow_role(organization_id)
    audit_log.record(actor, row, audit_log.ADDED, {"plan": (None, plan.slug), "period_end": (None, period_end)})
    return row


def _given_period(organization_id: UUID, now: datetime) -> Period | None:
    """The running period of the plan that an administrator gave before."""
    rows = Subscription.objects.filter(organization_id=organization_id, source=Source.MANUAL, is_live=True)
    row = rows.exclude(plan=None).select_related("plan").first()
    period = manual_period(row, row.plan) if row and row.plan else None
    return period if period and period.ends > now else None


def manual_period(row: Subscription, plan: Plan) -> Period:
    """The running period of a manual subscription: an interval of its plan, the last one up to its end."""
    ends = row.renews_at or add_months(row.period_start, plan.months)
    return Period(plan, row.period_start, min(ends, row.period_end or ends))


def _insert_manual(
    organization_id: UUID, plan: Plan | None, now: datetime, period_end: datetime | None
) -> Subscription:
    id_ = uuid7()
    renews_at = add_months(now, plan.months) if plan else None
    return Subscription.objects.create(
        id=id_,
        organization_id=organization_id,
        plan=plan,
        source=Source.MANUAL,
        external_id=str(id_),
        period_start=now,
        period_end=period_end,
        renews_at=renews_at if period_end is None or (renews_at and renews_at < period_end) else None,
        created_at=now,
    )


def end(row: Subscription, actor: User) -> None:
    """End a subscription now, as an administrator; the role follows, and credits stay."""
    transactions.run_atomic(_end_one, row.pk, row.organization_id, actor)


def _end_one(pk: UUID, organization_id: UUID, actor: User) -> None:
    tenancy.lock(organization_id)
    row = Subscription.objects.get(pk=pk)
    if row.is_live:
        _end_rows(pk=pk)
        follow_role(organization_id)
        audit_log.record(actor, row, audit_log.CHANGED, {"status": (row.status, Status.CANCELLED)})


def end_in_transaction(pk: UUID, organization_id: UUID) -> None:
    """End a subscription whose payment was given back; the role follows. The caller has a transaction."""
    tenancy.lock(organization_id)
    _end_rows(pk=pk)
    follow_role(organization_id)


def end_unpaid(row: Subscription) -> None:
    """End a manual subscription whose person has left for good; the role follows."""
    transactions.run_atomic(end_in_transaction, row.pk, row.organization_id)


def _end(organization_id: UUID, source: str) -> None:
    _end_rows(organization_id=organization_id, source=source)


def _end_rows(**which: object) -> None:
    Subscription.objects.filter(is_live=True, **which).update(is_live=False, status=Status.CANCELLED, renews_at=None)


def follow_hand(user: User) -> None:
    """Follow a role that somebody set by hand: SUBSCRIBER gets a manual subscription without end, USER ends those.

    What a seller sold is not ended by hand; its next message moves the role again. Runs in the change's transaction.
    """
    organization = tenancy.personal_organization(user)
    tenancy.lock(organization.pk)
    if user.role == Role.USER:
        _end(organization.pk, Source.MANUAL)
    elif user.role == Role.SUBSCRIBER and not _is_subscribed(organization.pk):
        _insert_manual(organization.pk, None, timezone.now().replace(microsecond=0), None)


# --- The role ---------------------------------------------------------------------------------------------------------


def follow_role(organization_id: UUID) -> None:
    """Make the person of a personal organization SUBSCRIBER or USER, as their subscriptions say. An ADMIN stays one.

    A team's subscription gives the team its credits, and moves nobody's role.
    """
    organization = Organization.objects.select_related("personal_to").get(pk=organization_id)
    user = organization.personal_to
    if user is None or user.role == Role.ADMIN:
        return
    role = Role.SUBSCRIBER if _is_subscribed(organization_id) else Role.USER
    if user.role != role:
        change_user(user, role=role)


def _is_subscribed(organization_id: UUID) -> bool:
    return Subscription.objects.filter(organization_id=organization_id, is_live=True).exists()


# --- What time does ---------------------------------------------------------------------------------------------------


def follow_time(now: datetime | None = None) -> int:
    """End what has lapsed, and begin the periods of what has no end; return how many subscriptions changed.

    Any number of processes may run this at any time; one organization's failure holds up no other.
    """
    clock.keep_compared()
    moment = now or clock.shared_now()
    lapsed = Subscription.objects.lapsed(moment)
    due = Subscription.objects.filter(is_live=True, renews_at__lte=moment)
    changed = 0
    for organization_id in {*lapsed.values_list("organization_id", flat=True)[:MOST_AT_ONCE]}:
        changed += _done(_lapse, organization_id, moment)
    for pk, organization_id in list(due.values_list("pk", "organization_id")[:MOST_AT_ONCE]):
        changed += _done(_renew, pk, organization_id, moment)
    return changed


def _done(work: Callable[..., int], *args: Any) -> int:
    """The result of one transaction of the periodic task. A failure is logged, and tried again by the next run."""
    facts = {"organization": str(args[-2])}
    try:
        return transactions.run_repeatable(work, *args)
    except ApiError as error:  # such as a wallet that can hold no more
        logger.error("a subscription can't be followed: %s", error.message, extra=facts)
    except Exception:  # such as a wallet that `verify_ledger` calls broken
        logger.exception("a subscription can't be followed", extra=facts)
    return 0


def _lapse(organization_id: UUID, now: datetime) -> int:
    tenancy.lock(organization_id)
    ended = _end_lapsed(organization_id, now)
    if ended:
        follow_role(organization_id)
    return ended


def _end_lapsed(organization_id: UUID, now: datetime) -> int:
    lapsed = Subscription.objects.lapsed(now).filter(organization_id=organization_id)
    ended: int = lapsed.update(is_live=False, status=Status.CANCELLED, renews_at=None)
    return ended


def _renew(pk: UUID, organization_id: UUID, now: datetime) -> int:
    """Begin the periods of a manual subscription that are due, each with its credits."""
    tenancy.lock(organization_id)
    row = Subscription.objects.select_related("plan").filter(pk=pk, is_live=True, renews_at__lte=now).first()
    if row is None or row.plan is None:
        return 0
    for _ in range(MOST_PERIODS_AT_ONCE):
        assert row.renews_at is not None
        row.period_start, row.renews_at = row.renews_at, _next_renewal(row, row.plan)
        periods.grant_period(row, manual_period(row, row.plan))
        if row.period_end and row.renews_at >= row.period_end:
            row.renews_at = None
        if row.renews_at is None or row.renews_at > now:
            break
    row.save(update_fields=["period_start", "renews_at"])
    return 1


def _next_renewal(row: Subscription, plan: Plan) -> datetime:
    """When the period after the one that is due begins, counted from the first day: the 31st is not lost in February."""
    assert row.renews_at is not None
    began, last = row.created_at, row.renews_at
    passed = (last.year - began.year) * 12 + last.month - began.month
    return add_months(began, passed + plan.months)
