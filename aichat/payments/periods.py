"""What a period of a subscription gives: the plan's credits, once, or the part of them that belongs to a part of a period.

The ledger's entry of a period is `subscription:<id>:<its start>`. That of a switch to a larger plan in its middle is
`subscription:<id>:<moment>:switch`, or with the end of its payment's ID instead of "switch". Amounts are in microcredits.

Where a plan's credits roll over, what is left of a period waits for the next one as long as a subscription does
(SUBSCRIPTION_GRACE_DAYS), and goes on into it, up to what the next one's plan says.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings

from aichat.core.money import LARGEST
from aichat.payments.models import Plan, Subscription, add_months
from credits import lots
from credits.models import LedgerEntry
from credits.services import Credit, apply

MICROSECOND = timedelta(microseconds=1)
LAST = "~"  # sorts after all references
SHORT_MONTH = timedelta(days=3)  # a seller's month may have 28 days


@dataclass(frozen=True, slots=True)
class Period:
    """A time for which a plan is paid."""

    plan: Plan
    starts: datetime
    ends: datetime

    @property
    def credits(self) -> int:
        """The microcredits of the period: all of the plan's, or their part when the period is short and the plan prorates."""
        return self.part() if self.plan.prorate else self.plan.credits

    def part(self) -> int:
        """The part of the plan's credits that belongs to this time, rounded down; all of them for a whole period."""
        whole = add_months(self.starts, self.plan.months)
        if self.ends >= whole - SHORT_MONTH:
            return self.plan.credits
        lasts = max(self.ends - self.starts, timedelta())
        return self.plan.credits * (lasts // MICROSECOND) // ((whole - self.starts) // MICROSECOND)

    def since(self, moment: datetime) -> "Period":
        """The part of the period that is left at the moment."""
        return Period(self.plan, min(max(moment, self.starts), self.ends), self.ends)


def difference(old: Period, new: Period) -> int:
    """The microcredits that a switch from `old` to `new` gives; below 0, that it takes. Both begin with the switch.

    The difference is that of the time that is left when the new plan prorates, else that of whole periods.
    """
    return new.part() - old.part() if new.plan.prorate else new.plan.credits - old.plan.credits


def grant_period(row: Subscription, period: Period, before: Period | None = None) -> None:
    """Grant the credits of one period of the subscription, once however often this is called.

    A prorated period that cuts one of another plan (`before`) short gives less: what was given for the rest of that one.
    """
    amount = period.credits
    if before and period.plan.prorate and before.starts < period.starts < before.ends:
        amount -= before.since(period.starts).part()
    reference = reference_of(row, stamp(period.starts))
    _grant(row, period, amount, reference)
    _roll_over(row, period, reference)


def grant_switch(row: Subscription, period: Period, amount: int, moment: datetime, name: str = "switch") -> None:
    """Grant what a switch of plans at a moment gives for the period, once by moment and name; nothing below 0."""
    if amount > 0:
        _grant(row, period, amount, f"{reference_of(row, stamp(moment))}:{name}")


def _roll_over(row: Subscription, period: Period, reference: str) -> None:
    """Have what is left of each period go on in the next one, in whatever order the seller tells of them."""
    waiting = lots.waiting_to_roll(row.organization_id, reference_of(row, ""))
    earlier = [each.pk for each in waiting if each.reference < reference < (each.rolls_into or LAST)]
    lots.roll(earlier, reference, period.starts, _most(period.plan))
    own = [each.pk for each in waiting if each.reference == reference and not each.rolls_into]
    later = [each for each, _ in _grants(row) if each > reference and len(each) == len(reference)] if own else []
    if later:
        starts = datetime.fromisoformat(min(later).partition(":")[2].partition(":")[2])
        lots.roll(own, min(later), starts, _most(period.plan))


def given_in(row: Subscription, period: Period) -> int:
    """What the subscription was given for the period so far."""
    begins = reference_of(row, stamp(period.starts))
    return sum(amount for reference, amount in _grants(row) if reference >= begins and lots.ROLLED not in reference)


def granted(row: Subscription, period: Period) -> int:
    """The microcredits that the period's own grant gave: less than `period.credits` when it cut another one short."""
    return next(
        (amount for reference, amount in _grants(row) if reference == reference_of(row, stamp(period.starts))), 0
    )


def _grants(row: Subscription) -> list[tuple[str, int]]:
    """The references and amounts of all grants of the subscription."""
    entries = LedgerEntry.objects.filter(
        wallet_id=row.organization_id, kind=LedgerEntry.Kind.GRANT, reference__startswith=reference_of(row, "")
    )
    return list(entries.values_list("reference", "amount"))


def stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def reference_of(row: Subscription, rest: str) -> str:
    return f"subscription:{row.pk}:{rest}"


def _most(plan: Plan) -> int:
    """How much of earlier periods goes on in one of the plan; all, where credits don't expire."""
    return (plan.rollover or 0) if plan.credits_expire else LARGEST


def _grant(row: Subscription, period: Period, amount: int, reference: str) -> None:
    if period.plan.credits_expire:
        rolls = bool(period.plan.rollover)
        grace = timedelta(days=settings.SUBSCRIPTION_GRACE_DAYS) if rolls else timedelta()
        lots.set_expiry(row.organization_id, reference, period.ends + grace, rolls=rolls)
    if amount <= 0:
        return
    operation = Credit(
        wallet_id=row.organization_id,
        amount=amount,
        reference=reference,
        reason=f"{period.plan.name}, from {period.starts:%Y-%m-%d}"[:200],
    )
    apply([operation])[0].or_raise()
