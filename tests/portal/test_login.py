"""The portal's login: a cookie that no script can read, good for requests of the portal's own pages alone."""

import importlib
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.http.cookie import SimpleCookie
from django.test import Client
from django.urls import clear_url_caches

from aichat import urls
from tests.conftest import PASSWORD, Actor

PORTAL = {"X-Portal": "1"}


def log_in(browser: Client, actor: Actor) -> SimpleCookie:
    body = {"email": actor.user.email, "password": PASSWORD}
    answer = browser.post("/portal/login", body, content_type="application/json")
    assert answer.status_code == 200
    assert "token" not in answer.json()
    return browser.cookies


@pytest.fixture
def browser() -> Client:
    return Client()


@pytest.mark.parametrize(
    "path",
    [
        "/", "/images", "/credits", "/keys", "/team", "/account", "/login", "/signup", "/reset-password", "/verify-email",
        "/accept-invitation",
    ],
)  # fmt: skip
def test_every_page_opens_and_runs_scripts_of_ours_only(browser: Client, db: None, path: str) -> None:
    page = browser.get(path)
    assert page.status_code == 200
    policy = page["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


def test_the_login_cookie_is_kept_from_scripts_and_from_other_sites(browser: Client, alice: Actor) -> None:
    cookie = log_in(browser, alice)[settings.LOGIN_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    assert browser.get("/api/v1/me", headers=PORTAL).json()["email"] == alice.user.email


def test_a_request_that_no_page_of_ours_sent_has_no_login(browser: Client, alice: Actor) -> None:
    log_in(browser, alice)
    assert browser.get("/api/v1/me").status_code == 401
    assert "x-portal" not in settings.CORS_ALLOW_HEADERS


def test_a_key_in_the_header_counts_before_the_cookie(browser: Client, alice: Actor, bob: Actor) -> None:
    log_in(browser, alice)
    assert browser.get("/api/v1/me", headers={**PORTAL, **bob.headers}).json()["email"] == bob.user.email


def test_logging_out_ends_the_login_for_a_thief_of_the_cookie_too(browser: Client, alice: Actor) -> None:
    stolen = log_in(browser, alice)[settings.LOGIN_COOKIE_NAME].value
    assert browser.post("/portal/logout", headers=PORTAL).status_code == 204
    assert browser.cookies[settings.LOGIN_COOKIE_NAME].value == ""
    browser.cookies[settings.LOGIN_COOKIE_NAME] = stolen
    assert browser.get("/api/v1/me", headers=PORTAL).status_code == 401


def test_another_sites_form_can_log_nobody_in(browser: Client, alice: Actor) -> None:
    answer = browser.post("/portal/login", {"email": alice.user.email, "password": PASSWORD})
    assert answer.status_code == 415


def test_a_wrong_password_makes_no_cookie(browser: Client, alice: Actor) -> None:
    body = {"email": alice.user.email, "password": "wrong"}
    assert browser.post("/portal/login", body, content_type="application/json").status_code == 401
    assert settings.LOGIN_COOKIE_NAME not in browser.cookies


@pytest.fixture
def no_portal() -> Iterator[None]:
    original = settings.PORTAL
    try:
        settings.PORTAL = False
        clear_url_caches()
        importlib.reload(urls)
        yield
    finally:
        settings.PORTAL = original
        clear_url_caches()
        importlib.reload(urls)


def test_without_the_portal_the_pages_of_the_account_stay(browser: Client, no_portal: None, db: None) -> None:
    response = browser.get("/")
    assert (response.status_code, response["Location"]) == (302, "/admin/")
    for path in ("/login", "/account", "/reset-password", "/verify-email", "/accept-invitation"):
        page = browser.get(path)
        assert page.status_code == 200 and "<nav" not in page.content.decode()
    assert browser.get("/credits").status_code == 404


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("", "/account"),
        ("login", "/login"),
        ("login/?next=/admin/", "/login?next=%2Fadmin%2F"),
        ("signup/?invitation=x", "/signup?invitation=x"),
        ("logout/", "/account#logins"),
        ("password/reset/", "/reset-password"),
        ("password/reset/key/abc:d-e/", "/reset-password?token=abc%3Ad-e"),
        ("password/change/", "/account#change-password"),
        ("confirm-email/abc:d-e/", "/verify-email?token=abc%3Ad-e"),
        ("2fa/", "/account#second-factor"),
        ("2fa/totp/activate/", "/account#second-factor"),
        ("2fa/recovery-codes/generate", "/account#second-factor"),
        ("2fa/webauthn/add/", "/account#passkeys"),
        ("2fa/authenticate/", "/login"),
        ("sessions/", "/account#logins"),
        ("oidc/keycloak/login/?next=/credits", "/accounts/oidc/login?next=%2Fcredits"),
    ],
)
def test_the_usual_paths_of_accounts_lead_to_the_pages(browser: Client, path: str, page: str) -> None:
    answer = browser.get(f"/accounts/{path}")
    assert (answer.status_code, answer["Location"]) == (302, page)
    assert browser.post("/accounts/login/").status_code == 405
    assert browser.get("/accounts/loginx").json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_a_login_leads_on_within_this_server_only(browser: Client, target: str) -> None:
    assert 'data-next="/"' in browser.get("/login", {"next": target}).content.decode()
    assert 'data-next="/keys?x=1"' in browser.get("/login", {"next": "/keys?x=1"}).content.decode()


def test_who_is_logged_in_on_the_pages_is_in_the_admin_site_and_one_logout_ends_both(
    browser: Client, ada: Actor, alice: Actor
) -> None:
    log_in(browser, alice)
    assert browser.get("/admin/login/?next=/admin/").status_code == 200, "not for a USER"
    log_in(browser, ada)
    answer = browser.get("/admin/login/?next=/admin/accounts/user/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/accounts/user/")
    assert browser.get("/admin/accounts/user/").status_code == 200
    assert browser.get("/admin/login/?next=//evil.example")["Location"] == "/admin/"
    assert browser.post("/portal/logout", headers=PORTAL).status_code == 204
    assert browser.get("/admin/accounts/user/").status_code == 302
    log_in(browser, ada)
    browser.get("/admin/login/")
    assert browser.post("/admin/logout/").status_code == 200
    assert browser.get("/api/v1/me", headers=PORTAL).status_code == 401
