"""`GET /api/v1/admin/audit`: who changed what, from where, in which request."""

import csv
import io
from typing import Any

import httpx
import pytest

from aichat.core.database import batches
from tests.conftest import Actor

AUDIT = "/api/v1/admin/audit"


def listed(ada: Actor, **query: str) -> list[dict[str, Any]]:
    response = ada.client.get(AUDIT, query)
    assert response.status_code == 200, response.content
    rows: list[dict[str, Any]] = response.json()["results"]
    return rows


@pytest.fixture
def key(alice: Actor) -> str:
    """The ID of a key that Alice made, changed, rotated and revoked."""
    asking = {"headers": {"X-Request-ID": "making"}, "REMOTE_ADDR": "203.0.113.7"}
    made = alice.post("/api/v1/api-keys", {"name": "ci", "spend_limit": "2"}, **asking).json()
    address = f"/api/v1/api-keys/{made['id']}"
    assert alice.patch(address, {"name": "=cmd()", "scopes": ["chat"]}).status_code == 200
    assert alice.post(f"{address}/rotate", {"overlap_seconds": 60}).status_code == 201
    assert alice.delete(address).status_code == 204
    return str(made["id"])


def test_what_is_done_to_a_key_is_logged(ada: Actor, alice: Actor, key: str) -> None:
    rows = listed(ada, object_id=key)
    assert [row["action"] for row in rows] == ["revoked", "rotated", "changed", "added"]
    made, changed = rows[-1], rows[-2]
    assert (made["actor"], made["actor_id"]) == ("alice@example.com", str(alice.user.pk))
    assert (made["address"], made["request_id"]) == ("203.0.113.7", "making")
    assert (made["object_type"], made["object_id"]) == ("accesstoken", key)
    assert made["changes"]["name"] == [None, "ci"]
    assert changed["changes"] == {"name": ["ci", "=cmd()"], "scopes": ["", "chat"]}
    assert rows[1]["reason"] == "overlap 60 s"


def test_no_secret_is_in_the_log(ada: Actor, alice: Actor) -> None:
    made = alice.post("/api/v1/api-keys", {"name": "ci"}).json()
    new = alice.post(f"/api/v1/api-keys/{made['id']}/rotate").json()
    written = ada.get(AUDIT).content.decode()
    assert made["key"] not in written and new["key"] not in written


def test_the_log_is_filtered(ada: Actor, alice: Actor, key: str) -> None:
    assert ada.patch(f"/api/v1/admin/users/{alice.user.pk}", {"role": "SUBSCRIBER"}).status_code == 200
    assert {row["actor"] for row in listed(ada)} == {"ada@example.com", "alice@example.com"}
    assert {row["object_type"] for row in listed(ada, actor="ADA@example.com")} == {"user"}
    assert len(listed(ada, actor=str(alice.user.pk))) == 4
    assert [row["action"] for row in listed(ada, action="rotated")] == ["rotated"]
    assert len(listed(ada, action="added")) == 1
    assert {row["actor"] for row in listed(ada, object_type="user")} == {"ada@example.com"}
    assert [row["action"] for row in listed(ada, request_id="making")] == ["added"]
    assert (
        listed(ada, to="2020-01-01T00:00:00Z")
        == listed(ada, actor="nobody@example.com")
        == listed(ada, actor="x")
        == []
    )
    newest = listed(ada)[0]["created_at"]
    assert [row["created_at"] for row in listed(ada, **{"from": newest})] == [newest]


@pytest.mark.parametrize(
    "query", [{"action": "flown"}, {"from": "soon"}, {"request_id": "a b"}, {"object_type": "x" * 101}, {"cursor": "x"}]
)
def test_a_wrong_filter_is_named(ada: Actor, query: dict[str, str]) -> None:
    response = ada.client.get(AUDIT, query)
    assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(query)))


def test_the_log_is_paged(ada: Actor, alice: Actor, key: str) -> None:
    first = ada.get(f"{AUDIT}?page_size=3").json()
    second = ada.get(first["next"]).json()
    ids = [row["id"] for row in first["results"] + second["results"]]
    assert len(set(ids)) == 4 and second["next"] is None


def test_csv_has_all_of_it_and_no_formulas(ada: Actor, alice: Actor, key: str) -> None:
    response = ada.get(f"{AUDIT}?format=csv&object_type=accesstoken&page_size=1")
    assert response["Content-Type"].startswith("text/csv")
    text = b"".join(response.streaming_content).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["action"] for row in rows] == ["revoked", "rotated", "changed", "added"]
    assert rows[0]["object"].startswith("'=cmd()")


def test_a_server_sends_the_whole_log_as_csv(
    http: httpx.Client, ada: Actor, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are read while they are sent: not on the event loop, and by several queries."""
    monkeypatch.setattr(batches.rows_by_key, "__defaults__", (2,))
    answer = http.get(AUDIT, params={"format": "csv"}, headers={"Authorization": f"Bearer {ada.token}"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["action"] for row in rows] == ["revoked", "rotated", "changed", "added"]


def test_the_log_is_for_administrators(alice: Actor) -> None:
    assert alice.get(AUDIT).status_code == 403
