"""Mail to a real SMTP server of the tests, and the address that names one."""

import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMultiAlternatives
from django.utils import timezone

from aichat.core.config import checks, stores
from aichat.core.errors import Overloaded
from aichat.core.outbound import mail
from aichat.core.outbound.models import QueuedMail
from tests.logs import Logs


class Smtp(socketserver.StreamRequestHandler):
    """The least of RFC 5321 that a client needs; the first `busy` mails are refused for the moment."""

    def handle(self) -> None:
        server: Any = self.server
        self.say("220 tests")
        while line := self.rfile.readline().decode().strip():
            verb = line.split(" ")[0].split(":")[0].upper()
            if verb == "DATA":
                self.say("354 go on")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                if server.busy:
                    server.busy -= 1
                    self.say("451 later")
                else:
                    server.mails.append(text.decode())
                    self.say("250 ok")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@pytest.fixture
def smtp(settings: Any, transactional_db: None) -> Iterator[Any]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp) as server:
        server.daemon_threads = True
        server.mails, server.busy = [], 0  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        use(settings, f"smtp://127.0.0.1:{server.server_address[1]}")
        yield server
        server.shutdown()


def use(settings: Any, url: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("X", url)
        for name, value in stores.mail("X", "", timeout=2.0).items():
            setattr(settings, name, value)


def send(to: str = "alice@example.com") -> None:
    mail.send(to, "accounts/mail/reset", {"token": "the-code", "link": ""})
    mail.wait_until_sent()


def test_a_mail_arrives_as_text_and_html_from_the_configured_sender(smtp: Any, settings: Any) -> None:
    settings.EMAIL_FROM = "Our chat <chat@example.com>"
    send()
    (text,) = smtp.mails
    assert "From: Our chat <chat@example.com>" in text and "To: alice@example.com" in text
    assert text.count("the-code") == 2 and "text/plain" in text and "text/html" in text


def test_a_server_that_is_busy_is_asked_again(smtp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "PAUSE", 0.01)
    smtp.busy = 2
    send()
    assert len(smtp.mails) == 1


def test_what_was_not_sent_is_logged_without_address_or_code(
    settings: Any, transactional_db: None, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    monkeypatch.setattr(mail, "PAUSE", 0.01)
    use(settings, "smtp://127.0.0.1:9")
    send()
    assert "a mail (accounts/mail/reset) was not sent" in logs.text
    assert "the-code" not in logs.text and "alice@" not in logs.text


def test_in_a_transaction_a_mail_waits_for_the_commit(smtp: Any) -> None:
    from aichat.core.database import transactions

    def fail() -> None:
        mail.send("alice@example.com", "accounts/mail/reset", {"token": "x"})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        transactions.run_atomic(fail)
    mail.wait_until_sent()
    assert smtp.mails == []


def test_a_mail_of_a_process_that_died_is_sent_by_another(smtp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_submit", lambda row: None)  # dead after the commit
    send()
    assert mail.send_due() == 0, "its process may still be at it"
    assert "the-code" not in QueuedMail.objects.get().sealed and "alice" not in QueuedMail.objects.get().sealed
    QueuedMail.objects.update(due_at=timezone.now())
    assert (mail.send_due(), len(smtp.mails)) == (1, 1)
    assert not QueuedMail.objects.exists()


def test_a_mail_that_no_server_takes_is_tried_again_and_given_up_in_the_end(
    smtp: Any, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    monkeypatch.setattr(mail, "PAUSE", 0.0)
    smtp.busy = 3
    send()
    assert (smtp.mails, mail.send_due()) == ([], 0)
    QueuedMail.objects.update(due_at=timezone.now())
    assert (mail.send_due(), len(smtp.mails)) == (1, 1)

    smtp.busy = 1000
    send()
    for _ in mail.AGAIN:
        QueuedMail.objects.update(due_at=timezone.now())
        assert mail.send_due() == 1
    assert not QueuedMail.objects.exists() and "is given up" in logs.text


def test_of_two_who_find_the_same_mail_one_sends_it(smtp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_submit", lambda row: None)
    send()
    row = QueuedMail.objects.get()
    assert [mail._take_and_send(row), mail._take_and_send(row)] == [True, False]
    assert len(smtp.mails) == 1


def test_a_mail_for_nobody_leaves_nothing(smtp: Any) -> None:
    mail.send_nothing()
    mail.wait_until_sent()
    assert smtp.mails == [] and not QueuedMail.objects.exists()


def test_a_full_queue_refuses(settings: Any, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "LONGEST_QUEUE", 0)
    with pytest.raises(Overloaded):
        mail.send("alice@example.com", "accounts/mail/reset", {})


@pytest.mark.parametrize(
    ("url", "port", "tls", "ssl"),
    [
        ("smtp://localhost", 25, False, False),
        ("smtp://me:p%40ss@mail.example.com:587", 587, True, False),
        ("smtp://me:p%40ss@127.0.0.1:2525", 2525, False, False),
        ("smtp+tls://mail.example.com", 587, True, False),
        ("smtps://me:p%40ss@mail.example.com/", 465, False, True),
    ],
)
def test_the_address_names_server_port_and_encryption(
    url: str, port: int, tls: bool, ssl: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("X", url)
    found = stores.mail("X", "", timeout=10)
    assert (found["EMAIL_PORT"], found["EMAIL_USE_TLS"], found["EMAIL_USE_SSL"]) == (port, tls, ssl)
    assert found["EMAIL_HOST_PASSWORD"] in {"", "p@ss"}


def test_console_prints_and_nothing_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "dummy" in stores.mail("X", "", timeout=1)["EMAIL_BACKEND"]
    monkeypatch.setenv("X", "console:")
    assert "console" in stores.mail("X", "", timeout=1)["EMAIL_BACKEND"]


@pytest.mark.parametrize(
    "url", ["mail.example.com", "http://mail", "smtp://", "smtp://me@mail", "smtp://a:se:cr/et@mail", "smtp://m:99999"]
)
def test_a_wrong_address_is_told_and_not_quoted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_URL", url)
    with pytest.raises(ImproperlyConfigured) as caught:
        stores.mail("EMAIL_URL", "", timeout=1)
    assert str(caught.value).startswith("EMAIL_URL is wrong: write smtp://") and "cr/et" not in str(caught.value)


def test_confirming_addresses_without_a_mail_server_stops_the_start(settings: Any) -> None:
    settings.EMAIL_VERIFICATION, settings.EMAIL_URL = "required", ""
    assert [problem.id for problem in checks.confirming_an_address_needs_mail()] == ["aichat.E011"]
    settings.EMAIL_URL = "console:"
    assert checks.confirming_an_address_needs_mail() == []


def test_a_message_has_one_line_of_subject() -> None:
    message = mail._message("a@example.com", "accounts/mail/email_change", {"email": "x\ny@example.com"}, None)
    assert isinstance(message, EmailMultiAlternatives)
    assert "\n" not in message.subject
