"""Users on first sight, against a real OpenID Connect provider (oidc-provider-mock) on this machine."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.test import Client
from oidc_provider_mock import run_server_in_thread
from oidc_provider_mock._storage import Storage

from accounts import oidc, services
from accounts.models import ExternalIdentity, Organization, Role, User
from credits.models import LedgerEntry, Wallet
from tests.conftest import PASSWORD, Actor

AUDIENCE = "aichat"


class Issuer:
    """A running provider; `token()` goes through its login form as a browser would."""

    def __init__(self, port: int) -> None:
        self.url = f"http://localhost:{port}"
        self.http = httpx.Client(base_url=self.url)

    def token(self, subject: str = "dora", audience: str = AUDIENCE, **claims: Any) -> str:
        self.http.put(f"/users/{quote(subject)}", json=claims).raise_for_status()
        back = "http://localhost/back"
        asked = {"client_id": audience, "redirect_uri": back, "response_type": "code", "scope": "openid profile email"}
        login = self.http.post("/oauth2/authorize", params=asked, data={"sub": subject})
        code = parse_qs(urlsplit(login.headers["Location"]).query)["code"][0]
        exchange = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "client_id": audience}
        return str(self.http.post("/oauth2/token", data={**exchange, "client_secret": "any"}).json()["id_token"])

    def named(self, token: str, key_id: str = "") -> str:
        """The same token, signed by the same key, but naming it (this provider does not)."""
        published = self.http.get("/jwks").json()["keys"][0]["kid"]
        private = jwt.PyJWK.from_dict(providers[-1].jwk.as_dict(is_private=True)).key
        return jwt.encode(parts(token)[1], private, algorithm="RS256", headers={"kid": key_id or published})


providers: list[Any] = []  # the state of those started, the last one last


@pytest.fixture(autouse=True)
def _remember_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    def remembered() -> Any:
        providers.append(Storage())
        return providers[-1]

    monkeypatch.setattr("oidc_provider_mock._app.Storage", remembered)


@pytest.fixture
def issuer(settings: Any) -> Iterator[Issuer]:
    oidc.keys_of.cache_clear()
    with run_server_in_thread() as server:
        found = Issuer(server.server_port)
        settings.OIDC_ISSUER, settings.OIDC_AUDIENCE = found.url, AUDIENCE
        yield found
    oidc.keys_of.cache_clear()


def me(token: str) -> Any:
    return Client(headers={"Authorization": f"Bearer {token}"}).get("/api/v1/me")


def test_a_person_is_a_user_from_first_sight(issuer: Issuer, db: None) -> None:
    answer = me(issuer.token(email="dora@example.com", email_verified=True, name="Dora")).json()
    assert (answer["email"], answer["name"], answer["role"]) == ("dora@example.com", "Dora", "USER")
    assert answer["credits"]["balance"] == "100"


def test_the_same_person_comes_back_with_another_token(issuer: Issuer, db: None) -> None:
    assert me(issuer.token()).json()["id"] == me(issuer.token()).json()["id"]
    assert me(issuer.token("emil")).json()["id"] != me(issuer.token()).json()["id"]


def test_the_user_has_no_password(issuer: Issuer, db: None) -> None:
    me(issuer.token())
    assert not User.objects.get().has_usable_password()


@pytest.mark.parametrize("verified", [True, False])
def test_an_email_says_nothing_about_who_registered_it_here(issuer: Issuer, alice: Actor, verified: bool) -> None:
    answer = me(issuer.token(email=alice.user.email, email_verified=verified)).json()
    assert answer["id"] != str(alice.user.pk)
    assert answer["email"].endswith("@sso.invalid")


def test_an_unverified_email_is_not_taken_over(issuer: Issuer, db: None) -> None:
    assert me(issuer.token(email="boss@example.com")).json()["email"].endswith("@sso.invalid")


@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize(
    "email",
    ["<script>@x\r\nbcc: y", "dora@example.com\r\nbcc: y@example.com", "<b>dora</b>@example.com", "dora", "", 7],
)
def test_a_token_whose_email_is_no_address_is_refused_and_makes_nobody(
    issuer: Issuer, db: None, email: Any, verified: bool
) -> None:
    response = me(issuer.token(email=email, email_verified=verified))
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert not User.objects.exists()


def test_many_first_requests_at_once_make_one_user_with_one_grant(server: str, issuer: Issuer) -> None:
    token = issuer.token(email="dora@example.com", email_verified=True)
    with (
        httpx.Client(base_url=server, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        answers = list(pool.map(lambda _: client.get("/api/v1/credits"), range(50)))
    assert [answer.status_code for answer in answers] == [200] * 50
    counts = [model.objects.count() for model in (User, ExternalIdentity, Organization, Wallet)]
    assert counts == [1, 1, 1, 1]
    assert LedgerEntry.objects.filter(kind=LedgerEntry.Kind.STARTER).count() == 1


def test_a_chat_is_paid_by_the_new_users_credits(server: str, issuer: Issuer) -> None:
    headers = {"Authorization": f"Bearer {issuer.token()}"}
    answer = httpx.post(f"{server}/api/v1/chat", json={"message": "Hello"}, headers=headers)
    assert answer.json()["credits"] == {"charged": "1", "available": "99", "low": False}


def test_a_disabled_user_stays_out(issuer: Issuer, db: None) -> None:
    token = issuer.token()
    me(token)
    services.change_user(User.objects.get(), is_active=False)
    assert me(token).status_code == 401


def test_a_jwt_is_logged_out_at_its_issuer(issuer: Issuer, db: None) -> None:
    client = Client(headers={"Authorization": f"Bearer {issuer.token()}"})
    assert client.post("/api/v1/auth/logout").status_code == 403


# --- Forged tokens ----------------------------------------------------------------------------------------------------


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(issuer: Issuer) -> str:
    header, claims = parts(issuer.token())
    return f"{encoded({**header, 'alg': 'none'})}.{encoded(claims)}."


def signed_with_the_public_key(issuer: Issuer) -> str:
    """HS256 with the issuer's public key as the secret."""
    header, claims = parts(issuer.token())
    key = jwt.PyJWK.from_dict(issuer.http.get("/jwks").json()["keys"][0]).key
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{encoded({**header, 'alg': 'HS256'})}.{encoded(claims)}"
    digest = hmac.new(pem, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def signed_by_somebody_else(issuer: Issuer) -> str:
    header, claims = parts(issuer.token())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(claims, key, algorithm="RS256", headers=header)


def with_another_subject(issuer: Issuer) -> str:
    header, claims = parts(token := issuer.token())
    return f"{encoded(header)}.{encoded({**claims, 'sub': 'boss'})}.{token.rpartition('.')[2]}"


def of_another_issuer(issuer: Issuer) -> str:
    """A true token of a provider we don't trust."""
    with run_server_in_thread() as server:
        return Issuer(server.server_port).token()


FORGERIES: list[Callable[[Issuer], str]] = [
    unsigned,
    signed_with_the_public_key,
    signed_by_somebody_else,
    with_another_subject,
    of_another_issuer,
    lambda issuer: issuer.token(audience="another application"),
    lambda issuer: issuer.token(nbf=int(time.time()) + 600),
    lambda issuer: "a.b.c",
    lambda issuer: "..",
]
NAMES = ["alg none", "HS256 with the public key", "other key", "changed", "other issuer", "other audience"]
NAMES += ["not yet valid", "garbage", "empty"]


@pytest.mark.parametrize("forge", FORGERIES, ids=NAMES)
def test_a_forged_token_is_refused_and_makes_nobody(issuer: Issuer, db: None, forge: Callable[[Issuer], str]) -> None:
    response = me(forge(issuer))
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert User.objects.count() == 0


def test_an_expired_token_is_refused(settings: Any, db: None) -> None:
    oidc.keys_of.cache_clear()
    with run_server_in_thread(access_token_max_age=timedelta(seconds=-60)) as server:
        issuer = Issuer(server.server_port)
        settings.OIDC_ISSUER, settings.OIDC_AUDIENCE = issuer.url, AUDIENCE
        assert me(issuer.token()).status_code == 401


def test_without_an_issuer_a_jwt_is_no_token(issuer: Issuer, settings: Any, db: None) -> None:
    token = issuer.token()
    settings.OIDC_ISSUER = ""
    assert me(token).status_code == 401


# --- The issuer's keys ------------------------------------------------------------------------------------------------


def restarted(issuer: Issuer) -> AbstractContextManager[Any]:
    """The same provider again, with a new key."""
    provider: AbstractContextManager[Any] = run_server_in_thread(port=urlsplit(issuer.url).port or 0)
    return provider


@pytest.fixture
def rotating(settings: Any) -> Iterator[Issuer]:
    """A provider that has been restarted since its keys were fetched; `old` is a token of the old key."""
    oidc.keys_of.cache_clear()
    with run_server_in_thread() as server:
        issuer = Issuer(server.server_port)
        settings.OIDC_ISSUER, settings.OIDC_AUDIENCE = issuer.url, AUDIENCE
        oidc.keys_of(issuer.url).refresh(wait=True)
        issuer.old = issuer.token()  # type: ignore[attr-defined]
    yield issuer
    oidc.keys_of.cache_clear()


@pytest.mark.parametrize("names_its_key", [True, False])
def test_a_rotated_key_is_fetched_when_a_token_needs_it(
    rotating: Issuer, db: None, monkeypatch: pytest.MonkeyPatch, names_its_key: bool
) -> None:
    monkeypatch.setattr(oidc, "REFETCH_SECONDS", 0.0)
    with restarted(rotating):
        token = rotating.token()
        assert me(rotating.named(token) if names_its_key else token).status_code == 200
        assert me(rotating.old).status_code == 401  # type: ignore[attr-defined]


def test_unknown_keys_do_not_make_us_ask_the_issuer_again_and_again(rotating: Issuer, db: None) -> None:
    keys = oidc.keys_of(rotating.url)
    with restarted(rotating):
        fetched, token = keys.fetched_at, rotating.token()
        assert [me(one).status_code for one in (token, rotating.named(token), rotating.named(token, "x"))] == [401] * 3
        assert keys.fetched_at == fetched


def test_known_keys_serve_on_while_the_issuer_is_gone(rotating: Issuer, db: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(oidc, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(oidc, "REFETCH_SECONDS", 0.0)
    assert me(rotating.old).status_code == 200  # type: ignore[attr-defined]


def test_an_issuer_that_was_never_reached_is_a_503(settings: Any, db: None) -> None:
    oidc.keys_of.cache_clear()
    settings.OIDC_ISSUER, settings.OIDC_AUDIENCE = "http://127.0.0.1:9", AUDIENCE
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    response = me(jwt.encode({"sub": "dora"}, key, algorithm="RS256"))
    assert (response.status_code, response.json()["error"]["code"]) == (503, "identity_provider_unavailable")
    assert "Retry-After" in response


# --- Roles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims, role",
    [
        ({"groups": ["staff", "paying"]}, Role.ADMIN),
        ({"groups": "paying"}, Role.SUBSCRIBER),
        ({"groups": ["unknown"]}, Role.USER),
        ({}, Role.USER),
    ],
)
def test_a_claim_says_the_role(issuer: Issuer, settings: Any, ada: Actor, claims: dict[str, Any], role: Role) -> None:
    settings.OIDC_ROLE_CLAIM, settings.OIDC_ROLE_MAP = "groups", {"staff": "ADMIN", "paying": "SUBSCRIBER"}
    assert me(issuer.token(**claims)).json()["role"] == role


def test_a_role_follows_the_claim_from_token_to_token(issuer: Issuer, settings: Any, ada: Actor) -> None:
    settings.OIDC_ROLE_CLAIM, settings.OIDC_ROLE_MAP = "realm.roles", {"staff": "ADMIN"}
    assert me(issuer.token(realm={"roles": ["staff"]})).json()["role"] == "ADMIN"
    assert me(issuer.token(realm={"roles": []})).json()["role"] == "USER"


def test_the_last_admin_stays_one_whatever_the_claim_says(issuer: Issuer, settings: Any, db: None) -> None:
    settings.OIDC_ROLE_CLAIM, settings.OIDC_ROLE_MAP = "groups", {"staff": "ADMIN"}
    me(issuer.token(groups=["staff"]))
    assert me(issuer.token(groups=[])).json()["role"] == "ADMIN"


def test_without_a_claim_setting_the_token_says_nothing_about_the_role(issuer: Issuer, db: None) -> None:
    assert me(issuer.token(groups=["staff"], role="ADMIN")).json()["role"] == "USER"
    assert User.objects.get().role == Role.USER


def test_an_identity_given_to_an_existing_user_lets_them_in(issuer: Issuer, db: None) -> None:
    token = issuer.token()
    me(token)
    local = User.objects.create_user("dora@example.com", PASSWORD)
    ExternalIdentity.objects.update(user=local)
    assert me(token).json()["id"] == str(local.pk)
