"""A storm of a shop's messages while the server's processes are killed: each payment is in the ledger exactly once.

10,000 signed messages (SOAK_WEBHOOKS) about a third as many facts, shuffled and each sent three times, by 16 senders at once
to a server of two processes, one of which dies by `kill -9` every two seconds. A sender tries again until it gets a 200.
"""

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
from standardwebhooks import Webhook

from tests.service import Service, running_service

WEBHOOKS = int(os.environ.get("SOAK_WEBHOOKS", "10000"))
KILL_EVERY = float(os.environ.get("SOAK_KILL_SECONDS", "2"))
SENDERS, PEOPLE, PATIENCE = 16, 20, 900.0
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ENDS = (datetime.now(UTC) + timedelta(days=20)).isoformat()
Message = dict[str, Any]


def facts_of(number: int) -> list[Message]:
    """What happens to a payment of 10 credits: 3, then 7 are given back. With each third, a month of 5 credits is paid."""
    payer = {"email": f"p{number % PEOPLE}@example.com"}
    payment = {"id": f"pay_{number}", **payer}
    found: list[Message] = [
        {"type": "payment.succeeded", **payment, "credits": "10", "amount": "1", "currency": "EUR"},
        {"type": "payment.refunded", **payment, "credits": "3"},
        {"type": "payment.refunded", **payment, "credits": "7"},
    ]
    if number % 3 == 0:
        month = {"plan": "pro", "period_end": ENDS}
        found.append({"type": "subscription.updated", "id": f"sub_{number}", **payer, **month})
    return found


def signed(message: Message) -> dict[str, Any]:
    body, now, name = json.dumps(message), datetime.now(UTC), f"msg_{uuid4().hex}"
    headers = {
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(name, now, body),
        "content-type": "application/json",
    }
    return {"content": body, "headers": headers}


def deliver(service: Service, messages: list[Message]) -> Counter[str]:
    """Send every message until it is taken; what was answered, by status or kind of failure."""
    seen: Counter[str] = Counter()
    with httpx.Client(base_url=service.address, timeout=30) as client:
        for message in messages:
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until:
                try:
                    answer = str(client.post("/webhooks/payments", **signed(message)).status_code)
                except httpx.TransportError as error:
                    answer = type(error).__name__
                seen[answer] += 1
                if answer == "200":
                    break
                time.sleep(0.05)
    return seen


def kill_until(service: Service, done: threading.Event, killed: list[int]) -> None:
    while not done.wait(KILL_EVERY):
        workers = service.workers()
        if len(workers) == service.count:
            os.kill(random.choice(workers), signal.SIGKILL)
            killed.append(1)


def register(service: Service) -> list[str]:
    tokens = []
    for number in range(PEOPLE):
        body = {"email": f"p{number}@example.com", "password": "correct horse battery"}
        answer = httpx.post(f"{service.address}/api/v1/auth/register", json=body, timeout=30)
        assert answer.status_code == 201, answer.text
        tokens.append(answer.json()["token"])
    return tokens


def test_a_storm_of_messages_with_kills_is_exactly_once_in_the_ledger(capsys: Any) -> None:
    payments = max(1, WEBHOOKS * 3 // 10 // 3)
    facts = [fact for number in range(payments) for fact in facts_of(number)]
    messages = facts * 3
    random.Random(7).shuffle(messages)
    options = {"PAYMENTS_WEBHOOK_SECRET": SECRET, "STARTER_CREDITS": "100", "RATE_LIMIT_AUTH": "10000/min"}
    with running_service(workers=2, REGISTRATION_OPEN="true", **options) as service:
        tokens = register(service)
        plan = {"slug": "pro", "name": "Pro", "price": "1", "currency": "EUR", "credits": "5"}
        made = httpx.post(f"{service.address}/api/v1/admin/plans", json=plan, headers=service.headers, timeout=30)
        assert made.status_code == 201, made.text
        done, killed = threading.Event(), list[int]()
        killer = threading.Thread(target=kill_until, args=(service, done, killed))
        began = time.monotonic()
        killer.start()
        with ThreadPoolExecutor(SENDERS) as pool:
            parts = [messages[number::SENDERS] for number in range(SENDERS)]
            seen = sum(pool.map(lambda part: deliver(service, part), parts), Counter[str]())
        took = time.monotonic() - began
        done.set()
        killer.join()
        service.wait_until_ready()
        expected = Counter(dict.fromkeys(range(PEOPLE), 100))
        for number in range(payments):
            expected[number % PEOPLE] += 3 + (5 if number % 3 == 0 else 0)
        for number, token in enumerate(tokens):
            headers = {"Authorization": f"Bearer {token}"}
            found = httpx.get(f"{service.address}/api/v1/credits", headers=headers, timeout=30).json()
            assert found["balance"] == str(expected[number]), (number, found)
        service.manage("verify_ledger")
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{len(messages)} messages of {payments} payments, {len(killed)} kills, {took:.0f} s, "
            f"{len(messages) / took:.0f} a second; answers: {dict(seen)}"
        )
    assert seen["200"] == len(messages)
