"""Logging in at a real OpenID Connect provider with a browser: for the portal, and for the admin site."""

import base64
import hashlib
import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from accounts import oidc, sso
from accounts.models import AccessToken, Membership, Organization, Role, User
from accounts.services import create_api_key
from accounts.teams import create_team
from aichat.core.admin import audit_log
from aichat.core.config import checks, env
from tests.accounts.test_oidc import Issuer, _remember_providers, issuer, providers
from tests.conftest import PASSWORD, Actor

__all__ = ["_remember_providers", "issuer"]
CALLBACK = "/accounts/oidc/login/callback"


@pytest.fixture(autouse=True)
def _client(_remember_providers: None, settings: Any, issuer: Issuer, db: None) -> None:
    settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET, settings.OIDC_AUDIENCE = "browser-client", "secret", ""


def at_issuer(issuer: Issuer, address: str, subject: str = "dora", **claims: Any) -> str:
    """Log in at the issuer, and return the address to which it sends the browser back."""
    issuer.http.put(f"/users/{subject}", json=claims).raise_for_status()
    return str(issuer.http.post(address, data={"sub": subject}).headers["Location"])


def back(browser: Client, address: str) -> Any:
    found = urlsplit(address)
    assert found.path == CALLBACK
    return browser.get(f"{found.path}?{found.query}")


def log_in(browser: Client, issuer: Issuer, target: str = "/", **claims: Any) -> Any:
    begun = browser.get("/accounts/oidc/login", {"next": target})
    assert begun.status_code == 302, begun.content
    return back(browser, at_issuer(issuer, begun["Location"], **claims))


def me(browser: Client) -> Any:
    return browser.get("/api/v1/me", headers={"X-Portal": "1"})


def test_the_portal_lets_in_whom_the_issuer_sends_and_makes_them_at_first_sight(issuer: Issuer) -> None:
    browser = Client()
    done = log_in(browser, issuer, "/account?x=1", email="dora@example.com", email_verified=True, name="Dora")
    assert (done.status_code, done["Location"], done["Cache-Control"]) == (302, "/account?x=1", "no-store")
    cookie = done.cookies[settings.LOGIN_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    answer = me(browser).json()
    assert (answer["email"], answer["role"], answer["credits"]["balance"]) == ("dora@example.com", "USER", "100")
    log_in(Client(), issuer, email="dora@example.com", email_verified=True)
    assert User.objects.count() == 1


def test_what_goes_to_the_issuer_has_pkce_state_and_nonce(issuer: Issuer) -> None:
    begun = Client().get("/accounts/oidc/login")
    asked = {name: value for name, (value,) in parse_qs(urlsplit(begun["Location"]).query).items()}
    assert asked.pop("redirect_uri") == f"http://testserver{CALLBACK}"
    assert (asked["client_id"], asked["response_type"], asked["code_challenge_method"]) == (
        "browser-client", "code", "S256",
    )  # fmt: skip
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    cookie = begun.cookies["aichat_sso"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/accounts/")
    assert "secret" not in begun["Location"]


def test_another_browsers_login_is_none_of_mine(issuer: Issuer) -> None:
    victim, attacker = Client(), Client()
    begun = attacker.get("/accounts/oidc/login")
    lure = at_issuer(issuer, begun["Location"], "mallory")
    assert back(victim, lure).status_code == 400, "nobody is logged in as somebody else by a link"
    victim.get("/accounts/oidc/login")
    assert back(victim, lure).status_code == 400
    assert settings.LOGIN_COOKIE_NAME not in victim.cookies


def test_the_code_is_exchanged_with_the_verifier_of_the_challenge(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, str]] = []
    exchange = oidc.exchange

    def noted(fields: dict[str, str]) -> str:
        sent.append(fields)
        return exchange(fields)

    monkeypatch.setattr(oidc, "exchange", noted)
    browser = Client()
    begun = browser.get("/accounts/oidc/login")["Location"]
    assert back(browser, at_issuer(issuer, begun)).status_code == 302
    digest = hashlib.sha256(sent[0]["code_verifier"].encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert parse_qs(urlsplit(begun).query)["code_challenge"] == [challenge]


def test_a_token_made_for_another_login_or_client_is_refused(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    _, attempt = sso.begin("/", "http://testserver/")
    answer = {"state": attempt.state, "code": "x"}
    for audience in ("browser-client", "other-client"):
        monkeypatch.setattr(oidc, "exchange", lambda fields, audience=audience: issuer.token(audience=audience))
        with pytest.raises(oidc.InvalidJwt):
            sso.finish(attempt, answer, "http://testserver/")
    assert not User.objects.exists()


def test_a_wrong_code_and_a_refusal_are_said_in_words(issuer: Issuer) -> None:
    browser = Client()
    state = parse_qs(urlsplit(browser.get("/accounts/oidc/login")["Location"]).query)["state"][0]
    wrong = browser.get(CALLBACK, {"state": state, "code": "made-up"})
    assert (wrong.status_code, "refused this login" in wrong.content.decode()) == (401, True)
    refused = browser.get(CALLBACK, {"state": state, "error": "access_denied"})
    assert (refused.status_code, "access_denied" in refused.content.decode()) == (403, True)
    assert "text/html" in refused["Content-Type"] and "style-src 'self'" in refused["Content-Security-Policy"]
    assert "<b>" not in browser.get(CALLBACK, {"state": state, "error": "<b>"}).content.decode()


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_the_way_back_is_a_path_of_ours(issuer: Issuer, target: str) -> None:
    assert log_in(Client(), issuer, target)["Location"] == "/"


def test_the_admin_site_is_for_administrators_of_the_issuers_claim(issuer: Issuer, settings: Any) -> None:
    settings.OIDC_ROLE_CLAIM, settings.OIDC_ROLE_MAP = "groups", {"staff": "ADMIN"}
    settings.ADMIN_MFA, settings.PASSWORD_LOGIN = "required", False
    browser = Client()
    page = browser.get("/admin/login/?next=/admin/").content.decode()
    assert "/accounts/oidc/login?next=%2Fadmin%2F" in page and 'type="password"' not in page
    assert log_in(browser, issuer, "/admin/", groups=["sales"]).status_code == 403
    assert browser.get("/admin/").status_code == 302
    assert log_in(browser, issuer, "/admin/accounts/user/", groups=["staff"]).status_code == 302
    assert browser.get("/admin/accounts/user/").status_code == 200
    assert [token.name for token in AccessToken.objects.all()] == ["admin site"]
    assert User.objects.get().role == Role.ADMIN
    assert not User.objects.get().has_usable_password()


def test_an_address_that_is_taken_lets_nobody_into_its_account(issuer: Issuer, alice: Actor) -> None:
    browser = Client()
    log_in(browser, issuer, email=alice.user.email, email_verified=True)
    assert me(browser).json()["id"] != str(alice.user.pk)


def test_the_login_page_offers_it_beside_the_password(issuer: Issuer, settings: Any, alice: Actor) -> None:
    page = Client().get("/login").content.decode()
    assert 'href="/accounts/oidc/login"' in page and 'type="password"' in page
    assert Client().get("/accounts/login/")["Location"] == "/login"
    body = {"email": alice.user.email, "password": PASSWORD}
    assert Client().post("/api/v1/auth/login", body, content_type="application/json").status_code == 200


def test_an_issuer_that_is_away_is_said_so(settings: Any) -> None:
    settings.OIDC_ISSUER = "http://127.0.0.1:9"
    oidc.keys_of.cache_clear()
    answer = Client().get("/accounts/oidc/login")
    assert (answer.status_code, "try again shortly" in answer.content.decode()) == (503, True)


def test_without_a_client_there_is_none(settings: Any) -> None:
    settings.OIDC_CLIENT_ID = ""
    assert Client().get("/accounts/oidc/login").status_code == 503
    assert Client().get(CALLBACK).status_code == 400
    assert "/accounts/oidc/login" not in Client().get("/login").content.decode()


def test_without_an_audience_no_bearer_jwt_is_taken(issuer: Issuer) -> None:
    headers = {"Authorization": f"Bearer {issuer.token(audience='browser-client')}"}
    assert Client(headers=headers).get("/api/v1/me").status_code == 401
    assert jwt.get_unverified_header(headers["Authorization"][7:])["alg"] == "RS256"


def test_a_client_needs_an_issuer(settings: Any) -> None:
    assert checks.single_sign_on_has_an_audience() == []
    settings.OIDC_ISSUER = ""
    assert [problem.id for problem in checks.single_sign_on_has_an_audience()] == ["aichat.E013"]


# --- Groups -----------------------------------------------------------------------------------------------------------


def places(user: User) -> set[tuple[str, str]]:
    mine = Membership.objects.filter(user=user, organization__personal_to=None)
    return set(mine.values_list("organization__name", "role"))


def test_groups_of_the_issuer_are_memberships_and_end_with_them(issuer: Issuer, settings: Any, alice: Actor) -> None:
    settings.OIDC_GROUPS_CLAIM = "groups"
    settings.OIDC_GROUPS_MAP = {
        "dev": ("Engineering", "MEMBER"),
        "leads": ("Engineering", "ADMIN"),
        "hr": ("People", "MEMBER"),
    }
    create_team(alice.user, "Engineering")  # of the same name, which anybody can give
    log_in(Client(), issuer, groups=["dev", "leads", "hr", "unknown"])
    dora = User.objects.exclude(pk=alice.user.pk).get()
    assert places(dora) == {("Engineering", "ADMIN"), ("People", "MEMBER")}
    assert Organization.objects.filter(name="Engineering").count() == 2, (
        "somebody's own team of that name is none of theirs"
    )
    people = Organization.objects.get(issuer_team="People")
    key, _ = create_api_key(user=dora, organization=people, name="x")
    given_here = create_team(dora, "Own").organization
    Organization.objects.filter(pk=given_here.pk).update(issuer_team="Tied")
    settings.OIDC_GROUPS_MAP["tied"] = ("Tied", "MEMBER")

    log_in(Client(), issuer, groups=["dev", "tied"])
    assert places(dora) == {("Engineering", "MEMBER"), ("Own", "OWNER")}
    assert AccessToken.objects.get(pk=key.pk).revoked_at is not None
    settings.OIDC_AUDIENCE = "browser-client"
    token = issuer.token(audience="browser-client")
    assert Client(headers={"Authorization": f"Bearer {token}"}).get("/api/v1/me").status_code == 200
    assert ("Engineering", "MEMBER") in places(dora), "a token for the API without the claim says nothing"
    log_in(Client(), issuer)
    assert places(dora) == {("Own", "OWNER")}
    reasons = [audit_log.details(row).get("reason") for row in LogEntry.objects.filter(user=dora)]
    assert reasons.count("identity provider") == 5


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (
            "dev=Engineering, leads=Engineering:ADMIN",
            {"dev": ("Engineering", "MEMBER"), "leads": ("Engineering", "ADMIN")},
        ),
        ("cn=dev=R&D: Labs:OWNER", {"cn=dev": ("R&D: Labs", "OWNER")}),
        ("dev=Engineering:BOSS", None),
        ("dev", None),
        ("dev=:ADMIN", None),
    ],
)
def test_the_map_of_groups(raw: str, found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OIDC_GROUPS_MAP", raw)
    if found is None:
        with pytest.raises(ImproperlyConfigured, match="OIDC_GROUPS_MAP"):
            env.places("OIDC_GROUPS_MAP", ("MEMBER", "ADMIN", "OWNER"))
    else:
        assert env.places("OIDC_GROUPS_MAP", ("MEMBER", "ADMIN", "OWNER")) == found


# --- Logging out ------------------------------------------------------------------------------------------------------


def test_leaving_here_leads_to_the_issuers_logout(issuer: Issuer, settings: Any, ada: Actor) -> None:
    settings.OIDC_ROLE_CLAIM, settings.OIDC_ROLE_MAP = "groups", {"staff": "ADMIN"}
    browser = Client()
    hint = log_in(browser, issuer, "/admin/", groups=["staff"]).cookies["aichat_sso_hint"]
    assert (hint["httponly"], hint["samesite"], hint["path"]) == (True, "Strict", "/accounts/oidc/logout")
    assert "." not in hint.value, "nobody can use the token in it"
    assert browser.post("/admin/logout/")["Location"] == "/accounts/oidc/logout"
    left = browser.get("/accounts/oidc/logout")
    asked = parse_qs(urlsplit(left["Location"]).query)
    assert left["Location"].startswith(f"{issuer.url}/oauth2/end_session?")
    assert asked["post_logout_redirect_uri"] == ["http://testserver/login"]
    assert jwt.decode(asked["id_token_hint"][0], options={"verify_signature": False})["sub"] == "dora"
    assert issuer.http.get(left["Location"]).status_code == 200
    assert browser.get("/accounts/oidc/logout")["Location"] == "/login", "the hint is gone"
    settings.OIDC_CLIENT_ID = ""
    assert Client().get("/accounts/oidc/logout")["Location"] == "/login"
    assert len(sso.hint_of("x" * 9000)) < 200


def test_the_issuer_ends_logins_of_its_people(issuer: Issuer, alice: Actor) -> None:
    browser = Client()
    log_in(browser, issuer)
    private = jwt.PyJWK.from_dict(providers[-1].jwk.as_dict(is_private=True)).key
    event: dict[str, Any] = {"http://schemas.openid.net/event/backchannel-logout": {}}
    now = int(time.time())
    claims = {"iss": issuer.url, "aud": "browser-client", "sub": "dora", "iat": now, "exp": now + 60, "jti": "1"}

    def told(**more: Any) -> int:
        token = jwt.encode({**claims, **more}, private, algorithm="RS256")
        return send(token)

    def send(token: str) -> int:
        form = urlencode({"logout_token": token})
        address, kind = "/accounts/oidc/backchannel-logout", "application/x-www-form-urlencoded"
        return int(Client().post(address, form, content_type=kind).status_code)

    assert [told(), told(events=event, nonce="x"), told(events=event, aud="other")] == [400, 400, 400]
    assert send("x.y.z") == 400
    assert told(events=event, sub="nobody") == 200
    assert me(browser).status_code == 200
    assert told(events=event) == 200
    assert me(browser).status_code == 401
    assert alice.with_login().get("/api/v1/me").status_code == 200
