"""Random grants, charges, refunds and expiries leave the lots that a plain model in memory has."""

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from aichat.core.database import clock
from aichat.core.money import CREDIT
from aichat.payments import subscriptions
from aichat.payments.models import Plan
from aichat.payments.subscriptions import Told
from credits.lots import catch_up, expire_credits
from credits.models import LedgerEntry
from credits.services import refund
from credits.verify import problems
from tests.conftest import Actor
from tests.credits.conftest import give, left, spend


@dataclass
class PlainLots:
    """Lots in memory, credit by credit: a lot is (end, is bought, number), and each credit names its lot."""

    credits: list[tuple[float, bool, int]] = field(default_factory=list)
    charges: dict[Any, list[tuple[float, bool, int]]] = field(default_factory=dict)
    given: dict[tuple[float, bool, int], int] = field(default_factory=dict)

    def give(self, number: int, count: int, end: float, bought: bool) -> None:
        self.given[end, bought, number] = count
        self.credits += [(end, bought, number)] * count

    def take(self, count: int) -> list[tuple[float, bool, int]]:
        self.credits.sort()
        taken, self.credits = self.credits[:count], self.credits[count:]
        return taken

    def refund(self, charge: Any, count: int, now: float) -> int:
        """Gives back; returns how many go to a lot of their own, because the end of theirs is over."""
        over = 0
        for _ in range(count):
            credit = max((one for one in self.charges[charge] if one[0] < NEVER), default=None)
            if credit is not None:
                self.charges[charge].remove(credit)
            else:
                lasting = [lot for lot, given in self.given.items() if lot[0] == NEVER]
                credit = max(lot for lot in lasting if self.credits.count(lot) < self.given[lot])
                self.charges[charge].pop()
            if credit[0] <= now:
                over += 1
            else:
                self.credits.append(credit)
        return over

    def left(self) -> list[int]:
        return [self.credits.count(lot) for lot in sorted(self.given) if lot in self.credits]


NEVER = float("inf")


PERIOD, GRACE = 3, 2  # days


@pytest.mark.parametrize("seed", range(6))
def test_random_lots_are_those_of_a_plain_model(
    poor: Actor, seed: int, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Random grants, charges, refunds, expiries, and periods of a subscription whose credits roll over."""
    settings.SUBSCRIPTION_GRACE_DAYS = GRACE
    began, day = timezone.now().replace(microsecond=0), 0.0
    for its, name in ((timezone, "now"), (clock, "shared_now")):
        monkeypatch.setattr(its, name, lambda: began + timedelta(days=day))
    chance, plain, charges = random.Random(seed), PlainLots(), list[LedgerEntry]()
    plan = Plan.objects.create(
        slug="pro", name="Pro", price=1, currency="EUR", credits=6 * CREDIT, credits_expire=True, rollover=4 * CREDIT
    )
    series: list[tuple[float, bool, int]] = []  # the lots of the subscription
    period_ends = 0.0

    def sequence() -> int:
        return poor.wallet.sequence

    def expire() -> None:
        expire_credits()
        plain.credits = [one for one in plain.credits if one[0] > day]

    def next_period() -> None:
        """A period that begins at once, or with the end of the one before; what is left of that goes on, 4 at most."""
        nonlocal period_ends
        expire()
        ends = began + timedelta(days=day + PERIOD)
        subscriptions.record(
            poor.organization,
            Told(source="shop", external_id="S", plan=plan, period_start=timezone.now(), period_end=ends),
        )
        period_ends = day + PERIOD
        new = (period_ends + GRACE, False, sequence())
        plain.give(new[2], 6, new[0], False)
        expire()
        over = [one for one in plain.credits if one in series]
        plain.credits = [one for one in plain.credits if one not in series]
        series[:] = [new]
        if over:
            rolled = (new[0], False, sequence())
            plain.give(rolled[2], min(len(over), 4), rolled[0], False)
            series.append(rolled)

    for _ in range(40):
        count = chance.randint(1, 9)
        match chance.choice(("give", "give", "spend", "spend", "spend", "refund", "expire", "catch up", "period")):
            case "give":
                end, bought = chance.choice((NEVER, day + chance.randint(1, 6) + 0.5)), chance.random() < 0.3
                days = None if end == NEVER else end - day
                give(poor, count, days=days, reference=f"payment:{sequence()}" if bought else "")
                plain.give(sequence(), count, end, bought)
            case "spend" if len(plain.credits) >= count:
                charge = spend(poor, count)
                charges.append(charge)
                plain.charges[charge.pk] = plain.take(count)
            case "refund" if charges:
                charge = chance.choice(charges)
                count = min(count, len(plain.charges[charge.pk]))
                if not count:
                    continue
                refund(charge, count * CREDIT, reason="Test")
                if over := plain.refund(charge.pk, count, day):
                    plain.give(sequence(), over, NEVER, False)
            case "expire":
                day += 1
                expire()
            case "period" if day >= period_ends:
                next_period()
            case "catch up":
                catch_up(poor.organization.pk)
            case _:
                pass
        assert [count for _, count in left(poor)] == plain.left()
    catch_up(poor.organization.pk)
    assert list(problems()) == []
