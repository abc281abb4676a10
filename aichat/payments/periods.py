"""What a period of a subscription gives: the plan's credits, once, or the part of them that belongs to a part of a period.

The ledger's entry of a period is `subscription:<id>:<its start>`. That of a switch to a larger plan in its middle is
`subscription:<id>:<moment>:switch`, or `subscription:<id>:payment:<payment>`. Amounts are in microcredits.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aichat.payments.models import Plan, Subscription, add_months
from credits.lots import set_expiry
from credits.models import LedgerEntry
from credits.services import Credit, apply

MICROSECOND = timedelta(microseconds=1)
SHORT_MONTH = timedelta(days=3)  # a seller's month may have 28 days


@dataclass(frozen=True, slots=True)
class Period:
    """A time for which a plan is paid."""

    plan: Plan
    starts: datetime
    ends: datetime

    @property
    def credits(self) -> int:
        """What it gives by itself: all of the plan's credits, or their part when it is short and the plan prorates."""
        return self.part() if self.plan.prorate else self.plan.credits

    def part(self) -> int:
        """The part of the plan's credits that belongs to this time, rounded down; all of them for a whole period."""
        whole = add_months(self.starts, self.plan.months)
        if self.ends >= whole - SHORT_MONTH:
            return self.plan.credits
        lasts = max(self.ends - self.starts, timedelta())
        return self.plan.credits * (lasts // MICROSECOND) // ((whole - self.starts) // MICROSECOND)

    def since(self, moment: datetime) -> "Period":
        """What of it is left at the moment."""
        return Period(self.plan, min(max(moment, self.starts), self.ends), self.ends)


def difference(old: Period, new: Period) -> int:
    """What a switch from the one to the other gives, or takes when it is below 0; both begin with the switch.

    As the new plan says: the difference of both for the time that is left, or of whole periods.
    """
    return new.part() - old.part() if new.plan.prorate else new.plan.credits - old.plan.credits


def grant_period(row: Subscription, period: Period, before: Period | None = None) -> None:
    """Grant the credits of one period of the subscription, once however often this is called.

    A prorated one that cuts a period of another plan short (`before`) gives that much less as was given for the rest.
    """
    amount = period.credits
    if before and period.plan.prorate and before.starts < period.starts < before.ends:
        amount -= before.since(period.starts).part()
    _grant(row, period, amount, stamp(period.starts))


def grant_switch(row: Subscription, period: Period, amount: int, name: str) -> None:
    """Grant what a switch of plans gives for a period, once by its name, which is unique in the subscription."""
    _grant(row, period, amount, name)


def given_in(row: Subscription, period: Period) -> int:
    """What the subscription was given for the period so far."""
    begins = reference_of(row, stamp(period.starts))
    entries = LedgerEntry.objects.filter(
        wallet_id=row.organization_id,
        kind=LedgerEntry.Kind.GRANT,
        reference__startswith=reference_of(row, ""),
    )
    return sum(amount for reference, amount in entries.values_list("reference", "amount") if reference >= begins)


def stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def reference_of(row: Subscription, rest: str) -> str:
    return f"subscription:{row.pk}:{rest}"


def _grant(row: Subscription, period: Period, amount: int, rest: str) -> None:
    if amount <= 0:
        return
    reference = reference_of(row, rest)
    if period.plan.credits_expire:
        set_expiry(row.organization_id, reference, period.ends)
    operation = Credit(
        wallet_id=row.organization_id,
        amount=amount,
        reference=reference,
        reason=f"{period.plan.name}, from {period.starts:%Y-%m-%d}"[:200],
    )
    apply([operation])[0].or_raise()
