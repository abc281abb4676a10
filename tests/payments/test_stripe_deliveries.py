"""Events of Stripe that are lost, doubled, shuffled, or cut short by the end of a process: each counts once."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import Role
from aichat.core.database import transactions
from aichat.core.database.transactions import OutcomeUnknown
from aichat.core.money import CREDIT
from aichat.payments import stripe_events
from aichat.payments.models import Payment, Plan
from credits.verify import problems
from tests.conftest import Actor
from tests.payments.stripe_stand_in import (
    Event,
    FakeStripe,
    bought,
    disputed,
    invoice,
    movements,
    refunded,
    role,
    send,
    subscription,
    switched,
    told,
)


@pytest.mark.django_db(transaction=True)
def test_a_storm_of_shuffled_tripled_events_at_once_is_exactly_once_in_the_ledger(
    customer: Actor, fake: FakeStripe
) -> None:
    pro = Plan.objects.create(slug="pro", name="Pro", price=1, currency="EUR", credits=500 * CREDIT)
    events = [bought(customer, f"pi_{number}", 10) for number in range(8)]
    events += [refunded(f"pi_{number}") for number in range(4)]
    events += [subscription(customer, month) for month in range(2)] + [invoice(customer, month) for month in range(2)]
    storm = events * 3
    random.Random(7).shuffle(storm)

    def deliver(said: Event) -> int:
        try:
            return int(send(said).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(deliver, storm)) == {200}
    owed = sum(Payment.objects.values_list("owed", flat=True))
    assert sum(movements(customer)) * CREDIT == 8 * 10 * CREDIT + 2 * pro.credits - 4 * 10 * CREDIT + owed
    assert list(problems()) == []


class Killed(BaseException):
    """The process died."""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["before", "after", "unknown"])
def test_a_process_killed_at_any_commit_leaves_what_the_next_delivery_completes_once(
    customer: Actor, fake: FakeStripe, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    Plan.objects.create(slug="pro", name="Pro", price=1, currency="EUR", credits=500 * CREDIT, stripe_price="price_pro")
    Plan.objects.create(slug="team", name="T", price=2, currency="EUR", credits=900 * CREDIT, stripe_price="price_team")
    fake.answers["/v1/charges/ch_pi_1"] = refunded(amount=0)["data"]["object"]
    attempt, commits, dies_at = transactions._attempt, 0, -1

    def dying(work: Any) -> Any:
        nonlocal commits
        commits += 1
        if commits - 1 != dies_at:
            return attempt(work)
        if end == "before":
            return attempt(lambda: kill(work()))
        return kill(attempt(work))

    def kill(done: Any) -> Any:
        raise OutcomeUnknown("lost") if end == "unknown" else Killed

    monkeypatch.setattr(transactions, "_attempt", dying)
    story = [
        bought(customer), refunded(amount=25), disputed("created", "needs_response", 50), disputed("closed", "won", 50),
        subscription(customer, kind="created"), invoice(customer), switched(customer, "pro", "team", 15, 1, 0),
        subscription(customer, after=9, items={"data": [{
            "price": {"id": "price_team"}, **subscription(customer)["data"]["object"]["items"]["data"][0],
        }]}), switched(customer, "team", "pro", 20, 2, 0), invoice(customer, 1),
        subscription(customer, 1, kind="deleted", after=60, status="canceled"),
    ]  # fmt: skip
    deaths = 0
    for said in story:
        for dies_at in range(9):
            commits = 0
            with suppress(Killed):
                assert send(said).status_code == 200
            if commits <= dies_at:
                break
            deaths += 1
    assert deaths >= len(story)
    dies_at = -1
    told(*story)
    assert movements(customer) == [1000, -250, -500, 500, 500, 400, -400, 500]
    assert (role(customer), Payment.objects.exclude(owed=0).count()) == (Role.USER, 0)
    assert list(problems()) == []


def test_what_a_lost_webhook_left_is_swept_up(customer: Actor, fake: FakeStripe, pro: Plan) -> None:
    events = [invoice(customer), bought(customer)]
    fake.answers["/v1/events"] = {"object": "list", "data": events, "has_more": False, "url": "/v1/events"}
    for _ in range(2):
        call_command("sync_payments")
    assert sorted(movements(customer)) == [500, 1000]
    (_, _, query), *_ = fake.asked
    assert int(query["created[gte]"][0]) < time.time() - 2 * 86_400


def test_an_event_that_can_not_be_read_holds_up_no_other(customer: Actor, fake: FakeStripe) -> None:
    newest_first = [bought(customer), bought(customer, "pi_2", amount_total="many")]
    fake.answers["/v1/events"] = {"object": "list", "data": newest_first, "has_more": False, "url": "/v1/events"}
    with pytest.raises(ValueError, match="many"):
        stripe_events.sync()
    assert movements(customer) == [1000]


def test_the_sweep_without_a_key_says_so(db: None, settings: Any) -> None:
    settings.STRIPE_SECRET_KEY = ""
    with pytest.raises(CommandError, match="STRIPE_SECRET_KEY"):
        call_command("sync_payments")
