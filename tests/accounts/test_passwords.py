"""A password change ends all other logins; a lock-out slows the attacker and not the owner."""

from typing import Any

import pytest
from django.test import Client

from accounts import rate_limits
from accounts.models import AccessToken, User
from accounts.services import create_login_token
from tests.conftest import PASSWORD, Actor

NEW = "a completely different passphrase"


def status(token: str) -> int:
    return Client(headers={"Authorization": f"Bearer {token}"}).get("/api/v1/me").status_code


def test_changing_my_password_ends_my_other_logins_and_keeps_this_one(alice: Actor, bob: Actor) -> None:
    _, stolen = create_login_token(alice.user)
    alice.with_login()
    wanted = {"current_password": PASSWORD, "new_password": NEW}
    assert alice.post("/api/v1/auth/password", {**wanted, "current_password": "x"}).status_code == 400
    assert (
        alice.post("/api/v1/auth/password", {**wanted, "new_password": "123"}).json()["error"]["param"]
        == "new_password"
    )
    assert alice.post("/api/v1/auth/password", wanted).status_code == 204
    assert (status(stolen), status(alice.token), status(alice.key), status(bob.token)) == (401, 200, 200, 200)
    assert User.objects.get(pk=alice.user.pk).check_password(NEW)


@pytest.mark.parametrize("how", ["an administrator's form", "no password any more"])
def test_a_password_changed_by_an_administrator_ends_all_logins(
    alice: Actor, ada: Actor, client: Client, how: str
) -> None:
    client.force_login(ada.user)
    form = {"password1": NEW, "password2": NEW, "usable_password": "true", "set-password": "1"}
    if how == "no password any more":
        form = {"password1": "", "password2": "", "usable_password": "false", "unset-password": "1"}
    answer = client.post(f"/admin/accounts/user/{alice.user.pk}/password/", form)
    assert answer.status_code == 302, answer.content.decode()[:3000]
    assert (status(alice.token), status(alice.key)) == (401, 200)


def test_a_login_that_only_hashes_the_password_anew_ends_no_login(
    alice: Actor, anonymous: Client, settings: Any
) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher", *settings.PASSWORD_HASHERS]
    body = {"email": alice.user.email, "password": PASSWORD}
    assert anonymous.post("/api/v1/auth/login", body, content_type="application/json").status_code == 200
    assert User.objects.get(pk=alice.user.pk).password.startswith("pbkdf2")
    assert status(alice.token) == 200


def test_logging_out_everywhere_ends_all_logins_and_no_key(alice: Actor) -> None:
    _, other = create_login_token(alice.user)
    assert alice.with_login().post("/api/v1/auth/logout-all").status_code == 204
    assert (status(other), status(alice.token), status(alice.key)) == (401, 401, 200)
    assert not AccessToken.objects.usable().filter(user=alice.user, kind=AccessToken.Kind.LOGIN).exists()


def login(who: Actor, password: str, address: str) -> int:
    body = {"email": who.user.email, "password": password}
    answer = Client(REMOTE_ADDR=address).post("/api/v1/auth/login", body, content_type="application/json")
    return answer.status_code


def test_wrong_passwords_from_elsewhere_don_t_keep_the_owner_out_where_they_have_been(
    alice: Actor, settings: Any
) -> None:
    settings.RATE_LIMIT_AUTH = "5/min"
    assert login(alice, PASSWORD, "192.0.2.1") == 200
    assert [login(alice, "wrong", f"198.51.100.{number}") for number in range(8)][-1] == 429
    assert login(alice, PASSWORD, "198.51.100.200") == 429
    assert login(alice, PASSWORD, "192.0.2.1") == 200


def test_the_addresses_of_one_ipv6_network_count_as_one(alice: Actor, settings: Any) -> None:
    settings.RATE_LIMIT_AUTH = "5/min"

    def register(number: int, network: str) -> int:
        body = {"email": f"farmer{number}@example.com", "password": PASSWORD}
        client = Client(REMOTE_ADDR=f"{network}::{number:x}")
        return client.post("/api/v1/auth/register", body, content_type="application/json").status_code

    assert [register(number, "2001:db8:0:1") for number in range(1, 8)] == [201] * 5 + [429] * 2
    assert register(9, "2001:db8:0:2") == 201
    rate_limits.reset()
