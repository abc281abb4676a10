"""A second factor: set up with an authenticator app, asked for at every login, and a way back when the phone is lost."""

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.test import Client

from accounts import leaving, second_factor
from accounts.models import RecoveryCode, SecondFactor, User
from accounts.services import create_login_token
from aichat.core.admin import audit_log
from tests.conftest import PASSWORD, Actor


class Phone:
    """An authenticator app with the secret of one person, whose clock the test turns."""

    def __init__(self, who: Actor) -> None:
        self.answer = who.post("/api/v1/me/mfa", {"password": PASSWORD})
        assert self.answer.status_code == 201, self.answer.content
        self.secret = base64.b32decode(self.answer.json()["secret"])
        self.ahead = 0
        self.recovery_codes: list[str] = []

    def code(self) -> str:
        return second_factor.app_code(self.secret, second_factor.current_step() + self.ahead)


@pytest.fixture(autouse=True)
def _time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No code gets old between two lines of a test."""
    monkeypatch.setattr(second_factor, "current_step", lambda: 60_000_000)


def set_up(who: Actor) -> Phone:
    phone = Phone(who)
    answer = who.post("/api/v1/me/mfa/confirm", {"code": phone.code()})
    assert answer.status_code == 200, answer.content
    phone.recovery_codes = answer.json()["recovery_codes"]
    phone.ahead = 1  # a code is good once, so the next one is that of the next half minute
    return phone


def login(who: Actor, code: str = "", **more: str) -> Any:
    body = {"email": who.user.email, "password": PASSWORD, "code": code, **more}
    return Client().post("/api/v1/auth/login", body, content_type="application/json")


def outcome(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def alive(token: str) -> bool:
    return Client(headers={"Authorization": f"Bearer {token}"}).get("/api/v1/me").status_code == 200


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    assert second_factor.app_code(b"12345678901234567890", seconds // second_factor.PERIOD) == code


def test_a_secret_alone_changes_nothing(alice: Actor) -> None:
    phone = Phone(alice.with_login())
    address = urlsplit(phone.answer.json()["otpauth_url"])
    assert (address.scheme, address.netloc, address.path) == ("otpauth", "totp", "/aichat:alice%40example.com")
    assert parse_qs(address.query)["secret"] == [phone.answer.json()["secret"]]
    assert outcome(login(alice)) == (200, "")
    assert alice.post("/api/v1/me/mfa/confirm", {"code": "000000"}).json()["error"]["param"] == "code"
    assert alice.get("/api/v1/me/mfa").json() == {
        "enabled": False, "enabled_at": None, "required": False, "recovery_codes": 0, "app": False, "passkeys": 0,
    }  # fmt: skip


def test_a_login_needs_the_code_of_the_app_and_each_is_good_once(alice: Actor) -> None:
    phone = set_up(alice.with_login())
    assert outcome(login(alice)) == (401, "mfa_required")
    assert outcome(login(alice, "123 456")) == (401, "mfa_invalid")
    assert outcome(login(alice, phone.code(), password="wrong")) == (401, "not_authenticated")
    assert outcome(login(alice, phone.code())) == (200, "")
    assert outcome(login(alice, phone.code())) == (401, "mfa_invalid")
    phone.ahead = 2
    assert outcome(login(alice, phone.code())) == (401, "mfa_invalid"), "a clock that is a minute early is wrong"


def test_turning_it_on_ends_the_other_logins_and_no_key(alice: Actor) -> None:
    _, stolen = create_login_token(alice.user)
    set_up(alice.with_login())
    assert (alive(stolen), alive(alice.token), alive(alice.key)) == (False, True, True)


def test_a_recovery_code_is_good_once_however_it_is_written(alice: Actor) -> None:
    phone = set_up(alice.with_login())
    first = phone.recovery_codes[0]
    assert len(set(phone.recovery_codes)) == 10
    assert outcome(login(alice, first.replace("-", " ").upper())) == (200, "")
    assert outcome(login(alice, first)) == (401, "mfa_invalid")
    assert alice.get("/api/v1/me/mfa").json()["recovery_codes"] == 9


def test_new_recovery_codes_end_the_old_ones(alice: Actor) -> None:
    phone = set_up(alice.with_login())
    renewed = alice.post("/api/v1/me/mfa/recovery-codes", {"code": phone.code()}).json()["recovery_codes"]
    assert outcome(login(alice, phone.recovery_codes[0])) == (401, "mfa_invalid")
    assert outcome(login(alice, renewed[0])) == (200, "")


def test_a_stolen_login_can_neither_turn_it_off_nor_put_another_phone_in(alice: Actor) -> None:
    phone = set_up(alice.with_login())
    assert alice.delete("/api/v1/me/mfa", data={"code": "000000"}, content_type="application/json").status_code == 400
    assert alice.post("/api/v1/me/mfa", {"password": PASSWORD}).status_code == 400
    assert outcome(login(alice)) == (401, "mfa_required")
    gone = alice.delete("/api/v1/me/mfa", data={"code": phone.code()}, content_type="application/json")
    assert gone.status_code == 204
    assert outcome(login(alice)) == (200, "")


def test_without_the_password_nobody_begins(alice: Actor) -> None:
    assert alice.with_login().post("/api/v1/me/mfa", {"password": "wrong"}).json()["error"]["param"] == "password"
    assert not SecondFactor.objects.exists()


def test_guessing_codes_is_slow_and_keeps_the_owner_in_where_they_have_been(alice: Actor, settings: Any) -> None:
    phone = set_up(alice.with_login())
    settings.RATE_LIMIT_AUTH = "1000/min"

    def tried(code: str, address: str) -> int:
        body = {"email": alice.user.email, "password": PASSWORD, "code": code}
        return Client(REMOTE_ADDR=address).post("/api/v1/auth/login", body, content_type="application/json").status_code

    assert tried(phone.recovery_codes[0], "192.0.2.1") == 200
    assert [tried("000000", f"198.51.100.{number}") for number in range(32)][-1] == 429
    assert tried(phone.code(), "198.51.100.200") == 429
    assert tried(phone.code(), "192.0.2.1") == 200


def test_of_many_logins_with_one_code_one_gets_in(server: str, alice: Actor, settings: Any) -> None:
    settings.RATE_LIMIT_AUTH = "1000/min"
    phone = set_up(alice.with_login())
    for code in (phone.code(), phone.recovery_codes[0]):
        body = {"email": alice.user.email, "password": PASSWORD, "code": code}
        with httpx.Client(base_url=server, timeout=30) as client, ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: client.post("/api/v1/auth/login", json=body), range(4)))  # noqa: B023
        assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


def test_the_secret_is_sealed_and_the_recovery_codes_are_hashed(alice: Actor, settings: Any) -> None:
    phone = set_up(alice.with_login())
    kept = SecondFactor.objects.get().sealed_secret + "".join(RecoveryCode.objects.values_list("digest", flat=True))
    assert base64.b32encode(phone.secret).decode() not in kept and phone.recovery_codes[0] not in kept
    settings.SECRET_KEY = "another key, which is as long as Django wants one to be"
    assert not second_factor.passes(alice.user, phone.code())
    assert second_factor.passes(alice.user, phone.recovery_codes[0])


# --- The admin site, and ADMIN_MFA ------------------------------------------------------------------------------------


def admin_login(who: Actor, code: str = "") -> tuple[Client, str]:
    browser = Client()
    page = browser.post("/admin/login/?next=/admin/", {"username": who.user.email, "password": PASSWORD, "code": code})
    return browser, "in" if page.status_code == 302 else page.content.decode()


def test_the_admin_site_asks_for_the_code(ada: Actor) -> None:
    old, _ = admin_login(ada)
    assert old.get("/admin/accounts/user/").status_code == 200
    phone = set_up(ada.with_login())
    assert old.get("/admin/accounts/user/").status_code == 302, "sessions of before end"
    assert "write its code as well" in admin_login(ada)[1]
    assert "This code is wrong" in admin_login(ada, "000000")[1]
    browser, said = admin_login(ada, phone.code())
    assert said == "in"
    assert browser.get("/admin/accounts/user/").status_code == 200


def test_with_admin_mfa_required_nobody_administers_without_a_second_factor(ada: Actor, settings: Any) -> None:
    session, _ = admin_login(ada)
    settings.ADMIN_MFA = "required"
    assert session.get("/admin/accounts/user/").status_code == 302
    assert "Administrators need a second factor" in admin_login(ada)[1]
    for caller in (Client(headers=ada.headers), ada.with_login().client):
        assert outcome(caller.get("/api/v1/admin/users")) == (403, "mfa_required")
        assert caller.get("/api/v1/me").status_code == 200
    assert ada.get("/api/v1/me/mfa").json()["required"] is True
    phone = set_up(ada)
    assert ada.get("/api/v1/admin/users").status_code == 200
    assert admin_login(ada, phone.code())[1] == "in"


# --- When the phone is lost -------------------------------------------------------------------------------------------


def entries() -> list[tuple[str, str]]:
    rows = LogEntry.objects.order_by("pk")
    return [(row.user.email, audit_log.details(row).get("reason", "")) for row in rows]


def test_reset_mfa_brings_somebody_back_and_is_in_the_audit_log(alice: Actor, capsys: Any) -> None:
    set_up(alice.with_login())
    call_command("reset_mfa", "ALICE@example.com")
    assert "password alone" in capsys.readouterr().out
    assert (alive(alice.token), alive(alice.key)) == (False, True)
    assert outcome(login(alice)) == (200, "")
    call_command("reset_mfa", "alice@example.com")
    assert "has no second factor" in capsys.readouterr().out
    assert entries() == [("alice@example.com", ""), ("alice@example.com", "manage.py reset_mfa")]


def test_an_administrator_resets_it_in_the_admin_site(alice: Actor, ada: Actor, client: Client) -> None:
    set_up(alice.with_login())
    client.force_login(ada.user)
    page = f"/admin/accounts/user/{alice.user.pk}/reset-second-factor/"
    assert client.post(page, {"_form_submitted": "True"}).status_code == 200
    assert outcome(login(alice)) == (200, "")
    assert entries()[-1] == ("ada@example.com", "admin site")


def test_nothing_of_it_is_left_of_an_erased_account(alice: Actor, settings: Any) -> None:
    settings.ACCOUNT_DELETION_GRACE_DAYS = 0
    set_up(alice.with_login())
    leaving.ask(alice.user)
    leaving.erase_due()
    assert not SecondFactor.objects.exists() and not RecoveryCode.objects.exists()
    assert User.objects.get(pk=alice.user.pk).mfa_enabled_at is None
