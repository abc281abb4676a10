"""The limits of API keys: where from, what for, which models, how much; changed and rotated while they are in use."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.test import Client

from accounts import key_limits, services
from accounts.authentication import Caller
from accounts.models import AccessToken, Role
from aichat.catalog import snapshot
from aichat.catalog.routing import ModelNotAllowed, candidates
from aichat.core.money import CREDIT
from credits.spending_limits import limits_of
from tests.conftest import Actor

CHAT = "/v1/chat/completions"
QUESTION = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}


def code(response: Any) -> str:
    return str(response.json()["error"]["code"])


def make(actor: Actor, **body: Any) -> dict[str, Any]:
    response = actor.post("/api/v1/api-keys", {"name": "limited", **body})
    assert response.status_code == 201, response.json()
    made: dict[str, Any] = response.json()
    return made


def client(key: str, address: str = "127.0.0.1") -> Client:
    return Client(headers={"Authorization": f"Bearer {key}"}, REMOTE_ADDR=address)


def ask(who: Client, **more: Any) -> Any:
    return who.post(CHAT, {**QUESTION, **more}, content_type="application/json")


LIMITS: dict[str, Any] = {
    "spend_limit": "10",
    "spend_limit_day": "1.5",
    "spend_limit_month": "5",
    "models": ["demo"],
    "allowed_ips": ["203.0.113.7", "10.0.0.0/8", "2001:db8::/32"],
    "scopes": ["chat", "read"],
    "rate_limit": "30/min",
}


def test_a_key_takes_all_limits_and_shows_them(alice: Actor) -> None:
    made = make(alice, **LIMITS)
    assert {name: made[name] for name in LIMITS} == LIMITS
    listed = next(row for row in alice.get("/api/v1/api-keys").json()["results"] if row["id"] == made["id"])
    assert {name: listed[name] for name in LIMITS} == LIMITS
    assert (listed["spent"], listed["last_used_at"]) == ("0", None)
    assert alice.get(f"/api/v1/api-keys/{made['id']}").json() == listed


def test_a_key_without_stated_scopes_has_all(alice: Actor) -> None:
    every = ["chat", "images", "embeddings", "audio", "read", "manage"]
    assert make(alice)["scopes"] == every
    made = make(alice, scopes=every[::-1])
    assert made["scopes"] == every
    assert (
        client(made["key"]).post("/api/v1/api-keys", {"name": "b"}, content_type="application/json").status_code == 201
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"scopes": ["chat", "fly"]}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "chat"}, "scopes"),
        ({"allowed_ips": ["nowhere"]}, "allowed_ips"),
        ({"allowed_ips": ["10.0.0.0/33"]}, "allowed_ips"),
        ({"allowed_ips": ["10.0.0.1"] * 101}, "allowed_ips"),
        ({"models": ["m" * 101]}, "models"),
        ({"models": [["demo"]]}, "models"),
        ({"models": ["nul\x00"]}, "models"),
        ({"models": ["demo"] * 201}, "models"),
        ({"rate_limit": "often"}, "rate_limit"),
        ({"spend_limit_day": "-1"}, "spend_limit_day"),
        ({"spend_limit_month": 10**30}, "spend_limit_month"),
        ({"last_used_at": "2020-01-01T00:00:00Z"}, "last_used_at"),
    ],
)
def test_a_wrong_limit_is_named(alice: Actor, body: dict[str, Any], param: str) -> None:
    response = alice.post("/api/v1/api-keys", {"name": "wrong", **body})
    assert response.status_code == 400
    assert response.json()["error"]["param"].split(".")[0] == param
    made = make(alice)
    changed = alice.patch(f"/api/v1/api-keys/{made['id']}", body)
    assert (changed.status_code, changed.json()["error"]["param"].split(".")[0]) == (400, param)


# --- Addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/me", CHAT])
@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("203.0.113.7", True),
        ("203.0.113.8", False),
        ("10.200.3.4", True),
        ("::ffff:10.1.1.1", True),
        ("2001:db8:1::1", True),
        ("2001:db9::1", False),
        ("", False),
        ("unix:", False),
    ],
)
def test_a_key_works_from_its_addresses_only(
    alice: Actor, catalog: None, inline_database: None, path: str, address: str, is_allowed: bool
) -> None:
    key = make(alice, allowed_ips=LIMITS["allowed_ips"])["key"]
    who = client(key, address)
    response = ask(who) if path == CHAT else who.get(path)
    assert response.status_code == (200 if is_allowed else 403)
    if not is_allowed:
        assert code(response) == "ip_not_allowed"


def test_a_forwarded_address_that_the_server_did_not_accept_counts_for_nothing(alice: Actor) -> None:
    key = make(alice, allowed_ips=["203.0.113.7"])["key"]
    forged = {"X-Forwarded-For": "203.0.113.7", "X-Real-IP": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    assert code(client(key, "198.51.100.1").get("/api/v1/me", headers=forged)) == "ip_not_allowed"


# --- Scopes -----------------------------------------------------------------------------------------------------------


def test_a_scope_that_a_key_lacks_is_named(alice: Actor, catalog: None, inline_database: None) -> None:
    reading = client(make(alice, scopes=["read"])["key"])
    refused = ask(reading)
    assert (refused.status_code, code(refused)) == (403, "scope_missing")
    assert refused.json()["error"]["scope"] == "chat" and "`chat`" in refused.json()["error"]["message"]
    assert reading.get("/api/v1/credits").status_code == 200
    chatting = client(make(alice, scopes=["chat"])["key"])
    assert ask(chatting).status_code == 200
    assert code(chatting.get("/api/v1/credits")) == "scope_missing"
    assert chatting.get("/v1/models").status_code == 200


@pytest.mark.parametrize("limit", [*LIMITS, "expires_at"])
def test_a_key_with_any_limit_manages_nothing(actor: Callable[..., Actor], limit: str) -> None:
    root = actor("root", Role.ADMIN)
    limits = {**LIMITS, "expires_at": "2031-01-01T00:00:00Z", "allowed_ips": ["127.0.0.1"]}
    made = make(root, **{limit: limits[limit]})
    who = client(made["key"])
    for method, path, body in (
        ("POST", "/api/v1/api-keys", {"name": "stronger"}),
        ("PATCH", f"/api/v1/api-keys/{made['id']}", {limit: None}),
        ("POST", f"/api/v1/api-keys/{made['id']}/rotate", {}),
        ("DELETE", f"/api/v1/api-keys/{made['id']}", {}),
        ("GET", "/api/v1/admin/users", None),
    ):
        response = who.generic(method, path, json.dumps(body), "application/json")
        assert (response.status_code, code(response)) == (403, "permission_denied"), path


# --- Models -----------------------------------------------------------------------------------------------------------


def test_a_key_calls_and_sees_its_models_only(alice: Actor, catalog: None, inline_database: None) -> None:
    who = client(make(alice, models=["demo"])["key"])
    other = client(make(alice, models=["demo-image"])["key"])
    assert ask(who).status_code == 200
    assert code(ask(other)) == "model_not_allowed"
    assert code(ask(other, model="auto")) == "model_not_allowed"
    assert [row["id"] for row in who.get("/v1/models").json()["data"]] == ["auto", "demo"]
    assert "demo" not in {row["id"] for row in other.get("/v1/models").json()["data"]}
    assert other.get("/v1/models/demo").status_code == 404


def test_fallbacks_and_the_default_route_keep_to_the_models_of_a_key(alice: Actor, catalog: None) -> None:
    demo = replace(snapshot.current()["demo"], fallbacks=("second",), auto_position=1)
    second = replace(demo, slug="second", fallbacks=("demo",), auto_position=2, aliases=("earlier",))
    models = {"demo": demo, "second": second}

    def route(slug: str, allowed: list[str]) -> list[str]:
        key = AccessToken.objects.get(id=make(alice, models=allowed)["id"])
        return [model.slug for model in candidates(models, Caller(alice.user, alice.organization, key), slug)]

    assert route("demo", []) == ["demo", "second"]
    assert route("demo", ["demo"]) == ["demo"]
    assert route("auto", ["second"]) == ["second"]
    assert route("second", ["earlier", "demo"]) == ["second", "demo"]
    with pytest.raises(ModelNotAllowed):
        route("demo", ["second"])


def test_a_key_whose_models_are_gone_sees_none(alice: Actor, catalog: None) -> None:
    who = client(make(alice, models=["gone"])["key"])
    assert who.get("/v1/models").json()["data"] == []


# --- Changes ----------------------------------------------------------------------------------------------------------


def test_a_change_holds_for_the_next_request(alice: Actor, catalog: None, inline_database: None) -> None:
    made = make(alice)
    who = client(made["key"])
    assert ask(who).status_code == 200
    changed = alice.patch(f"/api/v1/api-keys/{made['id']}", {"scopes": ["read"], "name": "reader"})
    assert (changed.status_code, changed.json()["scopes"], changed.json()["name"]) == (200, ["read"], "reader")
    assert "key" not in changed.json()
    assert code(ask(who)) == "scope_missing"
    alice.patch(f"/api/v1/api-keys/{made['id']}", {"scopes": None, "models": ["other"]})
    assert code(ask(who)) == "model_not_allowed"
    alice.patch(f"/api/v1/api-keys/{made['id']}", {"models": None, "allowed_ips": ["192.0.2.1"]})
    assert code(ask(who)) == "ip_not_allowed"
    alice.patch(f"/api/v1/api-keys/{made['id']}", {"allowed_ips": []})
    assert ask(who).status_code == 200


def test_a_change_of_one_field_keeps_the_others(alice: Actor) -> None:
    made = make(alice, **LIMITS)
    changed = alice.patch(f"/api/v1/api-keys/{made['id']}", {"spend_limit_day": None}).json()
    assert {name: changed[name] for name in LIMITS} == {**LIMITS, "spend_limit_day": None}


def test_a_stranger_changes_and_rotates_nothing(alice: Actor, charlie: Actor) -> None:
    made = make(alice)
    assert charlie.patch(f"/api/v1/api-keys/{made['id']}", {"name": "mine"}).status_code == 404
    assert charlie.post(f"/api/v1/api-keys/{made['id']}/rotate").status_code == 404
    assert charlie.get(f"/api/v1/api-keys/{made['id']}").status_code == 404


# --- Rotation ---------------------------------------------------------------------------------------------------------


def test_a_rotated_key_has_a_new_secret_and_the_same_limits(alice: Actor) -> None:
    made = make(alice, **{**LIMITS, "allowed_ips": ["127.0.0.1"]}, expires_at="2031-01-01T00:00:00Z")
    response = alice.post(f"/api/v1/api-keys/{made['id']}/rotate")
    new = response.json()
    assert (response.status_code, new["id"]) == (201, made["id"])
    assert {**new, "key": "", "prefix": "", "created_at": ""} == {**made, "key": "", "prefix": "", "created_at": ""}
    assert code(client(made["key"]).get("/api/v1/me")) == "invalid_api_key"
    assert client(new["key"]).get("/api/v1/me").status_code == 200
    assert [row["id"] for row in alice.get("/api/v1/api-keys").json()["results"]].count(made["id"]) == 1


def test_the_old_key_lives_for_the_overlap_and_manages_until_then(alice: Actor) -> None:
    made = make(alice)
    new = alice.post(f"/api/v1/api-keys/{made['id']}/rotate", {"overlap_seconds": 3600}).json()
    old = client(made["key"])
    assert old.post("/api/v1/api-keys", {"name": "b"}, content_type="application/json").status_code == 201
    row = next(row for row in old.get("/api/v1/api-keys").json()["results"] if row["replaced_by"] == made["id"])
    assert row["expires_at"] is not None and row["id"] != made["id"]
    again = alice.post(f"/api/v1/api-keys/{row['id']}/rotate")
    assert (again.status_code, code(again)) == (400, "invalid_request")
    assert alice.patch(f"/api/v1/api-keys/{row['id']}", {"expires_at": None}).status_code == 400
    assert alice.delete(f"/api/v1/api-keys/{made['id']}").status_code == 204
    assert code(old.get("/api/v1/me")) == code(client(new["key"]).get("/api/v1/me")) == "invalid_api_key"


def test_a_key_that_is_rotated_while_it_is_revoked_is_dead(alice: Actor) -> None:
    made = make(alice)
    read_before = AccessToken.objects.get(id=made["id"])
    new = alice.post(f"/api/v1/api-keys/{made['id']}/rotate").json()
    services.revoke(read_before)
    assert code(client(new["key"]).get("/api/v1/me")) == "invalid_api_key"


def test_an_overlap_ends_and_never_outlives_the_key(alice: Actor) -> None:
    made = make(alice, expires_at="2031-01-01T00:00:00Z")
    alice.post(f"/api/v1/api-keys/{made['id']}/rotate", {"overlap_seconds": 60})
    old = AccessToken.objects.get(replaced_by=made["id"])
    assert old.expiry.year < 2031 and old.is_limited
    AccessToken.objects.filter(pk=old.pk).update(expiry=old.created)
    assert code(client(made["key"]).get("/api/v1/me")) == "invalid_api_key"
    assert str(old.id) not in {row["id"] for row in alice.get("/api/v1/api-keys").json()["results"]}
    for wrong in (-1, 10**9, "soon"):
        response = alice.post(f"/api/v1/api-keys/{made['id']}/rotate", {"overlap_seconds": wrong})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "overlap_seconds")


def test_a_rotation_starts_no_new_spending_limit(alice: Actor) -> None:
    made = make(alice, spend_limit="1", spend_limit_day="2", spend_limit_month="3")

    def counters() -> list[tuple[Any, int]]:
        rows = AccessToken.objects.filter(name="limited").order_by("created")
        return [
            (limit.counter_id, limit.amount)
            for row in rows
            for limit in limits_of(Caller(alice.user, row.organization, row))
        ]

    before = counters()
    assert [amount for _, amount in before] == [CREDIT, 2 * CREDIT, 3 * CREDIT]
    alice.post(f"/api/v1/api-keys/{made['id']}/rotate", {"overlap_seconds": 60})
    assert counters() == before * 2


@pytest.mark.parametrize("limit", ["spend_limit_day", "spend_limit_month"])
def test_a_keys_period_limit_refuses_what_is_over_it(
    alice: Actor, catalog: None, inline_database: None, limit: str
) -> None:
    made = make(alice, **{limit: "1"})
    who = client(made["key"])
    assert ask(who).status_code == 200  # the demo costs 1 credit
    refused = ask(who, messages=[{"role": "user", "content": "Another"}])
    assert (refused.status_code, code(refused)) == (429, "quota_exceeded")
    assert refused.json()["error"]["limit"].startswith("this API key for a")
    listed = next(row for row in alice.get("/api/v1/api-keys").json()["results"] if row["id"] == made["id"])
    assert listed["spent"] == "1"


# --- Last use ---------------------------------------------------------------------------------------------------------


def test_the_last_use_is_written_beside_the_request_and_once_a_minute(alice: Actor) -> None:
    made = make(alice)
    who = client(made["key"])
    for _ in range(3):
        assert who.get("/api/v1/me").status_code == 200
    row = AccessToken.objects.get(id=made["id"])
    assert row.last_used_at is None
    noted = [item for item in key_limits.last_uses._waiting if item[0] == row.pk]
    assert len(noted) == 1
    key_limits.write_last_uses(noted)
    row.refresh_from_db()
    assert row.last_used_at == noted[0][1]
    key_limits.write_last_uses([(row.pk, noted[0][1] + timedelta(seconds=30))])  # another process
    row.refresh_from_db()
    assert row.last_used_at == noted[0][1]
    assert alice.get(f"/api/v1/api-keys/{made['id']}").json()["last_used_at"] is not None


def test_a_refused_use_is_no_use(alice: Actor) -> None:
    made = make(alice, allowed_ips=["192.0.2.1"])
    client(made["key"]).get("/api/v1/me")
    assert not [item for item in key_limits.last_uses._waiting if item[0] == AccessToken.objects.get(id=made["id"]).pk]


# --- Behind a proxy ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("forwarded", "is_allowed"),
    [
        ("203.0.113.7", True),  # what the trusted proxy on this host says
        ("198.51.100.1, 203.0.113.7", True),  # of a list only what the proxy added counts
        ("203.0.113.7, 198.51.100.1", False),  # the client wrote the first itself
        ("", False),
    ],
)
def test_the_address_is_what_the_trusted_proxy_added(
    alice: Actor, catalog: None, server: str, forwarded: str, is_allowed: bool
) -> None:
    key = make(alice, allowed_ips=["203.0.113.7"])["key"]
    headers = {"Authorization": f"Bearer {key}", **({"X-Forwarded-For": forwarded} if forwarded else {})}
    for response in (
        httpx.get(f"{server}/api/v1/me", headers=headers),
        httpx.post(f"{server}{CHAT}", json=QUESTION, headers=headers),
    ):
        assert response.status_code == (200 if is_allowed else 403)
