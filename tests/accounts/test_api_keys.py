"""API keys: shown once, stored hashed, dead the moment they are revoked."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import AccessToken
from tests.conftest import Actor


def code(response: Any) -> str:
    return str(response.json()["error"]["code"])


def use(key: str) -> Any:
    return Client().get("/api/v1/me", headers={"Authorization": f"Bearer {key}"})


def make(actor: Actor, **body: Any) -> Any:
    return actor.post("/api/v1/api-keys", {"name": "laptop", **body})


def test_a_key_is_shown_once_and_works(alice: Actor) -> None:
    response = make(alice)
    assert response.status_code == 201
    body = response.json()
    assert body["key"].startswith("sk-") and body["key"].startswith(body["prefix"])
    assert body["organization"] == str(alice.organization.pk)
    assert use(body["key"]).status_code == 200
    listed = alice.get("/api/v1/api-keys").json()["results"]
    assert body["id"] in {row["id"] for row in listed}
    assert all("key" not in row for row in listed)


def test_only_a_digest_of_the_key_is_stored(alice: Actor) -> None:
    key = make(alice).json()["key"]
    row = AccessToken.objects.get(name="laptop")
    stored = " ".join(str(getattr(row, field.attname)) for field in row._meta.concrete_fields)
    assert key not in stored and key[len(row.prefix) :] not in stored
    assert len(row.prefix) < len(key) / 2


def test_a_revoked_key_is_refused_with_the_next_request(alice: Actor) -> None:
    made = make(alice).json()
    assert alice.delete(f"/api/v1/api-keys/{made['id']}").status_code == 204
    assert (use(made["key"]).status_code, code(use(made["key"]))) == (401, "invalid_api_key")
    assert alice.delete(f"/api/v1/api-keys/{made['id']}").status_code == 404
    assert made["id"] not in {row["id"] for row in alice.get("/api/v1/api-keys").json()["results"]}


def test_a_key_works_until_it_expires(alice: Actor) -> None:
    made = make(alice, expires_at=(timezone.now() + timedelta(hours=1)).isoformat()).json()
    assert use(made["key"]).status_code == 200
    AccessToken.objects.filter(id=made["id"]).update(expiry=timezone.now())
    assert code(use(made["key"])) == "invalid_api_key"


def test_an_expiry_is_stored_exactly(alice: Actor) -> None:
    for moment in ("2031-05-06T07:08:09.123000Z", "9999-12-31T23:59:59Z"):
        response = make(alice, expires_at=moment)
        assert (response.status_code, response.json()["expires_at"]) == (201, moment)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"name": ""}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"name": None}, "name"),
        ({"name": ["a"]}, "name"),
    ],
)
def test_a_wrong_field_is_named(alice: Actor, body: dict[str, Any], param: str) -> None:
    response = make(alice, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_a_key_that_expires_makes_no_further_keys(alice: Actor) -> None:
    key = make(alice, expires_at="2031-01-01T00:00:00Z").json()["key"]
    response = Client().post(
        "/api/v1/api-keys",
        {"name": "for ever"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {key}"},
    )
    assert code(response) == "permission_denied"


def test_a_strangers_key_does_not_exist(alice: Actor, charlie: Actor) -> None:
    made = make(alice).json()
    assert charlie.delete(f"/api/v1/api-keys/{made['id']}").status_code == 404
    assert use(made["key"]).status_code == 200


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "not_authenticated"),
        ("Bearer", "not_authenticated"),
        ("Bearer  ", "not_authenticated"),
        ("Basic YTpi", "not_authenticated"),
        ("Bearer sk-unknown", "invalid_api_key"),
        ("Bearer sk-ключ-🔑", "invalid_api_key"),
        ("Bearer sk-\x00\x01", "invalid_api_key"),
        ("Bearer " + "x" * 10_000, "invalid_api_key"),
        ("Bearer a b c", "invalid_api_key"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/me", "/v1/chat/completions"])
@pytest.mark.django_db
def test_a_garbled_key_is_a_401(anonymous: Client, path: str, header: str, expected: str) -> None:
    headers = {"Authorization": header} if header else {}
    method = anonymous.get if path.endswith("me") else anonymous.post
    response = method(path, headers=headers)
    assert (response.status_code, code(response)) == (401, expected)
    assert response["WWW-Authenticate"] == "Bearer"


def test_the_scheme_is_read_in_any_case(alice: Actor) -> None:
    response = Client().get("/api/v1/me", headers={"Authorization": f"bearer   {alice.key}"})
    assert response.status_code == 200
