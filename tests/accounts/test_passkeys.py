"""Passkeys: a second factor, and a login without password. The device is one of this file's, made of the library's parts."""

import base64
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.admin.models import LogEntry
from django.core import mail as outbox
from django.core.management import call_command
from django.test import Client
from fido2.cose import ES256
from fido2.utils import sha256, websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

from accounts import leaving, passkeys, personal_data, second_factor
from accounts.models import Passkey, RecoveryCode, User
from accounts.services import create_api_key, create_login_token
from aichat.core.admin import audit_log
from aichat.core.outbound import mail
from tests.accounts.test_second_factor import Phone, alive, login, outcome, set_up
from tests.conftest import PASSWORD, Actor

HOST, ORIGIN = "localhost", "http://localhost"


class Device:
    """An authenticator with one key. What it says of itself can be changed for a test."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.credential_id = os.urandom(32)
        self.count, self.origin, self.host, self.knows_its_person = 0, ORIGIN, HOST, True

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        public = ES256.from_cryptography_key(self.key.public_key())  # type: ignore[no-untyped-call]
        data = AttestedCredentialData.create(b"\0" * 16, self.credential_id, public)
        flags = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV | AuthenticatorData.FLAG.AT
        made = AuthenticatorData.create(sha256(self.host.encode()), flags, self.count, bytes(data))
        parts = {"attestationObject": bytes(AttestationObject.create("none", made, {}))}
        return self.answer(asked, CollectedClientData.TYPE.CREATE, parts)

    def sign(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        flags = AuthenticatorData.FLAG.UP | (AuthenticatorData.FLAG.UV if self.knows_its_person else 0)
        made = AuthenticatorData.create(sha256(self.host.encode()), flags, self.count)
        client = self.client(asked, CollectedClientData.TYPE.GET)
        signature = self.key.sign(bytes(made) + client.hash, ec.ECDSA(hashes.SHA256()))
        return self.answer(
            asked, CollectedClientData.TYPE.GET, {"authenticatorData": bytes(made), "signature": signature}
        )

    def client(self, asked: dict[str, Any], kind: str) -> CollectedClientData:
        challenge = websafe_decode(asked["public_key"]["challenge"])
        return CollectedClientData.create(kind, challenge, self.origin)

    def answer(self, asked: dict[str, Any], kind: str, parts: dict[str, bytes]) -> dict[str, Any]:
        response = {name: websafe_encode(value) for name, value in parts.items()}
        response["clientDataJSON"] = websafe_encode(bytes(self.client(asked, kind)))
        named = websafe_encode(self.credential_id)
        return {
            "state": asked["state"],
            "credential": {"id": named, "rawId": named, "type": "public-key", "response": response},
        }


def here(token: str = "") -> Client:
    """A client that knows the server by its name."""
    headers = {"Host": HOST, **({"Authorization": f"Bearer {token}"} if token else {})}
    return Client(headers=headers)


def post(client: Client, path: str, body: Any = None) -> Any:
    return client.post(f"/api/v1/{path}", body or {}, content_type="application/json")


def add(who: Actor, device: Device, **proof: Any) -> Any:
    client = here(who.token)
    begun = post(client, "me/passkeys/begin", {"password": PASSWORD, **proof})
    assert begun.status_code == 200, begun.content
    return post(client, "me/passkeys", {**device.create(begun.json()), "name": "my phone"})


def log_in(device: Device, asked: Any = None) -> Any:
    return post(here(), "auth/passkey/login", device.sign(asked or post(here(), "auth/passkey").json()))


def password_login(who: Actor, **more: Any) -> Any:
    return post(here(), "auth/login", {"email": who.user.email, "password": PASSWORD, **more})


@pytest.fixture
def device(alice: Actor) -> Device:
    """Alice's, which is registered."""
    found = Device()
    assert add(alice, found).status_code == 201
    return found


def test_the_first_one_turns_the_second_factor_on_and_the_last_one_off(alice: Actor) -> None:
    _, stolen = create_login_token(alice.user)
    device = Device()
    made = add(alice, device)
    assert (made.status_code, made.json()["name"], made.json()["host"]) == (201, "my phone", HOST)
    assert len(made.json()["recovery_codes"]) == 10
    assert (alive(stolen), alive(alice.token), alive(alice.key)) == (False, True, True)
    assert alice.get("/api/v1/me/mfa").json() | {"enabled_at": ""} == {
        "enabled": True, "enabled_at": "", "required": False, "recovery_codes": 10, "app": False, "passkeys": 1,
    }  # fmt: skip
    refused = password_login(alice)
    assert outcome(refused) == (401, "mfa_required")
    assert refused.json()["error"]["methods"] == ["passkey", "recovery_code"]
    assert "passkey" not in login(alice).json()["error"], "none of another host"
    assert outcome(password_login(alice, passkey=device.sign(refused.json()["error"]["passkey"]))) == (200, "")
    assert outcome(password_login(alice, code=made.json()["recovery_codes"][0])) == (200, "")

    client, path = here(alice.token), f"/api/v1/me/passkeys/{made.json()['id']}"
    assert client.patch(path, {"name": "phone"}, content_type="application/json").json()["name"] == "phone"
    (row,) = client.get("/api/v1/me/passkeys").json()["results"]
    assert (row["name"], row["last_used_at"] is None) == ("phone", False)
    kept = b"".join(personal_data.lines(alice.user)).decode()
    assert '"accounts.Passkey"' in kept
    assert Passkey.objects.get().public_key not in kept and Passkey.objects.get().credential_id not in kept
    proof = {"passkey": device.sign(post(client, "me/mfa/passkey").json())}
    assert client.delete(path, proof, content_type="application/json").status_code == 204
    assert outcome(password_login(alice)) == (200, "")
    assert not RecoveryCode.objects.exists()
    acts = [audit_log.details(entry).get("act") for entry in LogEntry.objects.order_by("pk")]
    assert [act for act in acts if act] == ["passkey_added", "passkey_renamed", "passkey_removed"]


def test_its_person_is_told_by_mail(transactional_db: None, alice: Actor, settings: Any) -> None:
    settings.EMAIL_URL = "smtp://localhost"
    assert add(alice, Device()).status_code == 201
    mail.wait_until_sent()
    (told,) = outbox.outbox
    assert (told.to, "A passkey was added" in told.body) == ([alice.user.email], True)


def test_it_logs_in_without_a_password(alice: Actor, device: Device) -> None:
    answer = log_in(device)
    assert (answer.status_code, answer.json()["user"]["email"]) == (200, alice.user.email)
    assert alive(answer.json()["token"])
    browser = here()
    asked = post(browser, "auth/passkey").json()
    kept = browser.post("/portal/passkey-login", device.sign(asked), content_type="application/json")
    assert kept.status_code == 200 and "token" not in kept.json()
    assert browser.get("/api/v1/me", headers={"X-Portal": "1"}).json()["email"] == alice.user.email


def test_an_app_is_set_up_beside_it_with_a_proof(alice: Actor, device: Device) -> None:
    client = here(alice.token)
    assert post(client, "me/mfa", {"password": PASSWORD}).json()["error"]["param"] == "code"
    proof = {"passkey": device.sign(post(client, "me/mfa/passkey").json())}
    begun = post(client, "me/mfa", {"password": PASSWORD, **proof})
    assert begun.status_code == 201 and begun.json()["qr_code"].startswith("data:image/svg+xml")
    assert password_login(alice).json()["error"]["methods"] == ["passkey", "recovery_code"], "not before its first code"
    code = second_factor.app_code(base64.b32decode(begun.json()["secret"]), second_factor.current_step())
    confirmed = post(client, "me/mfa/confirm", {"code": code})
    assert (confirmed.status_code, confirmed.json()) == (200, {"recovery_codes": []})
    assert password_login(alice).json()["error"]["methods"] == ["app", "passkey", "recovery_code"]
    proof = {"passkey": device.sign(post(client, "me/mfa/passkey").json())}
    assert len(post(client, "me/mfa/recovery-codes", proof).json()["recovery_codes"]) == 10
    acts = [audit_log.details(entry).get("act") for entry in LogEntry.objects.order_by("pk")]
    assert acts[-2:] == ["app_added", "recovery_codes_renewed"]


def test_what_proves_nothing_is_refused(alice: Actor, bob: Actor, device: Device, settings: Any) -> None:
    settings.RATE_LIMIT_AUTH = "1000/min"

    def refused(answer: Any) -> bool:
        return outcome(answer) == (401, "passkey_invalid")

    asked = post(here(), "auth/passkey").json()
    signed = device.sign(asked)
    assert post(here(), "auth/passkey/login", signed).status_code == 200
    assert refused(post(here(), "auth/passkey/login", signed)), "a challenge is good once"
    assert refused(log_in(device, asked)), "also signed anew"

    for name, value in (("origin", "http://evil.example"), ("host", "evil.example"), ("knows_its_person", False)):
        original = getattr(device, name)
        setattr(device, name, value)
        assert refused(log_in(device)), name
        setattr(device, name, original)
    stranger = Device()
    assert refused(log_in(stranger)), "a key that nobody registered"
    stranger.credential_id = device.credential_id
    assert refused(log_in(stranger)), "another key under a known name"
    device.count = 0
    assert refused(log_in(device)), "a copy that has counted less"
    device.count = 100

    asked = post(here(), "auth/passkey").json()
    other_host = Client(headers={"Host": "testserver"})
    assert refused(post(other_host, "auth/passkey/login", device.sign(asked))), "made for another host"
    assert refused(post(here(), "auth/passkey/login", {**device.sign(asked), "state": asked["state"][:-2]}))
    second = password_login(alice).json()["error"]["passkey"]
    assert refused(log_in(device, second)), "a challenge of a second factor is none of a login without password"
    mine = Device()
    assert add(bob, mine).status_code == 201
    assert refused(password_login(alice, passkey=mine.sign(second))), "somebody else's passkey"
    bobs = password_login(bob).json()["error"]["passkey"]
    assert refused(password_login(alice, passkey=mine.sign(bobs))), "somebody else's login"
    User.objects.filter(pk=alice.user.pk).update(is_active=False)
    assert refused(log_in(device))
    settings.PASSWORD_LOGIN = False
    assert post(here(), "auth/passkey").status_code == 403
    assert log_in(mine, bobs).status_code == 403


@pytest.mark.parametrize("credential", [{}, {"rawId": 5}, {"rawId": "AA", "id": "AA", "response": {"signature": []}}])
def test_a_malformed_answer_is_a_clear_refusal(alice: Actor, credential: dict[str, Any], device: Device) -> None:
    if credential.get("rawId") == "AA":
        credential = {**credential, "rawId": websafe_encode(device.credential_id), "id": "x"}
    asked = post(here(), "auth/passkey").json()
    assert outcome(post(here(), "auth/passkey/login", {"state": asked["state"], "credential": credential})) == (
        401, "passkey_invalid",
    )  # fmt: skip
    begun = post(here(alice.token), "me/mfa/passkey").json()
    made = post(here(alice.token), "me/passkeys", {"state": begun["state"], "credential": credential})
    assert (made.status_code, made.json()["error"]["param"]) == (400, "state")


def test_a_thief_of_a_login_and_the_password_can_add_and_remove_none(alice: Actor, device: Device) -> None:
    _, stolen = create_login_token(alice.user)
    thief = here(stolen)
    assert post(thief, "me/passkeys/begin", {"password": PASSWORD}).json()["error"]["param"] == "code"
    assert post(here(alice.token), "me/passkeys/begin", {"password": "wrong"}).json()["error"]["param"] == "password"
    row = Passkey.objects.get()
    gone = thief.delete(f"/api/v1/me/passkeys/{row.pk}", {"code": "000000"}, content_type="application/json")
    assert (gone.status_code, gone.json()["error"]["param"]) == (400, "code")
    mine = here(alice.token)
    proof = {"passkey": device.sign(post(mine, "me/mfa/passkey").json())}
    assert post(thief, "me/passkeys/begin", {"password": PASSWORD, **proof}).status_code == 400, "another login's proof"
    begun = post(mine, "me/passkeys/begin", {"password": PASSWORD, **proof})
    assert begun.status_code == 200
    assert post(mine, "me/passkeys", device.create(begun.json())).json()["error"]["param"] == "credential", "known"
    evil = Device()
    assert post(thief, "me/passkeys", evil.create(begun.json())).json()["error"]["param"] == "state"
    evil.origin = "https://evil.example"
    assert post(mine, "me/passkeys", evil.create(begun.json())).json()["error"]["param"] == "credential"
    assert Passkey.objects.count() == 1
    by_address = Client(headers={"Host": "127.0.0.1", "Authorization": f"Bearer {alice.token}"})
    assert "host name" in post(by_address, "me/mfa/passkey").json()["error"]["message"]


def test_an_app_that_a_thief_began_before_is_worth_nothing_after(alice: Actor) -> None:
    thiefs = Phone(alice.with_login())
    assert add(alice, Device()).status_code == 201
    confirmed = alice.post(
        "/api/v1/me/mfa/confirm", {"code": thiefs.code()}, headers={"Authorization": f"Bearer {alice.key}"}
    )
    assert confirmed.status_code == 400


def test_whom_an_issuer_logs_in_has_no_passkey_that_would_outlive_their_place_there(
    alice: Actor, device: Device
) -> None:
    alice.user.set_unusable_password()
    User.objects.filter(pk=alice.user.pk).update(password=alice.user.password)
    assert outcome(post(here(alice.token), "me/passkeys/begin")) == (403, "permission_denied")
    assert outcome(log_in(device)) == (401, "passkey_invalid")


def test_of_two_logins_with_one_answer_one_gets_in(server: str, alice: Actor, device: Device) -> None:
    with httpx.Client(base_url=server, headers={"Host": HOST}, timeout=30) as client, ThreadPoolExecutor(4) as pool:
        body = device.sign(client.post("/api/v1/auth/passkey").json())
        answers = list(pool.map(lambda _: client.post("/api/v1/auth/passkey/login", json=body), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


def test_it_counts_for_admin_mfa_and_reset_mfa_and_leaving_take_it_away(
    ada: Actor, alice: Actor, device: Device, settings: Any
) -> None:
    settings.ADMIN_MFA = "required"
    assert ada.get("/api/v1/admin/users").status_code == 403
    adas = Device()
    assert add(ada, adas).status_code == 201
    assert ada.get("/api/v1/admin/users").status_code == 200
    browser = here()
    asked = post(browser, "auth/passkey").json()
    browser.post("/portal/passkey-login", adas.sign(asked), content_type="application/json")
    assert browser.get("/admin/login/?next=/admin/accounts/user/")["Location"] == "/admin/accounts/user/"
    assert browser.get("/admin/accounts/user/").status_code == 200
    call_command("reset_mfa", ada.user.email)
    assert not passkeys.of_person(ada.user).exists()
    assert outcome(log_in(adas)) == (401, "passkey_invalid")
    settings.ACCOUNT_DELETION_GRACE_DAYS = 0
    leaving.ask(alice.user)
    leaving.erase_due()
    assert not Passkey.objects.exists()
    assert "my phone" not in json.dumps(
        list(LogEntry.objects.filter(object_id=str(alice.user.pk)).values_list("change_message"))
    )


def test_a_limited_key_and_an_unlimited_one(alice: Actor) -> None:
    _, limited = create_api_key(user=alice.user, organization=alice.organization, name="x", spend_limit=1)
    assert here(limited).get("/api/v1/me/passkeys").status_code == 403
    assert post(here(limited), "me/passkeys/begin", {"password": PASSWORD}).status_code == 403
    assert here(alice.key).get("/api/v1/me/passkeys").json()["results"] == []


def test_an_app_of_before_stays_when_a_passkey_goes(alice: Actor) -> None:
    phone = set_up(alice.with_login())
    device = Device()
    made = add(alice, device, code=phone.recovery_codes[0])
    assert (made.status_code, made.json()["recovery_codes"]) == (201, [])
    gone = here(alice.token).delete(
        f"/api/v1/me/passkeys/{made.json()['id']}", {"code": phone.recovery_codes[1]}, content_type="application/json"
    )
    assert gone.status_code == 204
    assert password_login(alice).json()["error"]["methods"] == ["app", "recovery_code"]
