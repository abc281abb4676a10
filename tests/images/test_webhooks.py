"""Webhooks against a real receiver on this machine."""

import asyncio
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.utils import timezone

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
        self.script: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.headers[SIGNATURE], body))
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
    found.server.shutdown()


def end_a_job(actor: Actor, url: str) -> ImageJob:
    job = enqueue(actor, webhook_url=url)
    assert jobs.cancel(job)
    return job


def send() -> WebhookDelivery:
    asyncio.run(webhooks.send_due())
    return WebhookDelivery.objects.get()


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
    secret = alice.get("/api/v1/images/webhook-secret").json()["secret"]
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
