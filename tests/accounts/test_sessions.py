"""Sign-up, sign-in, sign-out and `/me`, over HTTP."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import hashers
from django.test import Client

from accounts.models import AccessToken, Membership, Organization, Role, User
from aichat.core.telemetry.product_events import ProductEvent
from tests.conftest import PASSWORD, Actor

WRONG = "not the password at all"


def post(client: Client, path: str, **body: Any) -> Any:
    return client.post(f"/api/v1/auth/{path}", body, content_type="application/json")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def code(response: Any) -> str:
    return str(response.json()["error"]["code"])


@pytest.mark.django_db
class TestRegister:
    def test_makes_a_user_with_starter_credits_and_a_token_that_works(self, anonymous: Client) -> None:
        response = post(anonymous, "register", email="Dora@Example.com", password=PASSWORD, name="Dora")
        assert response.status_code == 201
        body = response.json()
        assert body["user"]["email"] == "dora@example.com"
        assert body["user"]["role"] == "USER"
        assert body["expires_at"].endswith("Z")
        me = anonymous.get("/api/v1/me", headers=bearer(body["token"])).json()
        assert me["credits"] == {"balance": "100", "held": "0", "available": "100"}
        assert me["organization"]["role"] == "OWNER"

    def test_nobody_registers_as_an_admin(self, anonymous: Client) -> None:
        refused = post(anonymous, "register", email="eve@example.com", password=PASSWORD, role="ADMIN")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "role")
        assert not User.objects.exists()

    @pytest.mark.django_db(transaction=True)
    def test_the_same_address_in_another_case_is_taken(self, anonymous: Client, alice: Actor) -> None:
        response = post(anonymous, "register", email="ALICE@example.COM", password=PASSWORD)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "email")
        assert "exist" not in response.json()["error"]["message"]
        assert User.objects.count() == 1

    @pytest.mark.parametrize("password", ["short", "password123", "48151623421", "dora@example.com"])
    def test_a_weak_password_is_refused(self, anonymous: Client, password: str) -> None:
        response = post(anonymous, "register", email="dora@example.com", password=password)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "password")
        assert not User.objects.exists()

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({}, "email"),
            ({"email": "dora@example.com"}, "password"),
            ({"email": "nobody", "password": PASSWORD}, "email"),
            ({"email": "d" * 250 + "@example.com", "password": PASSWORD}, "email"),
            ({"email": ["dora@example.com"], "password": PASSWORD}, "email"),
            ({"email": "dora@example.com", "password": {"a": 1}}, "password"),
            ({"email": "dora@example.com", "password": PASSWORD, "name": "n" * 151}, "name"),
            ({"email": "dora@example.com", "password": PASSWORD, "name": "zero\0"}, "name"),
        ],
    )
    def test_a_wrong_field_is_named(self, anonymous: Client, body: dict[str, Any], param: str) -> None:
        response = post(anonymous, "register", **body)
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)

    def test_the_longest_address_gets_an_organization_too(self, anonymous: Client) -> None:
        email = f"{'d' * 60}@{'e' * 60}.{'f' * 60}.{'g' * 50}.example.com"
        assert post(anonymous, "register", email=email, password=PASSWORD).status_code == 201
        assert len(Organization.objects.get().name) == 150

    def test_closed_registration_is_a_403(self, anonymous: Client, settings: Any) -> None:
        settings.REGISTRATION_OPEN = False
        response = post(anonymous, "register", email="dora@example.com", password=PASSWORD)
        assert (response.status_code, code(response)) == (403, "permission_denied")

    def test_a_password_is_stored_by_argon2(self, settings: Any, anonymous: Client) -> None:
        from aichat import settings as product

        settings.PASSWORD_HASHERS = product.PASSWORD_HASHERS
        post(anonymous, "register", email="dora@example.com", password=PASSWORD)
        assert User.objects.get().password.startswith("argon2$")

    def test_an_event_says_who_signed_up_without_their_address(
        self, anonymous: Client, heard: list[ProductEvent]
    ) -> None:
        post(anonymous, "register", email="dora@example.com", password=PASSWORD)
        assert [event.name for event in heard] == ["signed_up"]
        assert "dora@example.com" not in str(heard)


class TestLogin:
    def test_answers_a_token_whatever_the_case_of_the_address(self, anonymous: Client, alice: Actor) -> None:
        response = post(anonymous, "login", email=" ALICE@Example.com ", password=PASSWORD)
        assert response.status_code == 200
        assert anonymous.get("/api/v1/me", headers=bearer(response.json()["token"])).json()["name"] == "Alice"

    def test_says_the_same_and_works_the_same_for_every_reason(
        self, anonymous: Client, alice: Actor, actor: Callable[..., Actor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone = actor("gone").user
        gone.is_active = False
        gone.save()
        work: list[str] = []
        hasher = hashers.get_hasher()
        encode = type(hasher).encode

        def counted(self: hashers.BasePasswordHasher, *args: Any) -> str:
            work.append("hash")
            return encode(self, *args)

        monkeypatch.setattr(type(hasher), "encode", counted)
        answers = []
        for email, password in [
            ("nobody@example.com", WRONG),
            ("alice@example.com", WRONG),
            ("gone@example.com", WRONG),
            ("gone@example.com", PASSWORD),
        ]:
            work.clear()
            response = post(anonymous, "login", email=email, password=password)
            error = response.json()["error"]
            error.pop("request_id")
            answers.append((response.status_code, error, len(work)))
        assert answers == [answers[0]] * 4
        assert answers[0][0] == 401
        assert answers[0][2] == 1  # one hash each: no answer comes quicker than another

    def test_is_limited_by_address_with_the_time_to_wait(self, anonymous: Client, settings: Any, alice: Actor) -> None:
        settings.RATE_LIMIT_AUTH = "3/min"
        tries = [post(anonymous, "login", email=f"user{i}@example.com", password=WRONG) for i in range(5)]
        assert [response.status_code for response in tries] == [401] * 3 + [429] * 2
        assert code(tries[-1]) == "rate_limit_exceeded"
        assert 1 <= int(tries[-1]["Retry-After"]) <= 60

    def test_is_limited_by_e_mail_from_many_addresses(self, settings: Any, alice: Actor) -> None:
        settings.RATE_LIMIT_AUTH = "3/min"
        statuses = [
            post(
                Client(REMOTE_ADDR=f"10.0.0.{i}"), "login", email=f"{' ' * i}ALICE@example.com", password=WRONG
            ).status_code
            for i in range(5)
        ]
        assert statuses == [401] * 3 + [429] * 2

    def test_has_a_limit_of_its_own_beside_registration(self, anonymous: Client, settings: Any, alice: Actor) -> None:
        settings.RATE_LIMIT_AUTH = "1/min"
        assert post(anonymous, "register", email="dora@example.com", password=PASSWORD).status_code == 201
        assert post(anonymous, "register", email="eve@example.com", password=PASSWORD).status_code == 429
        assert post(anonymous, "login", email="alice@example.com", password=PASSWORD).status_code == 200


class TestLogout:
    def test_ends_the_token_at_once_and_no_other(self, anonymous: Client, alice: Actor) -> None:
        other = post(anonymous, "login", email="alice@example.com", password=PASSWORD).json()["token"]
        assert anonymous.post("/api/v1/auth/logout", headers=bearer(alice.token)).status_code == 204
        refused = anonymous.get("/api/v1/me", headers=bearer(alice.token))
        assert (refused.status_code, code(refused)) == (401, "invalid_api_key")
        assert refused["WWW-Authenticate"] == "Bearer"
        assert anonymous.get("/api/v1/me", headers=bearer(other)).status_code == 200

    def test_does_not_end_an_api_key(self, alice: Actor) -> None:
        assert alice.post("/api/v1/auth/logout").status_code == 403
        assert alice.get("/api/v1/me").status_code == 200


class TestMe:
    def test_has_the_callers_role_in_each_organization(self, alice: Actor, bob: Actor) -> None:
        Membership.objects.create(organization=bob.organization, user=alice.user, role=Membership.Role.MEMBER)
        me = alice.get("/api/v1/me").json()
        assert [each["role"] for each in me["organizations"]] == ["OWNER", "MEMBER"]
        assert me["organization"] == me["organizations"][0]
        assert me["organization"]["personal"] is True

    def test_a_login_token_acts_for_the_organization_it_names(
        self, anonymous: Client, alice: Actor, bob: Actor, charlie: Actor
    ) -> None:
        Membership.objects.create(organization=bob.organization, user=alice.user)
        headers = {**bearer(alice.token), "X-Organization": str(bob.organization.pk)}
        assert anonymous.get("/api/v1/me", headers=headers).json()["organization"]["id"] == str(bob.organization.pk)
        for foreign in (str(charlie.organization.pk), "garbage"):
            response = anonymous.get("/api/v1/me", headers={**headers, "X-Organization": foreign})
            assert (response.status_code, code(response)) == (404, "not_found")

    def test_changes_the_name_and_nothing_else(self, alice: Actor) -> None:
        response = alice.patch("/api/v1/me", {"name": "Älice 🌊"})
        assert (response.status_code, response.json()["name"]) == (200, "Älice 🌊")
        for more in ({"role": "ADMIN"}, {"email": "new@example.com"}, {"password": PASSWORD + "2"}):
            refused = alice.patch("/api/v1/me", {"name": "Eve", **more})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, *more)
        alice.user.refresh_from_db()
        assert (alice.user.name, alice.user.role, alice.user.email) == ("Älice 🌊", Role.USER, "alice@example.com")

    def test_a_deactivated_user_is_out_at_once(self, alice: Actor) -> None:
        User.objects.filter(pk=alice.user.pk).update(is_active=False)
        assert code(alice.get("/api/v1/me")) == "invalid_api_key"


@pytest.mark.parametrize(
    ("role", "covered"),
    [
        (Role.USER, [True, False, False]),
        (Role.SUBSCRIBER, [True, True, False]),
        (Role.ADMIN, [True, True, True]),
    ],
)
def test_roles_form_one_order(role: Role, covered: list[bool]) -> None:
    user = User(role=role)
    assert [user.has_role(other) for other in Role] == covered
    assert user.is_staff is user.is_superuser is (role == Role.ADMIN)


def test_a_login_token_expires(anonymous: Client, alice: Actor) -> None:
    AccessToken.objects.filter(user=alice.user, kind="LOGIN").update(expiry="2020-01-01T00:00:00Z")
    assert code(anonymous.get("/api/v1/me", headers=bearer(alice.token))) == "invalid_api_key"


def console_of(ada: Actor) -> Client:
    browser = Client()
    assert browser.post("/admin/login/", {"username": ada.user.email, "password": PASSWORD}).status_code == 302
    assert browser.get("/admin/accounts/user/").status_code == 200
    return browser


@pytest.mark.parametrize("how", ["its own", "all"])
def test_a_session_of_the_admin_site_is_listed_and_ended_like_every_login(ada: Actor, how: str) -> None:
    browser, other = console_of(ada), console_of(ada)
    ada.with_login()
    rows = ada.get("/api/v1/me/sessions").json()["results"]
    assert sorted(row["name"] for row in rows) == ["", "admin site", "admin site"]
    if how == "all":
        assert ada.post("/api/v1/auth/logout-all").status_code == 204
    else:
        newest = next(row["id"] for row in rows if row["name"])  # the newest comes first
        assert ada.delete(f"/api/v1/me/sessions/{newest}").status_code == 204
    assert other.get("/admin/accounts/user/").status_code == 302
    assert browser.get("/admin/accounts/user/").status_code == (302 if how == "all" else 200)
    assert other.get("/admin/login/").status_code == 200, "they log in anew"


def test_leaving_the_admin_site_ends_its_login(ada: Actor) -> None:
    browser = console_of(ada)
    browser.post("/admin/logout/")
    assert [row["name"] for row in ada.with_login().get("/api/v1/me/sessions").json()["results"]] == [""]
