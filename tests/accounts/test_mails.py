"""A forgotten password, and confirming and changing an address, over HTTP and by the codes in real mails."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core import mail as django_mail
from django.db import connections
from django.test import Client

from accounts import mail_tokens
from accounts.models import AccessToken, Role, User
from aichat.core.outbound import mail
from tests.conftest import PASSWORD, Actor

NEW = "another quite long passphrase"
Mails = Callable[[], list[Any]]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def mails(transactional_db: None) -> Iterator[Mails]:
    """What was sent so far."""

    def sent() -> list[Any]:
        mail.wait_until_sent()
        return list(django_mail.outbox)

    yield sent
    mail.wait_until_sent()


def code_in(message: Any) -> str:
    found = re.search(r"Your code: (\S+)", message.body)
    assert found
    return found[1]


def call(path: str, who: Client | None = None, **body: Any) -> Any:
    return (who or Client()).post(f"/api/v1/{path}", body, content_type="application/json")


def refused(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


class TestForgottenPassword:
    def reset_code(self, mails: Mails, email: str = "alice@example.com") -> str:
        assert call("auth/password/reset", email=email).status_code == 202
        return code_in(mails()[-1])

    def test_the_code_of_the_mail_sets_a_new_password_and_ends_all_logins(self, alice: Actor, mails: Mails) -> None:
        code = self.reset_code(mails, " ALICE@example.com".strip())
        message = mails()[0]
        assert (message.to, message.subject) == (["alice@example.com"], "A new password")
        assert message.alternatives[0].mimetype == "text/html" and code in message.alternatives[0].content
        assert call("auth/password/reset/confirm", token=code, password=NEW).status_code == 204
        assert Client(headers={"Authorization": f"Bearer {alice.token}"}).get("/api/v1/me").status_code == 401
        assert alice.get("/api/v1/me").status_code == 200  # the API key stays
        assert call("auth/login", email="alice@example.com", password=PASSWORD).status_code == 401
        assert call("auth/login", email="alice@example.com", password=NEW).status_code == 200

    def test_keys_of_who_never_confirmed_the_address_end_with_the_reset(
        self, alice: Actor, mails: Mails, settings: Any
    ) -> None:
        settings.EMAIL_VERIFICATION = "optional"
        code = self.reset_code(mails)
        assert call("auth/password/reset/confirm", token=code, password=NEW).status_code == 204
        assert alice.get("/api/v1/me").status_code == 401

    def test_the_code_works_once(self, alice: Actor, mails: Mails) -> None:
        code = self.reset_code(mails)
        assert call("auth/password/reset/confirm", token=code, password=NEW).status_code == 204
        again = call("auth/password/reset/confirm", token=code, password=NEW + "2")
        assert refused(again) == (400, "invalid_request", "token")

    def test_of_two_at_the_same_moment_one_sets_the_password(self, alice: Actor, mails: Mails) -> None:
        code = self.reset_code(mails)

        def confirm(number: int) -> int:
            try:
                return int(call("auth/password/reset/confirm", token=code, password=f"{NEW} {number}").status_code)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(confirm, range(4))) == [204, 400, 400, 400]

    def test_a_weak_password_is_named_and_leaves_the_code_good(self, alice: Actor, mails: Mails) -> None:
        code = self.reset_code(mails)
        assert refused(call("auth/password/reset/confirm", token=code, password="12345678"))[2] == "password"
        assert call("auth/password/reset/confirm", token=code, password=NEW).status_code == 204

    def test_a_change_of_password_ends_the_code(self, alice: Actor, mails: Mails) -> None:
        code = self.reset_code(mails)
        alice.with_login().post("/api/v1/auth/password", {"current_password": PASSWORD, "new_password": NEW})
        assert refused(call("auth/password/reset/confirm", token=code, password=NEW))[2] == "token"

    def test_the_code_ends_after_an_hour(self, alice: Actor, mails: Mails, monkeypatch: pytest.MonkeyPatch) -> None:
        code = self.reset_code(mails)
        assert mail_tokens.SECONDS[mail_tokens.RESET] == 3600
        monkeypatch.setitem(mail_tokens.SECONDS, mail_tokens.RESET, -1)
        assert refused(call("auth/password/reset/confirm", token=code, password=NEW))[2] == "token"

    @pytest.mark.parametrize("code", ["", "x", "a:b:c", "é" * 500, "x" * 1001, "a\0b", None, 7, ["x"]])
    def test_a_code_that_is_none_is_refused(self, alice: Actor, code: Any) -> None:
        assert refused(call("auth/password/reset/confirm", token=code, password=NEW))[2] == "token"

    def test_a_code_for_another_purpose_is_none(self, alice: Actor) -> None:
        code = mail_tokens.make(mail_tokens.EMAIL, alice.user, alice.user.email)
        assert refused(call("auth/password/reset/confirm", token=code, password=NEW))[2] == "token"

    def test_strangers_get_the_same_answer_and_no_mail(
        self, alice: Actor, actor: Callable[..., Actor], mails: Mails
    ) -> None:
        gone, sso = actor("gone").user, actor("sso").user
        User.objects.filter(pk=gone.pk).update(is_active=False)
        sso.set_unusable_password()
        sso.save()
        answers = [
            call("auth/password/reset", email=email)
            for email in ("alice@example.com", "nobody@example.com", gone.email, sso.email)
        ]
        assert {(answer.status_code, answer.content) for answer in answers} == {(202, b"")}
        assert [message.to for message in mails()] == [["alice@example.com"]]

    def test_it_is_limited_by_address_and_by_e_mail(self, alice: Actor, settings: Any) -> None:
        settings.RATE_LIMIT_AUTH = "2/min"
        same_address = [call("auth/password/reset", email=f"u{i}@example.com").status_code for i in range(3)]
        assert same_address == [202, 202, 429]
        same_email = [
            call("auth/password/reset", Client(REMOTE_ADDR=f"10.0.0.{i}"), email="alice@example.com").status_code
            for i in range(3)
        ]
        assert same_email == [202, 202, 429]

    def test_without_a_mail_server_it_is_a_503_that_names_the_setting(self, alice: Actor, settings: Any) -> None:
        settings.EMAIL_URL = ""
        for email in ("alice@example.com", "nobody@example.com"):
            answer = call("auth/password/reset", email=email)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "mail_unavailable")
            assert "EMAIL_URL" in answer.json()["error"]["message"]

    def test_with_pages_of_ones_own_the_mail_links_to_them(self, alice: Actor, mails: Mails, settings: Any) -> None:
        settings.APP_URL = "https://chat.example.com"
        code = self.reset_code(mails)
        assert f"https://chat.example.com/reset-password?token={code}" in mails()[0].body


class TestAddress:
    def ask(self, who: Actor, email: str, password: str = PASSWORD) -> Any:
        return who.post("/api/v1/me/email", {"email": email, "password": password})

    def test_a_new_address_counts_once_it_is_confirmed_and_the_old_one_is_told(
        self, alice: Actor, mails: Mails
    ) -> None:
        assert self.ask(alice, "New@Example.com").status_code == 202
        by_address = {message.to[0]: message for message in mails()}
        assert set(by_address) == {"new@example.com", "alice@example.com"}
        assert "new@example.com" in by_address["alice@example.com"].body
        assert alice.get("/api/v1/me").json()["email"] == "alice@example.com"
        code = code_in(by_address["new@example.com"])
        assert call("auth/email/verify", token=code).status_code == 204
        me = alice.get("/api/v1/me").json()
        assert (me["email"], me["email_confirmed"]) == ("new@example.com", True)
        assert refused(call("auth/email/verify", token=code)) == (400, "invalid_request", "token")

    def test_it_wants_the_password(self, alice: Actor, mails: Mails) -> None:
        assert refused(self.ask(alice, "new@example.com", "wrong"))[2] == "password"
        assert mails() == []

    def test_somebody_elses_address_gets_no_mail_and_the_same_answer(
        self, alice: Actor, bob: Actor, mails: Mails
    ) -> None:
        taken, free = self.ask(alice, "bob@example.com"), self.ask(alice, "new@example.com")
        assert (taken.status_code, taken.content) == (free.status_code, free.content)
        assert sorted(message.to[0] for message in mails()) == ["alice@example.com"] * 2 + ["new@example.com"]

    def test_an_address_taken_meanwhile_is_refused(
        self, alice: Actor, actor: Callable[..., Actor], mails: Mails
    ) -> None:
        self.ask(alice, "new@example.com")
        code = next(code_in(message) for message in mails() if message.to == ["new@example.com"])
        actor("new")
        assert refused(call("auth/email/verify", token=code))[2] == "token"
        assert alice.get("/api/v1/me").json()["email"] == "alice@example.com"

    def test_a_change_of_password_stops_the_change(self, alice: Actor, mails: Mails) -> None:
        self.ask(alice, "new@example.com")
        code = next(code_in(message) for message in mails() if message.to == ["new@example.com"])
        alice.with_login().post("/api/v1/auth/password", {"current_password": PASSWORD, "new_password": NEW})
        assert refused(call("auth/email/verify", token=code))[2] == "token"

    def test_the_present_address_is_confirmed_again(self, alice: Actor, mails: Mails) -> None:
        assert self.ask(alice, "alice@example.com").status_code == 202
        assert [message.to for message in mails()] == [["alice@example.com"]]
        assert call("auth/email/verify", token=code_in(mails()[0])).status_code == 204
        assert alice.get("/api/v1/me").json()["email_confirmed"] is True


class TestConfirmation:
    def register(self, email: str = "dora@example.com") -> Client:
        made = call("auth/register", email=email, password=PASSWORD)
        assert made.status_code == 201
        return Client(headers={"Authorization": f"Bearer {made.json()['token']}"})

    def credits(self, who: Client) -> str:
        return str(who.get("/api/v1/credits").json()["balance"])

    def test_by_default_nobody_is_asked(self, mails: Mails) -> None:
        dora = self.register()
        assert (self.credits(dora), mails()) == ("100", [])

    def test_optional_it_is_asked_for_and_changes_nothing(self, mails: Mails, settings: Any) -> None:
        settings.EMAIL_VERIFICATION = "optional"
        dora = self.register()
        assert self.credits(dora) == "100"
        assert call("auth/email/verify", token=code_in(mails()[0])).status_code == 204
        assert self.credits(dora) == "100"

    def test_required_the_starter_credits_come_after_it_and_once(self, mails: Mails, settings: Any) -> None:
        settings.EMAIL_VERIFICATION = "required"
        dora = self.register()
        assert (self.credits(dora), dora.get("/api/v1/me").json()["email_confirmed"]) == ("0", False)
        assert call("auth/email/verify", token=code_in(mails()[0])).status_code == 204
        assert (self.credits(dora), dora.get("/api/v1/me").json()["email_confirmed"]) == ("100", True)
        again = {"email": "dora@example.com", "password": PASSWORD}
        dora.post("/api/v1/me/email", again, content_type="application/json")
        assert call("auth/email/verify", token=code_in(mails()[1])).status_code == 204
        assert self.credits(dora) == "100"

    @pytest.mark.parametrize("is_open", [True, False])
    def test_confirmations_at_the_same_moment_grant_once(self, is_open: bool, mails: Mails, settings: Any) -> None:
        settings.EMAIL_VERIFICATION = "required"
        settings.RATE_LIMIT_AUTH = "1000/min"
        dora = self.register()
        if is_open:
            assert self.credits(dora) == "0"
        code = code_in(mails()[0])

        def confirm(_: int) -> int:
            try:
                return int(call("auth/email/verify", token=code).status_code)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(confirm, range(4))) == [204, 400, 400, 400]
        assert self.credits(dora) == "100"
        kinds = [row["kind"] for row in dora.get("/api/v1/credits/entries").json()["results"]]
        assert kinds == ["STARTER"]

    def test_a_mail_that_cannot_be_queued_keeps_nobody_out(self, settings: Any) -> None:
        settings.EMAIL_VERIFICATION, settings.EMAIL_URL = "required", ""
        assert self.credits(self.register()) == "0"


class TestSessions:
    def test_lists_ones_logins_and_marks_the_one_that_asks(self, alice: Actor, bob: Actor) -> None:
        call("auth/login", email="alice@example.com", password=PASSWORD)
        rows = alice.with_login().get("/api/v1/me/sessions").json()["results"]
        assert [row["current"] for row in rows] == [False, True]
        assert set(rows[0]) == {"id", "name", "created_at", "expires_at", "current"}

    def test_ends_one_at_once(self, alice: Actor) -> None:
        other = call("auth/login", email="alice@example.com", password=PASSWORD).json()["token"]
        alice.with_login()
        newest = alice.get("/api/v1/me/sessions").json()["results"][0]
        assert alice.delete(f"/api/v1/me/sessions/{newest['id']}").status_code == 204
        assert Client(headers={"Authorization": f"Bearer {other}"}).get("/api/v1/me").status_code == 401
        assert alice.delete(f"/api/v1/me/sessions/{newest['id']}").status_code == 404
        assert len(alice.get("/api/v1/me/sessions").json()["results"]) == 1

    def test_anothers_and_an_api_key_are_nothing(self, alice: Actor, bob: Actor) -> None:
        session = AccessToken.objects.get(user=bob.user, kind="LOGIN")
        key = AccessToken.objects.get(user=alice.user, kind="API_KEY")
        assert alice.delete(f"/api/v1/me/sessions/{session.id}").status_code == 404
        assert alice.delete(f"/api/v1/me/sessions/{key.id}").status_code == 404
        assert AccessToken.objects.usable().filter(pk__in=[session.pk, key.pk]).count() == 2


def test_who_was_made_by_an_administrator_counts_as_confirmed(ada: Actor, client: Client) -> None:
    client.force_login(ada.user)
    form = {"email": "eve@example.com", "name": "", "role": Role.USER, "usable_password": "true"}
    client.post("/admin/accounts/user/add/", {**form, "password1": NEW, "password2": NEW})
    assert User.objects.get(email="eve@example.com").email_confirmed
