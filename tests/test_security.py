"""What browsers are told, and what nobody learns."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from tests.conftest import PASSWORD, Actor


def directives(response: Any) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in response["Content-Security-Policy"].split(";"))
    return {name: value for name, _, value in parts}


def test_an_api_answer_allows_a_browser_nothing(alice: Actor) -> None:
    assert set(directives(alice.get("/api/v1/me")).values()) == {"'none'"}


@pytest.mark.parametrize("path", ["/admin/login/", "/api/docs/"])
def test_pages_run_no_script_written_into_them(client: Client, db: None, path: str) -> None:
    response = client.get(path)
    policy = directives(response)
    assert "unsafe-inline" not in policy["script-src"]
    assert policy["frame-ancestors"] == "'none'"
    assert not any("*" in value or "http" in value for value in policy.values())
    assert b"<script>" not in response.content


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_a_probe_may_ask_an_address_that_is_no_allowed_host(anonymous: Client, db: None, path: str) -> None:
    assert anonymous.get(path, headers={"Host": "10.0.0.7:8000"}).status_code == 200
    assert anonymous.get("/api/v1/me", headers={"Host": "10.0.0.7:8000"}).status_code == 400


@pytest.mark.parametrize("path", ["/api/docs/", "/api/schema/", "/healthz"])
def test_a_wrong_key_on_a_public_page_is_no_500(db: None, path: str) -> None:
    assert Client(headers={"Authorization": "Bearer sk-wrong"}).get(path).status_code == 200


@pytest.mark.parametrize("email", ["alice@example.com", "nobody@example.com"])
def test_a_failed_login_does_not_say_whether_the_account_exists(anonymous: Client, alice: Actor, email: str) -> None:
    tried = {"email": email, "password": "wrong"}
    response = anonymous.post("/api/v1/auth/login", tried, content_type="application/json")
    assert (response.status_code, response.json()["error"]["message"]) == (401, "E-mail or password is wrong.")


def test_a_session_cookie_is_out_of_reach_of_scripts_and_other_sites(client: Client, ada: Actor) -> None:
    client.post("/admin/login/", {"username": ada.user.email, "password": PASSWORD})
    cookie = client.cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize("term", ["%", "_", "a%e", ".*", "^", "\\"])
def test_a_wildcard_in_a_search_is_an_ordinary_character(ada: Actor, alice: Actor, term: str) -> None:
    def found(search: str) -> list[str]:
        return [row["email"] for row in ada.get(f"/api/v1/admin/users?search={quote(search)}").json()["results"]]

    assert found("alice@") == [alice.user.email]
    assert found(term) == []


def test_the_tests_that_the_security_page_names_are_there() -> None:
    root = Path(__file__).parents[1]
    named = [
        row for row in (root / "SECURITY.md").read_text().splitlines() if row.startswith("| ") and "`tests/" in row
    ]
    for row in named:
        files = [(root / file).read_text() for file in re.findall(r"`(tests/[\w/]+\.py)`", row)]
        for name in re.findall(r"`(…?(?:test_|_its_)\w+…?)`", row):
            assert any(name.strip("…") in text for text in files), name
    assert len(named) >= 10
