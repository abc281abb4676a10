"""What browsers are told, and what nobody learns."""

from typing import Any

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
