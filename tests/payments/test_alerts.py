"""Alerts: told once per crossing, to every address, with several processes and after a killed one."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail as django_mail
from django.db import connection
from django.test import Client
from django.utils import timezone
from standardwebhooks import Webhook

from accounts import teams
from accounts.models import Organization
from admin_dashboard import watching
from aichat.catalog import state
from aichat.catalog.models import Provider
from aichat.catalog.state import Health
from aichat.core.money import CREDIT
from aichat.core.outbound.webhooks import secret_of
from aichat.payments import alert_delivery, alert_texts, alerts, operator_alerts
from aichat.payments.models import AlertMessage, AlertSettings, Plan
from aichat.payments.subscriptions import Told, record
from aichat.usage.rollup import roll_up
from credits.services import Reserve, Settle, apply, hold_expiry
from tests.conftest import Actor, in_team, join
from tests.receiver import Receiver

ALERTS = "/api/v1/alerts"
NONE = {
    "low_balance": None, "budget_percent": [50, 80, 100], "monthly_budget": None, "email": [], "webhook_url": None,
    "slack_url": None,
}  # fmt: skip


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.ALLOW_PRIVATE_WEBHOOKS = True
    found = Receiver()
    yield found
    found.close()


def put(actor: Actor, **body: Any) -> Any:
    return actor.client.put(ALERTS, body, content_type="application/json")


def spend(actor: Actor, credits: int) -> None:
    hold = Reserve(wallet_id=actor.organization.pk, amount=credits * CREDIT, expires_at=hold_expiry())
    apply([hold])[0].or_raise()
    apply([Settle(hold=hold.hold, charge=credits * CREDIT)])[0].or_raise()


def told() -> list[Any]:
    """What has been told since the last call: the percents of budgets, and `low`."""
    alerts.check()
    rows = AlertMessage.objects.order_by("created_at", "id")
    found = [row.facts.get("percent", "low") for row in rows]
    rows.delete()
    return found


def test_alerts_are_set_and_read(alice: Actor) -> None:
    assert alice.get(ALERTS).json() == NONE
    body = {
        "low_balance": "12.5", "budget_percent": [80, 50, 50], "monthly_budget": "1000", "email": ["ops@example.com"],
        "webhook_url": "https://example.com/hook", "slack_url": "https://hooks.slack.com/services/T/B/x",
    }  # fmt: skip
    answer = put(alice, **body)
    assert (answer.status_code, answer.json()) == (200, {**body, "budget_percent": [50, 80]})
    assert alice.get(ALERTS).json() == answer.json()
    assert put(alice, slack_url="").json() == NONE
    assert AlertSettings.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"low_balance": "-1"}, "low_balance"),
        ({"low_balance": "1e30"}, "low_balance"),
        ({"budget_percent": [0]}, "budget_percent"),
        ({"budget_percent": list(range(1, 12))}, "budget_percent"),
        ({"email": ["nobody"]}, "email"),
        ({"email": "a@example.com"}, "email"),
        ({"email": [f"a{number}@example.com" for number in range(11)]}, "email"),
        ({"webhook_url": "ftp://example.com"}, "webhook_url"),
        ({"webhook_url": "http://169.254.169.254/latest"}, "webhook_url"),
        ({"slack_url": "https://example.com/" + "x" * 500}, "slack_url"),
        ({"webhook": "https://example.com"}, "webhook"),
    ],
)
def test_a_wrong_value_is_refused_by_name(alice: Actor, body: dict[str, Any], param: str) -> None:
    answer = put(alice, **body)
    assert (answer.status_code, answer.json()["error"]["param"].partition(".")[0]) == (400, param)


def test_mail_needs_a_mail_server(alice: Actor, settings: Any) -> None:
    settings.EMAIL_URL = ""
    answer = put(alice, email=["ops@example.com"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "mail_unavailable")
    assert put(alice, slack_url="https://example.com/x").status_code == 200


def test_mere_members_of_a_team_neither_see_nor_set_its_alerts(alice: Actor, bob: Actor) -> None:
    by = teams.create_team(alice.user, "Wonderland")
    join(by.organization, bob)
    for method in (bob.with_login().client.get, bob.client.put):
        answer = method(ALERTS, content_type="application/json", headers=in_team(str(by.organization.pk)))
        assert answer.status_code == 403


def test_a_low_balance_is_told_once_until_it_was_high_again(alice: Actor) -> None:
    put(alice, low_balance="10", slack_url="https://example.com/x")
    assert told() == []
    for credits, said in ((10, []), (9, ["low"]), (8, []), (10, []), (5, ["low"])):
        alice.set_credits(credits)
        assert told() == said
    put(alice, low_balance="10", slack_url="https://example.com/y")
    assert told() == []
    put(alice, low_balance="7", slack_url="https://example.com/y")
    assert told() == ["low"]


def test_shares_of_a_months_budget_are_told_once_each_month(alice: Actor) -> None:
    alice.set_credits(1000)
    put(alice, monthly_budget="100", slack_url="https://example.com/x")
    for credits, said in ((49, []), (1, [50]), (10, []), (40, [80, 100]), (5, [])):
        spend(alice, credits)
        assert told() == said
    put(
        alice, monthly_budget="130", slack_url="https://example.com/x"
    )  # 105 of 130: only 100 % is not reached any more
    assert told() == []
    spend(alice, 25)
    assert told() == [100]
    next_month = datetime.now(UTC).replace(day=28) + timedelta(days=10)
    assert alerts.check(next_month) == 0
    assert AlertSettings.objects.get().spent == 0


def test_without_a_budget_the_organizations_limit_of_a_month_is_one(alice: Actor) -> None:
    put(alice, slack_url="https://example.com/x")
    spend(alice, 60)
    assert told() == []
    Organization.objects.filter(pk=alice.organization.pk).update(spend_limit_month=100 * CREDIT)
    spend(alice, 1)
    assert told() == [50]


@pytest.mark.django_db(transaction=True)
def test_several_processes_tell_a_crossing_once(alice: Actor) -> None:
    put(alice, low_balance="1000", slack_url="https://example.com/x")

    def check(_: int) -> int:
        try:
            return alerts.check()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(check, range(8))) == 1
    assert AlertMessage.objects.count() == 1


def test_every_address_gets_the_alert(alice: Actor, receiver: Receiver) -> None:
    answer = put(
        alice, low_balance="1000", email=["a@example.com", "b@example.com"], webhook_url=f"{receiver.url}/hook",
        slack_url=f"{receiver.url}/slack",
    )  # fmt: skip
    assert answer.status_code == 200, answer.content
    assert alerts.check() == 4
    assert alert_delivery.send_due() == 4
    assert alert_delivery.send_due() == 0
    got = {path: (headers, body) for path, headers, body in receiver.got}
    headers, body = got["/hook"]
    said = Webhook(secret_of(alice.organization.pk)).verify(
        body, {key.lower(): value for key, value in headers.items()}
    )
    assert said["type"] == "alert.low_balance"
    assert (said["organization"], said["balance"], said["low_balance"]) == (str(alice.organization.pk), "100", "1000")
    text = json.loads(got["/slack"][1])["text"]
    assert "100 credits left" in text
    assert sorted(mail.to[0] for mail in django_mail.outbox) == ["a@example.com", "b@example.com"]
    assert (django_mail.outbox[0].subject, text in django_mail.outbox[0].body) == ("Your credits are low", True)


def test_what_did_not_arrive_is_tried_again_with_the_same_id_and_given_up_in_the_end(
    alice: Actor, receiver: Receiver, ada: Actor
) -> None:
    receiver.otherwise = 500
    put(alice, low_balance="1000", webhook_url=receiver.url)
    alerts.check()
    for _ in range(alert_delivery.MOST_ATTEMPTS + 2):
        alert_delivery.send_due()
        AlertMessage.objects.update(next_at=timezone.now())
    assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 1
    assert len(receiver.got) == alert_delivery.MOST_ATTEMPTS
    row = AlertMessage.objects.get()
    assert (row.state, row.problem) == (AlertMessage.State.GIVEN_UP, "answered 500")
    console = Client()
    console.force_login(ada.user)
    page = "/admin/payments/alertmessage/"
    assert "answered 500" in console.get(page).content.decode()
    assert "1000" in console.get("/admin/payments/alertsettings/").content.decode()
    receiver.otherwise = 204
    console.post(page, {"action": "again", "_selected_action": [row.pk]})
    assert alert_delivery.send_due() == 1


def test_a_message_whose_process_died_is_sent_by_another_after_its_lease(
    alice: Actor, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(alice, low_balance="1000", webhook_url=receiver.url)
    alerts.check()

    def killed(*rows: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(alert_delivery, "_send_all", killed)
        alert_delivery.send_due()
    assert alert_delivery.send_due() == 0
    AlertMessage.objects.update(next_at=timezone.now())
    assert alert_delivery.send_due() == 1
    assert len(receiver.got) == 1


def test_an_organization_gets_so_many_mails_a_day(alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "MOST_MAILS_A_DAY", 2)
    for low in ("1000", "1001", "1002", "1003"):
        put(alice, low_balance=low, email=["a@example.com"], slack_url="https://example.com/x")
        alerts.check()
    rows = AlertMessage.objects.all()
    assert (rows.filter(channel="email").count(), rows.filter(channel="slack").count()) == (2, 4)


def test_old_messages_are_deleted(alice: Actor) -> None:
    put(alice, low_balance="1000", slack_url="https://example.com/x")
    alerts.check()
    assert alert_delivery.prune() == 0
    assert alert_delivery.prune(timezone.now() + timedelta(days=91)) == 1


# --- An hour's spending, and payments that failed ---------------------------------------------------------------------


def test_an_hour_far_above_the_usual_is_told_once(alice: Actor, settings: Any) -> None:
    settings.CREDITS_PER_USD = Decimal(10)
    alice.set_credits(10_000)
    put(alice, slack_url="https://example.com/x")
    spend(alice, 168)
    alerts.check()
    hours = AlertSettings.objects.get().hours
    assert (sum(hours.values()), AlertMessage.objects.count()) == (168 * CREDIT, 0)  # nothing is usual yet
    earlier = alerts.hour_name(timezone.now() - timedelta(days=2))
    AlertSettings.objects.update(hours={earlier: 168 * CREDIT, "2020-01-01T00": CREDIT}, sequence=alice.wallet.sequence)
    for credits, told in ((10, 0), (10, 1), (100, 1)):  # usual is 1 an hour; below a dollar's worth nothing is told
        spend(alice, credits)
        alerts.check()
        assert AlertMessage.objects.filter(kind="spending").count() == told
    facts = AlertMessage.objects.get().facts
    assert (facts["spent"], facts["usual"]) == ("20", "1")
    assert "2020-01-01T00" not in AlertSettings.objects.get().hours
    assert "far above" in alert_texts.subject_of(AlertMessage.objects.get())


@pytest.fixture
def operator(settings: Any, receiver: Receiver) -> Receiver:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = ["root@example.com"], f"{receiver.url}/hook"
    settings.ALERT_SLACK_URL = f"{receiver.url}/slack"
    return receiver


def test_a_renewal_that_was_not_paid_is_told_to_the_organization_and_the_operator_once(
    alice: Actor, operator: Receiver
) -> None:
    put(alice, webhook_url=f"{operator.url}/alice")
    plan = Plan.objects.create(slug="pro", name="Pro", price=1, currency="EUR", credits=CREDIT)
    now = timezone.now().replace(microsecond=0)
    for days, status in ((1, "active"), (31, "past_due"), (31, "past_due")):
        word = Told(source="shop", external_id="S", plan=plan, period_end=now + timedelta(days=days), status=status)
        record(alice.organization, word)
    assert alert_delivery.send_due() == 4
    paths = sorted(path for path, _, _ in operator.got)
    assert paths == ["/alice", "/hook", "/slack"]
    bodies = {path: json.loads(body) for path, _, body in operator.got}
    assert (bodies["/alice"]["type"], bodies["/alice"]["plan"]) == ("alert.payment_failed", "Pro")
    assert bodies["/hook"]["organization"] == str(alice.organization.pk)
    assert "Pro" in bodies["/slack"]["text"]
    assert "ALERT_EMAIL" in django_mail.outbox[0].body


def test_the_operator_is_told_of_providers_usage_and_spending_once_each(
    alice: Actor, ada: Actor, operator: Receiver, catalog: None, monkeypatch: pytest.MonkeyPatch, settings: Any,
    usage_record: Any,
) -> None:  # fmt: skip
    settings.CREDITS_PER_USD = Decimal(10)
    health: dict[Any, Health] = {}
    monkeypatch.setattr(state, "_sources", [lambda pairs: {pair: health[pair] for pair in pairs if pair in health}])
    assert watching.watch() == 0
    provider = Provider.objects.filter(enabled=True, models__enabled=True).first()
    assert provider is not None
    health.update({(provider.slug, model.slug): Health(error="unauthorized") for model in provider.models.all()})
    now = timezone.now()
    found = watching.providers()
    assert list(found) == [provider.slug]
    moments = ((0, 0), (1, 0), (2, 1), (3, 0))
    for minutes, count in moments:
        moment = now + timedelta(minutes=minutes)
        assert operator_alerts.watch("provider", found, lasting=watching.LASTING, now=moment) == count
    operator_alerts.watch("provider", {})
    for minutes, count in ((10, 0), (70, 1)):  # again within the hour: told when the hour is over
        moment = now + timedelta(minutes=minutes)
        assert operator_alerts.watch("provider", found, now=moment) == count
    AlertMessage.objects.all().delete()
    usage_record(alice, source="IMPLAUSIBLE", charged=168 * CREDIT, created_at=now - timedelta(days=3))
    usage_record(alice, source="IMPLAUSIBLE", charged=9 * CREDIT)
    roll_up()
    health.clear()
    assert (watching.watch(), watching.watch()) == (1, 0)  # nine times the usual, and less than a dollar's worth
    usage_record(alice, charged=2 * CREDIT)
    assert (watching.watch(), watching.watch()) == (1, 0)
    assert alert_delivery.send_due() == 6
    kinds = {json.loads(body)["type"] for path, _, body in operator.got if path == "/hook"}
    assert kinds == {"alert.implausible", "alert.spending"}
    assert all("%" not in mail.body for mail in django_mail.outbox)
    console = Client()
    console.force_login(ada.user)
    assert "implausible" in console.get("/admin/payments/alertmessage/").content.decode()
