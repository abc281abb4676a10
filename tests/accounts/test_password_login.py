"""With PASSWORD_LOGIN=false people come by single sign-on alone, and programs with keys."""

from typing import Any

import pytest
from django.test import Client

from accounts import mail_tokens
from aichat.core.config import checks
from tests.conftest import PASSWORD, Actor

NEW = "a completely different passphrase"


@pytest.fixture(autouse=True)
def _no_passwords(settings: Any) -> None:
    settings.PASSWORD_LOGIN, settings.OIDC_ISSUER = False, "https://login.example.com"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/auth/login", {"email": "alice@example.com", "password": PASSWORD}),
        ("/portal/login", {"email": "alice@example.com", "password": PASSWORD}),
        ("/api/v1/auth/register", {"email": "new@example.com", "password": NEW}),
        ("/portal/signup", {"email": "new@example.com", "password": NEW}),
        ("/api/v1/auth/password", {"current_password": PASSWORD, "new_password": NEW}),
        ("/api/v1/auth/password/reset", {"email": "alice@example.com"}),
    ],
)
def test_no_password_is_taken(alice: Actor, path: str, body: dict[str, str]) -> None:
    caller = alice.with_login().client if path.endswith("/password") else Client()
    answer = caller.post(path, body, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
    assert "single sign-on, or an API key" in answer.json()["error"]["message"]


def test_a_code_mailed_before_sets_no_password(alice: Actor, anonymous: Client) -> None:
    body = {"token": mail_tokens.make(mail_tokens.RESET, alice.user), "password": NEW}
    answer = anonymous.post("/api/v1/auth/password/reset/confirm", body, content_type="application/json")
    assert answer.status_code == 403
    alice.user.refresh_from_db()
    assert alice.user.check_password(PASSWORD)


def test_the_admin_site_takes_no_password(ada: Actor, anonymous: Client) -> None:
    page = anonymous.post("/admin/login/", {"username": ada.user.email, "password": PASSWORD})
    assert page.status_code == 200
    assert "Passwords are switched off" in page.content.decode()


def test_keys_and_logins_of_before_go_on(alice: Actor) -> None:
    assert alice.get("/api/v1/me").status_code == 200
    assert alice.with_login().get("/api/v1/me").status_code == 200


def test_the_pages_offer_no_password(db: None, anonymous: Client) -> None:
    for path in ("/login", "/signup", "/account"):
        assert 'type="password"' not in anonymous.get(path).content.decode()


def test_a_server_on_which_nobody_could_log_in_does_not_start(settings: Any) -> None:
    assert checks.somebody_can_log_in() == []
    settings.OIDC_ISSUER = ""
    assert [problem.id for problem in checks.somebody_can_log_in()] == ["aichat.E012"]
