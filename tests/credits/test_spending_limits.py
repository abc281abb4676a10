"""Spending limits, the affordable answer, and the notice of running low: over HTTP, counted where credits move."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone

from accounts import services
from accounts.models import AccessToken
from aichat.core.money import CREDIT, LARGEST
from aichat.core.telemetry.product_events import CreditsLow, ProductEvent
from credits.models import Hold, LedgerEntry, Limit, SpendCounter
from credits.operations import BalanceTooLarge
from credits.services import RefundTooLarge, Release, Reserve, Settle, apply, expire_holds, grant, hold_expiry, refund
from credits.spending_limits import count, limits_of
from tests.conftest import Actor

CHAT, COMPLETIONS = "/api/v1/chat", "/v1/chat/completions"
HELLO = {"message": "Hello"}  # the demo charges 1 credit


def limited_key(actor: Actor, credits: int) -> dict[str, str]:
    _, secret = services.create_api_key(
        user=actor.user, organization=actor.organization, name="limited", spend_limit=credits * CREDIT
    )
    return {"Authorization": f"Bearer {secret}"}


def chat(http: httpx.Client, headers: dict[str, str]) -> httpx.Response:
    return http.post(CHAT, json=HELLO, headers=headers)


# --- Over HTTP --------------------------------------------------------------------------------------------------------


def test_a_key_spends_its_limit_and_no_more(http: httpx.Client, alice: Actor) -> None:
    headers = limited_key(alice, 2)
    answers = [chat(http, headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 402]
    error = answers[2].json()["error"]
    assert (error["code"], error["required"], error["available"]) == ("insufficient_credits", "1", "0")
    assert chat(http, alice.headers).status_code == 200  # the other key has no limit


def test_a_limit_holds_under_concurrency(http: httpx.Client, alice: Actor) -> None:
    headers = limited_key(alice, 3)
    with ThreadPoolExecutor(8) as pool:
        statuses = [task.result().status_code for task in [pool.submit(chat, http, headers) for _ in range(12)]]
    assert sorted(statuses) == [200] * 3 + [402] * 9
    assert SpendCounter.objects.get().spent == 3 * CREDIT


@pytest.mark.parametrize("owner", ["user", "organization"])
@pytest.mark.parametrize("period", ["day", "month"])
def test_a_period_that_is_used_up_says_when_it_resets(
    http: httpx.Client, alice: Actor, owner: str, period: str
) -> None:
    row = getattr(alice, owner)
    setattr(row, f"spend_limit_{period}", CREDIT)
    row.save()
    assert chat(http, alice.headers).status_code == 200
    answer = chat(http, alice.headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (429, "quota_exceeded")
    today = timezone.now().date()
    resets = (
        today + timedelta(days=1) if period == "day" else (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    )
    assert error["resets_at"] == f"{resets}T00:00:00Z"
    assert 0 < int(answer.headers["Retry-After"]) <= 31 * 86400


def test_a_new_day_begins_at_nothing(http: httpx.Client, alice: Actor) -> None:
    alice.user.spend_limit_day = CREDIT
    alice.user.save()
    assert chat(http, alice.headers).status_code == 200
    SpendCounter.objects.update(starts=timezone.now().date() - timedelta(days=1))
    assert chat(http, alice.headers).status_code == 200
    assert SpendCounter.objects.get().spent == CREDIT


def test_a_limited_key_is_made_listed_and_can_not_make_keys(alice: Actor) -> None:
    made = alice.post("/api/v1/api-keys", {"name": "limited", "spend_limit": "2.5"})
    assert (made.status_code, made.json()["spend_limit"]) == (201, "2.5")
    assert AccessToken.objects.get(id=made.json()["id"]).spend_limit == 2_500_000
    listed = alice.get("/api/v1/api-keys").json()["results"]
    assert {row["name"]: row["spend_limit"] for row in listed} == {"limited": "2.5", "test": None}
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    refused = alice.post("/api/v1/api-keys", {"name": "free"}, headers=headers)
    assert refused.status_code == 403


@pytest.mark.parametrize("limit", ["-1", "1.0000001", "many"])
def test_a_limit_that_is_no_amount_names_the_field(alice: Actor, limit: str) -> None:
    answer = alice.post("/api/v1/api-keys", {"name": "limited", "spend_limit": limit})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "spend_limit")


# --- In the ledger ----------------------------------------------------------------------------------------------------


@pytest.fixture
def funded(alice: Actor) -> Actor:
    alice.set_credits(100)
    return alice


def limit(name: str, credits: int, starts: date | None = None) -> Limit:
    from uuid import NAMESPACE_DNS, uuid5

    return Limit(name, uuid5(NAMESPACE_DNS, name), starts or date.today(), credits * CREDIT)


def reserve(actor: Actor, credits: int, *limits: Limit) -> Reserve:
    return Reserve(wallet_id=actor.organization.pk, amount=credits * CREDIT, expires_at=hold_expiry(), limits=limits)


def spent(found: Limit) -> int:
    return SpendCounter.objects.get(pk=found.counter_id).spent // CREDIT


def test_a_hold_counts_and_its_settlement_corrects_the_count(funded: Actor) -> None:
    key = limit("key", 20)
    operation = reserve(funded, 15, key)
    apply([operation])[0].or_raise()
    assert spent(key) == 15
    apply([Settle(hold=operation.hold, charge=4 * CREDIT)])
    assert spent(key) == 4
    apply([Settle(hold=operation.hold, charge=4 * CREDIT)])
    assert spent(key) == 4


@pytest.mark.parametrize("ends", ["released", "expired"])
def test_what_was_not_spent_does_not_count(funded: Actor, ends: str) -> None:
    key = limit("key", 20)
    operation = reserve(funded, 15, key)
    apply([operation])
    if ends == "released":
        apply([Release(hold=operation.hold)])
    else:
        expire_holds(operation.expires_at + timedelta(seconds=1))
    assert spent(key) == 0
    if ends == "expired":  # and is settled after all
        apply([Settle(hold=operation.hold, charge=4 * CREDIT)])
        assert spent(key) == 4


def test_a_later_refusal_undoes_the_earlier_counts(funded: Actor) -> None:
    roomy, tight = limit("roomy", 50), limit("tight", 5)
    assert apply([reserve(funded, 10, roomy, tight)])[0].error
    assert (spent(roomy), spent(tight)) == (0, 0)
    assert apply([reserve(funded, 45, roomy), reserve(funded, 101, limit("huge", 1000))])[1].error
    assert spent(limit("huge", 1000)) == 0
    assert not Hold.objects.filter(amount=101 * CREDIT).exists()


def test_a_charge_cut_by_a_shortfall_counts_what_was_taken(funded: Actor) -> None:
    key = limit("key", 500)
    operation = reserve(funded, 10, key)
    apply([operation])
    outcome = apply([Settle(hold=operation.hold, charge=130 * CREDIT)])[0]
    assert (outcome.charged, spent(key)) == (100 * CREDIT, 100)


def charged(actor: Actor, credits: int, *limits: Limit) -> LedgerEntry:
    operation = reserve(actor, credits, *limits)
    apply([operation])[0].or_raise()
    entry = apply([Settle(hold=operation.hold, charge=credits * CREDIT)])[0].entry
    assert entry
    return entry


def test_a_refund_lowers_every_count_of_its_charge_once(funded: Actor) -> None:
    key, month = limit("key", 20), limit("month", 50)
    charge = charged(funded, 15, key, month)
    for _ in range(2):  # the answer was lost, so it is done again
        refund(charge, 6 * CREDIT, reason="Wrong answer", reference="once")
    assert (spent(key), spent(month)) == (9, 9)
    apply([reserve(funded, 11, key)])[0].or_raise()  # what came back can be spent


def test_a_refund_that_is_refused_changes_no_count(funded: Actor) -> None:
    key = limit("key", 20)
    charge = charged(funded, 15, key)
    with pytest.raises(RefundTooLarge):
        refund(charge, 16 * CREDIT, reason="Too much")
    grant(funded.organization, LARGEST - 85 * CREDIT, reason="No room for a refund")
    with pytest.raises(BalanceTooLarge):
        refund(charge, 1 * CREDIT, reason="No room")
    assert spent(key) == 15


def test_a_refund_in_the_next_period_leaves_that_period_alone(funded: Actor) -> None:
    charge = charged(funded, 15, limit("day", 20, date(2026, 1, 1)))
    today = limit("day", 20, date(2026, 1, 2))
    apply([reserve(funded, 7, today)])[0].or_raise()
    refund(charge, 15 * CREDIT, reason="Late")
    assert spent(today) == 7


def test_a_settlement_in_the_next_period_leaves_that_period_alone(funded: Actor) -> None:
    yesterday, today = limit("day", 20, date(2026, 1, 1)), limit("day", 20, date(2026, 1, 2))
    old = reserve(funded, 15, yesterday)
    apply([old])
    apply([reserve(funded, 7, today)])[0].or_raise()
    apply([Settle(hold=old.hold, charge=1 * CREDIT)])
    assert spent(today) == 7


def test_a_straggler_of_the_last_period_is_counted_in_the_later_one(db: None) -> None:
    assert count(limit("day", 5, date(2026, 1, 2)), CREDIT)
    assert count(limit("day", 5, date(2026, 1, 1)), CREDIT)
    assert spent(limit("day", 5)) == 2


def test_a_counter_that_a_fast_clock_has_put_into_a_later_period_admits_no_more_than_the_limit(db: None) -> None:
    assert count(limit("day", 5, date(2026, 1, 2)), CREDIT)
    admitted = [count(limit("day", 5, date(2026, 1, 1)), CREDIT) for _ in range(10)]
    assert sum(admitted) == 4


def test_without_limits_nothing_is_counted_or_read(funded: Actor, django_assert_num_queries: Any) -> None:
    from accounts.authentication import authenticate

    caller = authenticate(funded.headers["Authorization"])
    with django_assert_num_queries(0):
        assert limits_of(caller) == []


# --- The affordable answer --------------------------------------------------------------------------------------------


def ask(http: httpx.Client, actor: Actor, **extra: Any) -> httpx.Response:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], **extra}
    return http.post(COMPLETIONS, json=body, headers=actor.headers)


def set_microcredits(actor: Actor, amount: int) -> None:
    """gpt-4o-mini costs 600 microcredits an output token, and this request's input at most a few thousand."""
    actor.set_credits(1)
    from credits.services import adjust

    adjust(actor.organization, amount - CREDIT, reason="Set by a test", actor=actor.user)


def test_an_answer_is_capped_to_what_the_balance_covers(http: httpx.Client, openai_upstream: Any, alice: Actor) -> None:
    set_microcredits(alice, 600 * 200)
    answer = ask(http, alice)
    assert answer.status_code == 200
    cap = int(answer.headers["X-Max-Tokens-Capped"])
    assert 64 <= cap <= 200
    assert openai_upstream.last_request.body["max_completion_tokens"] == cap


def test_a_stream_says_that_it_is_capped(http: httpx.Client, openai_upstream: Any, alice: Actor) -> None:
    set_microcredits(alice, 600 * 200)
    assert 64 <= int(ask(http, alice, stream=True).headers["X-Max-Tokens-Capped"]) <= 200


def test_an_answer_too_short_to_be_of_use_is_refused(http: httpx.Client, openai_upstream: Any, alice: Actor) -> None:
    set_microcredits(alice, 600 * 60)
    answer = ask(http, alice)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "insufficient_credits")


def test_an_affordable_answer_is_not_capped(http: httpx.Client, openai_upstream: Any, alice: Actor) -> None:
    assert "X-Max-Tokens-Capped" not in ask(http, alice).headers


def test_a_spending_limit_caps_the_answer_too(http: httpx.Client, openai_upstream: Any, alice: Actor) -> None:
    alice.user.spend_limit_day = 600 * 200
    alice.user.save()
    assert 64 <= int(ask(http, alice).headers["X-Max-Tokens-Capped"]) <= 200


# --- Running low ------------------------------------------------------------------------------------------------------


def test_running_low_is_said_on_every_answer_and_told_once(
    http: httpx.Client, alice: Actor, heard: list[ProductEvent]
) -> None:
    alice.set_credits(11)
    answers = [chat(http, alice.headers) for _ in range(3)]
    assert [answer.headers.get("X-Credits-Low") for answer in answers] == [None, "true", "true"]
    assert [answer.json()["credits"]["low"] for answer in answers] == [False, True, True]
    assert [event.balance for event in heard if isinstance(event, CreditsLow)] == [9 * CREDIT]
