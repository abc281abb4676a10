"""The administration over REST: figures, people, credits, models and requests; for administrators alone."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Role, User
from aichat.catalog.models import AIModel
from aichat.core.admin import audit_log
from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from aichat.usage.rollup import roll_up
from credits.models import LedgerEntry
from tests.conftest import Actor

Make = Callable[..., UsageRecord]
PATHS = ["stats", "users", "usage", "reconciliation", "requests/x", "models"]


@pytest.mark.parametrize("path", PATHS)
def test_only_administrators(path: str, alice: Actor, anonymous: Any) -> None:
    response = alice.get(f"/api/v1/admin/{path}")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "permission_denied")
    assert anonymous.get(f"/api/v1/admin/{path}").status_code == 401


def last_audit() -> dict[str, Any]:
    return audit_log.details(LogEntry.objects.order_by("-pk")[0])


# --- Statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rolled", [False, True])
def test_statistics_and_usage_tell_kinds_apart(ada: Actor, alice: Actor, usage_record: Make, rolled: bool) -> None:
    yesterday = timezone.now() - timedelta(days=1)
    usage_record(alice, created_at=yesterday)
    usage_record(alice, kind="speech", characters=700, created_at=yesterday)
    usage_record(alice, kind="speech", characters=300, created_at=yesterday)
    if rolled:
        roll_up()
    kinds = ada.get("/api/v1/admin/stats").json()["by_kind"]
    assert [(row["kind"], row["requests"], row["characters"], row["active_users"]) for row in kinds] == [
        ("speech", 2, 1000, 1),
        ("chat", 1, 0, 1),
    ]
    usage = ada.get("/api/v1/admin/usage?group_by=kind").json()
    assert [(row["kind"], row["characters"]) for row in usage["results"]] == [("speech", 1000), ("chat", 0)]
    assert usage["totals"]["characters"] == 1000


@pytest.mark.parametrize("rolled", [False, True])
def test_statistics_add_everything_up(ada: Actor, alice: Actor, bob: Actor, usage_record: Make, rolled: bool) -> None:
    alice.set_credits(10)
    yesterday = timezone.now() - timedelta(days=1)
    usage_record(alice, created_at=yesterday, charged=3 * CREDIT, cost_nanousd=10**6, latency_ms=100)
    usage_record(alice, provider="openai", model="gpt-6-luna", fallback=True, charged=CREDIT, latency_ms=100)
    usage_record(bob, status="timeout", charged=0, cost_nanousd=0, input_tokens=0, output_tokens=0, latency_ms=9000)
    usage_record(bob, final=False, status="rate_limited", charged=0, cost_nanousd=0, input_tokens=0, output_tokens=0)
    usage_record(bob, cached=True, charged=0, cost_nanousd=0)
    if rolled:
        roll_up()
    body = ada.get("/api/v1/admin/stats").json()
    totals = body["totals"]
    assert totals["users"] == 3
    assert totals["active_users"] == 2
    assert totals["requests"] == 4
    assert totals["input_tokens"] == 30
    assert totals["credits_charged"] == "4"
    assert totals["credits_granted"] == "100"  # Alice's starter credits
    assert totals["cost_usd"] == "0.0015"
    assert totals["margin_usd"] == "0.0025"  # 4 credits are 0.004 USD
    assert (totals["cache_hit_rate"], totals["fallback_rate"], totals["error_rate"]) == (0.25, 0.25, 0.25)
    assert totals["latency_ms"]["p50"] == pytest.approx(100, rel=0.06)
    assert [row["day"] for row in body["by_day"]] == [str(yesterday.date()), str(timezone.now().date())]
    assert {row["provider"]: row["requests"] for row in body["by_provider"]} == {"demo": 3, "openai": 1}
    luna = next(row for row in body["by_model"] if row["model"] == "gpt-6-luna")
    assert luna["credits_charged"] == "1" and luna["active_users"] == 1


def test_statistics_are_of_the_window_asked_for(ada: Actor, alice: Actor, usage_record: Make) -> None:
    usage_record(alice, created_at=datetime(2026, 11, 2, 23, 59, tzinfo=UTC))
    usage_record(alice, created_at=datetime(2026, 11, 3, 0, 0, tzinfo=UTC))
    body = ada.get("/api/v1/admin/stats?from=2026-11-01&to=2026-11-02").json()
    assert body["totals"]["requests"] == 1
    assert ada.get("/api/v1/admin/stats?from=soon").status_code == 400


def test_an_empty_installation_has_figures_too(ada: Actor) -> None:
    totals = ada.get("/api/v1/admin/stats").json()["totals"]
    assert (totals["requests"], totals["error_rate"], totals["latency_ms"]["p95"]) == (0, 0, None)


def test_a_day_on_which_credits_were_only_granted_has_its_row(ada: Actor, alice: Actor, usage_record: Make) -> None:
    usage_record(alice, created_at=timezone.now() - timedelta(days=1))
    alice.set_credits(10)
    body = ada.get("/api/v1/admin/stats").json()
    assert [(row["requests"], row["credits_granted"]) for row in body["by_day"]] == [(1, "0"), (0, "100")]


def test_statistics_take_a_fixed_number_of_queries(ada: Actor, alice: Actor, usage_record: Make) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert ada.get("/api/v1/admin/stats").status_code == 200
        return len(queries)

    usage_record(alice, created_at=timezone.now() - timedelta(days=2))
    roll_up()
    asked()  # what is kept in memory is read
    few = min(asked(), asked())
    for days in range(20):
        usage_record(alice, model=f"m{days}", created_at=timezone.now() - timedelta(days=days, hours=1))
    assert min(asked(), asked()) == few <= 25  # a snapshot that is read again in between is none of its queries


# --- Users ------------------------------------------------------------------------------------------------------------


def test_users_are_searched_filtered_and_ordered(ada: Actor, alice: Actor, bob: Actor) -> None:
    def emails(query: str) -> list[str]:
        return [row["email"] for row in ada.get(f"/api/v1/admin/users?{query}").json()["results"]]

    assert emails("ordering=email") == ["ada@example.com", "alice@example.com", "bob@example.com"]
    assert emails("ordering=-email")[0] == "bob@example.com"
    assert emails("search=LIC") == ["alice@example.com"]
    assert emails("role=ADMIN") == ["ada@example.com"]
    assert emails("is_active=false") == []
    assert ada.get("/api/v1/admin/users?ordering=password").json()["error"]["param"] == "ordering"
    assert ada.get("/api/v1/admin/users?role=KING").json()["error"]["param"] == "role"


def test_users_come_in_pages_without_a_query_each(ada: Actor, many_rows: None) -> None:
    with CaptureQueriesContext(connection) as queries:
        page = ada.get("/api/v1/admin/users?ordering=email&page_size=30").json()
    assert len(page["results"]) == 30 and page["next"]
    assert page["results"][5]["credits"]["available"] == "99"
    assert len(queries) <= 8
    rest = ada.get(page["next"]).json()["results"]
    assert not {row["id"] for row in rest} & {row["id"] for row in page["results"]}


def test_a_role_is_changed_and_logged(ada: Actor, alice: Actor) -> None:
    response = ada.patch(
        f"/api/v1/admin/users/{alice.user.pk}", {"role": "SUBSCRIBER"}, headers={"X-Request-ID": "role-1"}
    )
    assert (response.status_code, response.json()["role"]) == (200, "SUBSCRIBER")
    assert User.objects.get(pk=alice.user.pk).role == Role.SUBSCRIBER
    assert last_audit() == {"request_id": "role-1", "address": "127.0.0.1", "values": {"role": ["USER", "SUBSCRIBER"]}}


def test_a_person_who_is_switched_off_is_out_at_once(ada: Actor, alice: Actor) -> None:
    assert ada.patch(f"/api/v1/admin/users/{alice.user.pk}", {"is_active": False}).json()["is_active"] is False
    assert alice.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize("body", [{"role": "USER"}, {"is_active": False}])
def test_the_last_admin_stays(ada: Actor, body: dict[str, Any]) -> None:
    response = ada.patch(f"/api/v1/admin/users/{ada.user.pk}", body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == next(iter(body))
    assert "last active administrator" in response.json()["error"]["message"]


def test_an_unknown_user_or_role_is_refused(ada: Actor, alice: Actor) -> None:
    assert ada.patch(f"/api/v1/admin/users/{uuid4()}", {"role": "USER"}).status_code == 404
    response = ada.patch(f"/api/v1/admin/users/{alice.user.pk}", {"role": "KING"})
    assert response.json()["error"]["param"] == "role"


def test_credits_are_granted_with_actor_and_reason(ada: Actor, alice: Actor) -> None:
    alice.set_credits(1)
    response = ada.post(
        f"/api/v1/admin/users/{alice.user.pk}/credits",
        {"amount": "12.5", "reason": "Contest"},
        headers={"X-Request-ID": "grant-1"},
    )
    assert response.status_code == 201
    assert (response.json()["kind"], response.json()["balance_after"]) == ("GRANT", "13.5")
    entry = LedgerEntry.objects.get(kind="GRANT")
    assert (entry.actor, entry.reason, entry.request_id) == (ada.user, "Contest", "grant-1")
    assert last_audit()["values"] == {"balance": ["1", "13.5"]}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"amount": "5"}, 400, "reason"),
        ({"amount": "5", "reason": " "}, 400, "reason"),
        ({"amount": "0", "reason": "x"}, 400, "amount"),
        ({"amount": "much", "reason": "x"}, 400, "amount"),
        ({"amount": "-2", "reason": "x"}, 402, None),
    ],
)
def test_what_cannot_be_moved_is_refused(
    ada: Actor, alice: Actor, body: dict[str, str], status: int, param: str | None
) -> None:
    alice.set_credits(1)
    response = ada.post(f"/api/v1/admin/users/{alice.user.pk}/credits", body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    assert alice.wallet.available == CREDIT


# --- Usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["day", "model", "provider", "user", "organization", "variant", "api_key"])
def test_usage_is_grouped(group: str, ada: Actor, alice: Actor, usage_record: Make) -> None:
    usage_record(alice, experiment="tone", variant="kind")
    body = ada.get(f"/api/v1/admin/usage?group_by={group}").json()
    (row,) = body["results"]
    assert group in row
    assert (row["requests"], row["credits_charged"], row["cost_usd"]) == (1, "1", "0.0005")
    assert body["totals"]["requests"] == 1


def test_usage_by_user_says_who(ada: Actor, alice: Actor, usage_record: Make) -> None:
    usage_record(alice)
    (row,) = ada.get("/api/v1/admin/usage?group_by=user").json()["results"]
    assert (row["user"], row["email"]) == (str(alice.user.pk), "alice@example.com")


def test_csv_has_a_header_a_row_each_and_no_formulas(ada: Actor, alice: Actor, bob: Actor, usage_record: Make) -> None:
    alice.organization.name = '=HYPERLINK("http://evil")'
    alice.organization.save()
    usage_record(alice)
    usage_record(bob, charged=0)
    response = ada.get("/api/v1/admin/usage?group_by=organization&format=csv")
    assert response["Content-Type"].startswith("text/csv")
    text = b"".join(response.streaming_content).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == ["'" + alice.organization.name, bob.organization.name]
    assert rows[0]["credits_charged"] == "1"


def test_csv_is_streamed_by_the_server(server: str, http: Any, ada: Actor, alice: Actor, usage_record: Make) -> None:
    for number in range(30):
        usage_record(alice, model=f"model-{number}", charged=0)
    response = http.get("/api/v1/admin/usage?group_by=model&format=csv", headers=ada.headers)
    assert response.status_code == 200
    assert "content-length" not in response.headers
    assert len(response.text.splitlines()) == 31


def test_an_unknown_grouping_or_format_is_refused(ada: Actor) -> None:
    assert ada.get("/api/v1/admin/usage?group_by=shoe_size").json()["error"]["param"] == "group_by"
    refused = ada.get("/api/v1/admin/usage?format=xml")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "format")


# --- One request ------------------------------------------------------------------------------------------------------


def test_everything_one_request_did(server: str, http: Any, ada: Actor, alice: Actor) -> None:
    alice.set_credits(10)
    headers = {**alice.headers, "X-Request-ID": "trace-me"}
    http.post("/api/v1/chat", json={"message": "Hello"}, headers=headers)
    body = http.get("/api/v1/admin/requests/trace-me", headers=ada.headers).json()
    assert body["request_id"] == "trace-me"
    assert [row["status"] for row in body["usage"]] == ["ok"]
    assert [row["state"] for row in body["holds"]] == ["SETTLED"]
    assert [(row["kind"], row["amount"]) for row in body["entries"]] == [("CHARGE", "-1")]
    assert {row["role"] for row in body["messages"]} == {"user", "assistant"}
    assert body["usage"][0]["hold_id"] == body["holds"][0]["id"]


def test_what_an_administrator_did_is_found_too(ada: Actor, alice: Actor) -> None:
    ada.patch(f"/api/v1/admin/users/{alice.user.pk}", {"role": "SUBSCRIBER"}, headers={"X-Request-ID": "role-2"})
    (change,) = ada.get("/api/v1/admin/requests/role-2").json()["changes"]
    assert (change["actor"], change["values"]) == ("ada@example.com", {"role": ["USER", "SUBSCRIBER"]})


def test_an_unknown_request_is_a_404(ada: Actor) -> None:
    assert ada.get("/api/v1/admin/requests/nothing").status_code == 404


# --- Models -----------------------------------------------------------------------------------------------------------


def test_a_model_is_added_and_serves_at_once(server: str, http: Any, ada: Actor, alice: Actor) -> None:
    alice.set_credits(10)
    body = {"slug": "house", "provider": "demo", "kind": "chat", "request_price": "2.5", "input_cost": "0.15"}
    created = http.post("/api/v1/admin/models", json=body, headers=ada.headers)
    assert created.status_code == 201, created.text
    assert (created.json()["enabled"], created.json()["request_price"]) == (True, "2.5")
    assert (created.json()["input_cost"], created.json()["price_source"]) == ("0.15", "operator")
    answer = http.post("/api/v1/chat", json={"message": "Hello", "model": "house"}, headers=alice.headers)
    assert answer.json()["credits"]["charged"] == "2.5"


def test_a_model_without_any_price_waits_or_is_refused(transactional_db: None, ada: Actor, catalog: None) -> None:
    body = {"slug": "unknown", "provider": "demo", "kind": "chat"}
    refused = ada.post("/api/v1/admin/models", {**body, "enabled": True})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input_price")
    assert not AIModel.objects.filter(slug="unknown").exists()
    assert ada.post("/api/v1/admin/models", body).json()["enabled"] is False
    assert ada.patch("/api/v1/admin/models/unknown", {"enabled": True}).status_code == 400
    enabled = ada.patch("/api/v1/admin/models/unknown", {"enabled": True, "output_price": 3})
    assert (enabled.status_code, enabled.json()["output_price"]) == (200, "3")


def test_a_known_model_takes_the_librarys_price(ada: Actor, catalog: None) -> None:
    created = ada.post("/api/v1/admin/models", {"slug": "gpt-4o-mini", "provider": "openai", "kind": "chat"}).json()
    assert created["enabled"] is True
    assert (created["input_price"], created["output_price"], created["input_cost"]) == ("150", "600", "0.15")
    assert created["price_source"] == "price library"


def test_another_price_keeps_the_history(ada: Actor, catalog: None) -> None:
    body = ada.patch("/api/v1/admin/models/demo", {"request_price": "4"}, headers={"X-Request-ID": "price-1"}).json()
    assert body["request_price"] == "4"
    assert [price.request_price for price in AIModel.objects.get(slug="demo").prices.all()] == [4 * CREDIT, CREDIT]
    assert last_audit() == {"request_id": "price-1", "address": "127.0.0.1", "values": {"request_price": ["1", "4"]}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"slug": "x", "provider": "nobody", "kind": "chat"}, "provider"),
        ({"slug": "x", "provider": "demo", "kind": "video"}, "kind"),
        ({"slug": "demo", "provider": "demo", "kind": "chat"}, "slug"),
        ({"slug": "a b", "provider": "demo", "kind": "chat"}, "slug"),
        ({"slug": "x", "provider": "demo", "kind": "chat", "input_price": "-1"}, "input_price"),
        ({"slug": "x", "provider": "demo", "kind": "chat", "fallbacks": ["nope"]}, "fallbacks"),
        ({"provider": "demo", "kind": "chat"}, "slug"),
    ],
)
def test_a_wrong_model_names_the_field(ada: Actor, catalog: None, body: dict[str, Any], param: str) -> None:
    response = ada.post("/api/v1/admin/models", body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_a_model_can_be_removed(ada: Actor, catalog: None) -> None:
    assert ada.delete("/api/v1/admin/models/demo").status_code == 204
    assert ada.get("/api/v1/admin/models/demo").status_code == 404
    assert last_audit()["values"]["slug"] == ["demo", None]


def test_models_are_listed_without_a_query_each(ada: Actor, catalog: None) -> None:
    for number in range(30):
        ada.post("/api/v1/admin/models", {"slug": f"m{number}", "provider": "demo", "kind": "chat", "input_price": 1})
    with CaptureQueriesContext(connection) as queries:
        page = ada.get("/api/v1/admin/models").json()
    assert len(page["results"]) > 30
    assert len(queries) <= 8


def test_a_request_id_that_two_tenants_used_tells_them_apart(
    ada: Actor, alice: Actor, bob: Actor, usage_record: Callable[..., UsageRecord]
) -> None:
    for actor in (alice, bob):
        usage_record(actor, request_id="same")
    body = ada.get("/api/v1/admin/requests/same").json()
    whose = {str(alice.organization.pk), str(bob.organization.pk)}
    assert {row["id"] for row in body["organizations"]} == whose == {row["organization_id"] for row in body["usage"]}
    alone = ada.get(f"/api/v1/admin/requests/same?organization={bob.organization.pk}").json()
    assert [row["organization_id"] for row in alone["usage"]] == [str(bob.organization.pk)]
    assert ada.get("/api/v1/admin/requests/same?organization=x").status_code == 404
