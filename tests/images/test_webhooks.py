"""Webhooks against a real receiver on this machine."""

import asyncio
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from standardwebhooks import Webhook

from aichat.core.database import executor
from aichat.core.outbound.webhooks import SIGNATURE
from aichat.images import jobs, webhooks
from aichat.images.models import ImageJob, WebhookDelivery
from tests.conftest import Actor
from tests.images.test_workers import enqueue


class Receiver:
    """Remembers what it got and answers the statuses of its script, then 204."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.hangs = False
        self.stopping = threading.Event()
        self.script: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.headers[SIGNATURE], body))
                receiver.headers.append(dict(self.headers))
                if receiver.hangs:
                    receiver.stopping.wait(20)
                    return
                self.send_response(receiver.script.pop(0) if receiver.script else 204)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.ALLOW_PRIVATE_WEBHOOKS = True
    found = Receiver()
    yield found
    found.stopping.set()
    found.server.shutdown()


def end_a_job(actor: Actor, url: str) -> ImageJob:
    job = enqueue(actor, webhook_url=url)
    assert jobs.cancel(job)
    return job


def send() -> WebhookDelivery:
    asyncio.run(send_all())
    return WebhookDelivery.objects.get()


async def send_all() -> None:
    """One look for what is due, and the end of what is sent."""
    sender = webhooks.WebhookSender()
    await sender.send_due()
    if sender.sending:
        await asyncio.wait(sender.sending)


@pytest.fixture(autouse=True)
def _close_threads(transactional_db: None, catalog: None) -> Iterator[None]:
    yield
    executor.close()


def test_the_end_of_a_job_is_told_and_signed(alice: Actor, receiver: Receiver) -> None:
    job = end_a_job(alice, receiver.url)
    delivery = send()
    assert (delivery.state, delivery.status_code, delivery.attempts) == ("DELIVERED", 204, 1)
    sent, body = receiver.got[0]
    seconds, digest = (part.split("=")[1] for part in sent.split(","))
    secret = alice.get("/api/v1/images/webhook-secret").json()["old_secret"]
    assert hmac.compare_digest(digest, hmac.new(secret.encode(), f"{seconds}.".encode() + body, "sha256").hexdigest())
    assert json.loads(body)["id"] == str(job.pk)
    assert json.loads(body)["status"] == "cancelled"


def test_a_receiver_that_fails_is_asked_again_later(alice: Actor, receiver: Receiver) -> None:
    receiver.script = [500]
    end_a_job(alice, receiver.url)
    delivery = send()
    assert (delivery.state, delivery.status_code) == ("WAITING", 500)
    assert delivery.next_at > timezone.now()
    assert send().attempts == 1  # not before its time
    WebhookDelivery.objects.update(next_at=timezone.now())
    assert send().state == "DELIVERED"


def test_redirects_are_not_followed(alice: Actor, receiver: Receiver) -> None:
    receiver.script = [302]
    end_a_job(alice, receiver.url)
    assert send().problem == "answered 302"


def test_after_enough_attempts_it_is_given_up(alice: Actor, receiver: Receiver) -> None:
    receiver.script = [500]
    end_a_job(alice, receiver.url)
    WebhookDelivery.objects.update(attempts=webhooks.MOST_ATTEMPTS - 1)
    assert send().state == "GIVEN_UP"


def test_a_message_is_signed_as_a_standard_webhook_with_one_id_for_all_tries(alice: Actor, receiver: Receiver) -> None:
    receiver.script = [500]
    end_a_job(alice, receiver.url)
    send()
    WebhookDelivery.objects.update(next_at=timezone.now())
    send()
    secret = alice.get("/api/v1/images/webhook-secret").json()["secret"]
    for headers, (_, body) in zip(receiver.headers, receiver.got, strict=True):
        assert Webhook(secret).verify(body, headers)["type"] == "image.finished"
    assert len({headers["webhook-id"] for headers in receiver.headers}) == 1


def test_a_receiver_that_is_gone_is_not_asked_again(alice: Actor, receiver: Receiver) -> None:
    receiver.script = [410]
    end_a_job(alice, receiver.url)
    assert send().state == "GIVEN_UP"


def test_a_receiver_that_never_answers_keeps_nobody_elses_webhooks_waiting(
    alice: Actor, bob: Actor, receiver: Receiver
) -> None:
    deaf = Receiver()
    deaf.hangs = True
    try:
        for _ in range(webhooks.AT_ONCE):
            end_a_job(alice, deaf.url)
        end_a_job(bob, receiver.url)
        asyncio.run(send_until(lambda: bool(receiver.got) and len(deaf.got) == webhooks.AT_ONCE_EACH))
    finally:
        deaf.stopping.set()
        deaf.server.shutdown()
    assert len(receiver.got) == 1
    assert len(deaf.got) == webhooks.AT_ONCE_EACH


async def send_until(is_enough: Callable[[], bool]) -> None:
    sender = webhooks.WebhookSender()
    for _ in range(100):
        await sender.send_due()
        if is_enough():
            break
        await asyncio.sleep(0.05)
    for task in sender.sending:
        task.cancel()
    await asyncio.gather(*sender.sending, return_exceptions=True)


def test_a_delivery_that_another_process_has_is_not_sent_twice(alice: Actor, receiver: Receiver) -> None:
    end_a_job(alice, receiver.url)
    assert len(webhooks.claim_due(webhooks.Room())) == 1
    assert webhooks.claim_due(webhooks.Room()) == []


def test_a_late_failure_does_not_undo_a_delivery(alice: Actor, receiver: Receiver) -> None:
    end_a_job(alice, receiver.url)
    (slow,) = webhooks.claim_due(webhooks.Room())
    WebhookDelivery.objects.update(next_at=timezone.now())  # its lease ran out
    assert send().state == "DELIVERED"
    webhooks.record(slow, None, "TimeoutError")
    assert WebhookDelivery.objects.get().state == "DELIVERED"


def test_an_operator_sends_dead_letters_again(ada: Actor, alice: Actor, receiver: Receiver) -> None:
    receiver.script = [410]
    end_a_job(alice, receiver.url)
    delivery = send()
    console = Client()
    console.force_login(ada.user)
    action = {"action": "send_again", "_selected_action": [str(delivery.pk)]}
    console.post(reverse("admin:images_webhookdelivery_changelist"), action)
    assert send().state == "DELIVERED"


PRIVATE = ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1"]


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_refused(alice: Actor, receiver: Receiver, settings: Any, host: str) -> None:
    settings.ALLOW_PRIVATE_WEBHOOKS = False
    end_a_job(alice, receiver.url.replace("127.0.0.1", host))
    delivery = send()
    assert (delivery.state, delivery.status_code) == ("WAITING", None)
    assert receiver.got == []


@pytest.mark.parametrize("host", [*PRIVATE, "[::ffff:10.0.0.1]", "api.localhost"])
def test_an_address_written_as_a_private_one_is_refused_at_once(alice: Actor, settings: Any, host: str) -> None:
    settings.ALLOW_PRIVATE_WEBHOOKS = False
    wanted = {"prompt": "a cat", "background": True, "webhook_url": f"https://{host}/"}
    error = alice.post("/api/v1/images", wanted).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "webhook_url")


@pytest.mark.parametrize("url", ["ftp://x.org/", "javascript:alert(1)", "http://", "x.org", "https://a b"])
def test_what_is_no_web_address_is_refused_at_once(alice: Actor, url: str) -> None:
    answer = alice.post("/api/v1/images", {"prompt": "a cat", "background": True, "webhook_url": url})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "webhook_url"
