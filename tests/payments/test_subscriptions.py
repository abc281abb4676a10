"""Subscriptions: whoever has a paid one is SUBSCRIBER, and each period's credits come once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import teams
from accounts.models import Role, User
from aichat.core.money import CREDIT, LARGEST
from aichat.payments import payments, periods, subscriptions
from aichat.payments.models import Plan, Subscription, add_months
from aichat.payments.subscriptions import Told, follow_time, record
from credits.models import LedgerEntry
from credits.operations import LedgerBroken
from credits.verify import problems
from tests.conftest import Actor

GIVE, MINE = "/api/v1/admin/subscriptions", "/api/v1/subscription"
NONE = {
    "plan": None,
    "status": "none",
    "period_start": None,
    "period_end": None,
    "cancel_at_period_end": False,
    "source": None,
}


def role(actor: Actor) -> str:
    return User.objects.get(pk=actor.user.pk).role


def credited(actor: Actor) -> int:
    entries = LedgerEntry.objects.filter(wallet_id=actor.organization.pk, reference__startswith="subscription:")
    return sum(entries.values_list("amount", flat=True)) // CREDIT


def told(plan: Plan, days: float, **facts: Any) -> Told:
    """A shop's word on the subscription S-1, whose period ends in so many days."""
    ends = timezone.now().replace(microsecond=0) + timedelta(days=days)
    return Told(**{"source": "shop", "external_id": "S-1", "plan": plan, "period_end": ends, **facts})


def test_plans_are_listed_cheapest_first_while_they_are_offered(pro: Plan, ada: Actor, alice: Actor) -> None:
    body = {"slug": "small", "name": "Small", "price": "4.5", "currency": "EUR", "interval": "year", "credits": "100"}
    assert ada.post("/api/v1/admin/plans", body).status_code == 201
    Plan.objects.create(slug="old", name="Old", price=1, currency="EUR", credits=1, is_active=False)
    pros = {"slug": "pro", "name": "Pro", "price": "9.99", "currency": "EUR", "interval": "month", "credits": "500"}
    terms = {"credits_expire": False, "rollover": None, "prorate": False}
    assert alice.get("/api/v1/plans").json() == [{**row, **terms} for row in (body, pros)]
    taken = ada.post("/api/v1/admin/plans", body)
    assert (taken.status_code, taken.json()["error"]["param"]) == (400, "slug")


def test_without_a_subscription_the_answer_says_so(alice: Actor) -> None:
    assert alice.get(MINE).json() == NONE


def test_a_given_subscription_makes_a_subscriber_with_the_plan_s_credits(pro: Plan, ada: Actor, alice: Actor) -> None:
    ends = (timezone.now() + timedelta(days=30)).replace(microsecond=0)
    answer = ada.post(GIVE, {"user": str(alice.user.pk), "plan": "pro", "period_end": ends.isoformat()})
    assert answer.status_code == 201, answer.content
    assert (role(alice), credited(alice)) == (Role.SUBSCRIBER, 500)
    mine = alice.get(MINE).json()
    assert (mine["plan"], mine["status"], mine["source"]) == ("pro", "active", "manual")
    assert datetime.fromisoformat(mine["period_end"]) == ends
    assert list(problems()) == []


def test_a_person_may_be_named_by_e_mail_and_a_key_makes_it_safe_to_send_again(
    pro: Plan, ada: Actor, alice: Actor
) -> None:
    for _ in range(2):
        answer = ada.post(GIVE, {"user": "ALICE@example.com", "plan": "pro"}, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 201
    assert credited(alice) == 500


def test_a_team_s_subscription_gives_the_team_credits_and_moves_no_role(pro: Plan, ada: Actor, alice: Actor) -> None:
    team = teams.create_team(alice.user, "Wonderland").organization
    assert ada.post(GIVE, {"organization": str(team.pk), "plan": "pro"}).status_code == 201
    assert LedgerEntry.objects.filter(wallet_id=team.pk, amount=500 * CREDIT).exists()
    assert role(alice) == Role.USER
    alice.with_login()
    assert alice.get(MINE, headers={"X-Organization": str(team.pk)}).json()["plan"] == "pro"
    assert alice.get(MINE).json() == NONE


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"user": "alice@example.com", "plan": "gold"}, 400, "plan"),
        ({"plan": "pro"}, 400, "user"),
        ({"user": "nobody@example.com", "plan": "pro"}, 404, "user"),
        ({"user": "nonsense", "plan": "pro"}, 404, "user"),
        ({"organization": str(Plan().pk), "plan": "pro"}, 404, "organization"),
        ({"user": "alice@example.com", "plan": "pro", "period_end": "2020-01-01T00:00:00Z"}, 400, "period_end"),
        ({"user": "alice@example.com", "plan": "pro", "period_end": "9999-01-01T00:00:00Z"}, 400, "period_end"),
    ],
)
def test_a_wrong_subscription_is_refused_by_name(
    pro: Plan, ada: Actor, alice: Actor, body: dict[str, Any], status: int, param: str
) -> None:
    answer = ada.post(GIVE, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


# --- The role follows -------------------------------------------------------------------------------------------------


def test_the_role_lasts_through_the_grace_and_no_longer(pro: Plan, alice: Actor, settings: Any) -> None:
    settings.SUBSCRIPTION_GRACE_DAYS = 3
    row = record(alice.organization, told(pro, 10))
    assert row.period_end is not None
    for days, wanted, status in ((-1, "SUBSCRIBER", "active"), (2, "SUBSCRIBER", "past_due"), (4, "USER", "cancelled")):
        moment = row.period_end + timedelta(days=days)
        assert row.status_at(moment) == status
        follow_time(moment)
        assert role(alice) == wanted
    assert alice.get(MINE).json()["status"] == "cancelled"


def test_one_that_will_not_be_renewed_ends_without_grace(pro: Plan, alice: Actor) -> None:
    row = record(alice.organization, told(pro, 10, cancel_at_period_end=True))
    assert alice.get(MINE).json()["cancel_at_period_end"] is True
    assert row.period_end is not None
    follow_time(row.period_end)
    assert role(alice) == Role.USER


def test_an_administrator_keeps_the_role(pro: Plan, ada: Actor) -> None:
    row = record(ada.organization, told(pro, 10))
    assert role(ada) == Role.ADMIN
    assert row.period_end is not None
    follow_time(row.period_end + timedelta(days=30))
    assert role(ada) == Role.ADMIN


def test_who_has_another_subscription_stays_subscriber(pro: Plan, ada: Actor, alice: Actor) -> None:
    record(alice.organization, told(pro, 1))
    subscriptions.give(alice.organization, pro, period_end=None, actor=ada.user)
    follow_time(timezone.now() + timedelta(days=20))
    assert role(alice) == Role.SUBSCRIBER


def test_words_of_a_seller_in_any_order_and_number_end_the_same(pro: Plan, alice: Actor) -> None:
    words = [told(pro, 30), told(pro, 61), told(pro, 92)]
    for word in (words[2], words[0], words[2], words[1], words[0]):
        record(alice.organization, word)
    assert credited(alice) == 3 * 500
    row = Subscription.objects.get()
    assert (row.period_end, row.status_at(timezone.now())) == (words[2].period_end, "active")
    assert list(problems()) == []


def test_a_period_that_is_past_due_is_not_paid(pro: Plan, alice: Actor) -> None:
    paid = told(pro, 1)
    record(alice.organization, paid)
    row = record(alice.organization, told(pro, 31, status="past_due"))
    assert (credited(alice), row.period_end) == (500, paid.period_end)
    follow_time(paid.period_end + timedelta(days=4))
    assert role(alice) == Role.USER
    record(alice.organization, told(pro, 31))
    assert (credited(alice), role(alice)) == (1000, Role.SUBSCRIBER)


def test_a_cancelled_one_ends_at_once_and_the_seller_s_time_decides(pro: Plan, alice: Actor) -> None:
    now = timezone.now()
    record(alice.organization, told(pro, 30, status="cancelled", told_at=now))
    record(alice.organization, told(pro, 30, told_at=now - timedelta(hours=1)))
    assert (role(alice), credited(alice)) == (Role.USER, 500)  # what was paid before stays paid
    record(alice.organization, told(pro, 30, told_at=now + timedelta(hours=1)))
    assert (role(alice), credited(alice)) == (Role.SUBSCRIBER, 500)


def test_a_plan_that_prorates_gives_short_periods_and_switches_their_part(pro: Plan, ada: Actor, alice: Actor) -> None:
    pro.prorate = True
    pro.save()
    large = Plan.objects.create(
        slug="large", name="Large", price=1, currency="EUR", credits=3100 * CREDIT, prorate=True
    )
    begins = datetime(2026, 7, 1, tzinfo=UTC)  # a month of 31 days
    month = begins + timedelta(days=31)
    word: dict[str, Any] = {"source": "shop", "external_id": "S-1", "period_end": month, "period_start": begins}
    for plan, at in ((pro, begins), (large, begins + timedelta(days=21)), (pro, begins + timedelta(days=22))):
        record(alice.organization, Told(**{**word, "plan": plan, "told_at": at}))
    assert credited(alice) == 500 + (3100 - 500) * 10 // 31  # nothing is taken: the shop says what it gives back
    short = {**word, "external_id": "S-2", "plan": large, "period_end": begins + timedelta(days=10)}
    record(alice.organization, Told(**short))
    assert credited(alice) == 500 + (3100 - 500) * 10 // 31 + 1000
    # By hand: what is left of the plan before counts.
    before = credited(alice)
    team = teams.create_team(alice.user, "Wonderland").organization
    now = timezone.now()
    subscriptions.give(team, large, period_end=now + timedelta(days=200), actor=ada.user)
    Subscription.objects.filter(organization=team).update(period_start=now - timedelta(days=15))
    given = LedgerEntry.objects.filter(wallet_id=team.pk)
    assert sum(given.values_list("amount", flat=True)) == 3100 * CREDIT
    subscriptions.give(team, pro, period_end=None, actor=ada.user)
    assert (given.count(), credited(alice)) == (1, before)  # more than the smaller one gives


def test_a_given_one_with_a_later_end_gives_each_interval_until_then(pro: Plan, ada: Actor, alice: Actor) -> None:
    pro.prorate = True
    pro.save()
    ends = add_months(timezone.now(), 2) + timedelta(days=15)
    subscriptions.give(alice.organization, pro, period_end=ends, actor=ada.user)
    follow_time(ends + timedelta(days=1))
    assert 1000 < credited(alice) < 1300
    follow_time(ends + timedelta(days=40))
    assert (role(alice), alice.get(MINE).json()["status"]) == (Role.USER, "cancelled")
    assert credited(alice) < 1300


@pytest.mark.django_db(transaction=True)
def test_the_same_word_at_the_same_moment_is_one_subscription(pro: Plan, alice: Actor) -> None:
    word = told(pro, 30)

    def say(_: int) -> None:
        try:
            record(alice.organization, word)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(say, range(8)))
    assert (Subscription.objects.count(), credited(alice), role(alice)) == (1, 500, Role.SUBSCRIBER)
    assert list(problems()) == []


# --- By hand, as before -----------------------------------------------------------------------------------------------


def by_command(alice: Actor, ada: Actor, role: str) -> None:
    call_command("set_role", alice.user.email, role)


def by_api(alice: Actor, ada: Actor, role: str) -> None:
    assert ada.patch(f"/api/v1/admin/users/{alice.user.pk}", {"role": role}).status_code == 200


def by_form(alice: Actor, ada: Actor, role: str) -> None:
    console = Client()
    console.force_login(ada.user)
    page = f"/admin/accounts/user/{alice.user.pk}/change/"
    members = {
        f"memberships-{name}": value
        for name, value in {"TOTAL_FORMS": 0, "INITIAL_FORMS": 0, "MIN_NUM_FORMS": 0, "MAX_NUM_FORMS": 0}.items()
    }
    form = {"email": alice.user.email, "name": "Alice", "role": role, "is_active": "on", **members}
    assert console.post(page, form).status_code == 302


@pytest.mark.parametrize("by_hand", [by_command, by_api, by_form])
def test_a_role_set_by_hand_is_a_manual_subscription(
    alice: Actor, ada: Actor, by_hand: Callable[[Actor, Actor, str], None]
) -> None:
    by_hand(alice, ada, "SUBSCRIBER")
    mine = alice.get(MINE).json()
    assert (mine["status"], mine["source"], mine["plan"], mine["period_end"]) == ("active", "manual", None, None)
    follow_time(timezone.now() + timedelta(days=4000))
    assert role(alice) == Role.SUBSCRIBER
    by_hand(alice, ada, "USER")
    assert (role(alice), alice.get(MINE).json()["status"]) == (Role.USER, "cancelled")


def test_today_s_subscribers_get_one_by_the_migration(actor: Callable[..., Actor], alice: Actor) -> None:
    sue = actor("sue", Role.SUBSCRIBER)
    User.objects.create_user("new@example.com", role=Role.SUBSCRIBER)  # without an organization so far
    migration = import_module("aichat.payments.migrations.0003_subscriptions_of_subscribers")
    for _ in range(2):
        migration.give_subscriptions(apps, None)
    assert sue.get(MINE).json()["source"] == "manual"
    assert Subscription.objects.count() == 2
    assert alice.get(MINE).json() == NONE


def test_one_is_ended_in_the_admin(pro: Plan, ada: Actor, alice: Actor) -> None:
    row = subscriptions.give(alice.organization, pro, period_end=None, actor=ada.user)
    console = Client()
    console.force_login(ada.user)
    for page in ("plan/", f"plan/{pro.pk}/change/", "subscription/", f"subscription/{row.pk}/change/"):
        assert console.get(f"/admin/payments/{page}").status_code == 200
    chosen = {"action": "end", "_selected_action": [str(row.pk)]}
    assert console.post("/admin/payments/subscription/", chosen).status_code == 302
    assert (role(alice), credited(alice)) == (Role.USER, 500)


def test_a_refund_takes_what_its_payment_gave_for_a_period_that_cut_another_short(pro: Plan, alice: Actor) -> None:
    large = Plan.objects.create(
        slug="large", name="Large", price=1, currency="EUR", credits=1000 * CREDIT, prorate=True
    )
    now = timezone.now().replace(microsecond=0)

    def pay(name: str, plan: Plan, starts: datetime) -> None:
        ends = add_months(starts, 1)
        paid = payments.Paid(
            source="shop", external_id=name, plan=plan, subscription="S-1", period_start=starts, period_end=ends
        )
        payments.succeed(alice.organization, paid)

    pay("P-1", pro, now)
    before = alice.wallet.available
    pay("P-2", large, now + timedelta(days=10))
    assert 0 < alice.wallet.available - before < 1000 * CREDIT
    payments.refund("shop", "P-2", None)
    assert alice.wallet.available == before


# --- Without an end ---------------------------------------------------------------------------------------------------


def test_one_without_an_end_gives_its_credits_each_month(pro: Plan, ada: Actor, alice: Actor) -> None:
    row = subscriptions.give(alice.organization, pro, period_end=None, actor=ada.user)
    moments = [row.period_start + timedelta(days=days) for days in (1, 32, 32, 63)]
    assert [follow_time(moment) for moment in moments] == [0, 1, 0, 1]
    assert credited(alice) == 3 * 500
    row.refresh_from_db()
    assert row.period_start == add_months(row.created_at, 2)


def test_the_periods_of_a_time_without_servers_are_made_up_for(pro: Plan, ada: Actor, alice: Actor) -> None:
    row = subscriptions.give(alice.organization, pro, period_end=None, actor=ada.user)
    follow_time(add_months(row.period_start, 5))
    assert credited(alice) == 6 * 500


def test_a_wallet_that_can_hold_no_more_holds_up_no_other(pro: Plan, ada: Actor, alice: Actor, bob: Actor) -> None:
    for person in (alice, bob):
        subscriptions.give(person.organization, pro, period_end=None, actor=ada.user)
    alice.set_credits(LARGEST // CREDIT)
    assert follow_time(timezone.now() + timedelta(days=32)) == 1
    assert (credited(alice), credited(bob)) == (500, 1000)


def test_a_failure_of_one_organization_holds_up_no_other(
    pro: Plan, ada: Actor, alice: Actor, bob: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for person in (alice, bob):
        subscriptions.give(person.organization, pro, period_end=None, actor=ada.user)
    grant_well = periods.grant_period

    def fail_for_alice(row: Subscription, *about: Any) -> None:
        if row.organization_id == alice.organization.pk:
            raise LedgerBroken("wrong")
        grant_well(row, *about)

    monkeypatch.setattr(periods, "grant_period", fail_for_alice)
    assert follow_time(timezone.now() + timedelta(days=32)) == 1
    assert (credited(alice), credited(bob)) == (500, 1000)


def test_subscriptions_end_by_the_databases_clock_whatever_the_hosts_says(
    pro: Plan, alice: Actor, host_goes_ahead: Callable[[], None]
) -> None:
    record(alice.organization, told(pro, 1, cancel_at_period_end=True))
    host_goes_ahead()
    assert follow_time() == 0
    assert role(alice) == Role.SUBSCRIBER


@pytest.mark.parametrize(
    ("day", "months", "wanted"),
    [
        ("2026-01-31", 1, "2026-02-28"),
        ("2026-01-31", 2, "2026-03-31"),
        ("2028-02-29", 12, "2029-02-28"),
        ("2026-03-31", -1, "2026-02-28"),
        ("2026-01-15", -1, "2025-12-15"),
        ("2026-12-01", 1, "2027-01-01"),
    ],
)
def test_months_end_with_their_last_day(day: str, months: int, wanted: str) -> None:
    assert add_months(datetime.fromisoformat(day).replace(tzinfo=UTC), months).date().isoformat() == wanted
