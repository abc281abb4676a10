"""Product events as rows: written off the request's way, found by administrators, pruned, and told to who may hear."""

import hmac
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from aichat.analytics import forwarding, recorder, retention
from aichat.analytics.models import Event, FirstTime
from aichat.core.background import batch_queue
from aichat.core.background.batch_queue import BatchQueue
from aichat.core.outbound.webhooks import SIGNATURE, signature
from aichat.core.telemetry import measurements, product_events, statsd
from aichat.core.telemetry.measurements import AttemptEnded, RequestEnded
from aichat.core.telemetry.product_events import ChatCompleted
from tests.conftest import PASSWORD, Actor
from tests.receiver import HANG, Receiver

SECRET = "marmalade-4711"


@pytest.fixture
def stored(settings: Any) -> Iterator[None]:
    """Events are kept; `recorder.queue.drain()` writes them on the test's own thread."""
    settings.ANALYTICS_STORED = True
    recorder.queue._waiting.clear()
    recorder._known.clear()
    yield
    recorder.queue.close()


@pytest.fixture(autouse=True)
def _by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread of its own writes between the lines of a test."""
    monkeypatch.setattr(recorder.queue, "_start", lambda: None)
    monkeypatch.setattr(connection, "close", lambda: None)


def chat(actor: Actor, **facts: Any) -> ChatCompleted:
    known: dict[str, Any] = {
        "model": "demo", "provider": "demo", "streamed": False, "fallback": False, "input_tokens": 3, "output_tokens": 4,
        "charged": 1_000_000, "latency_ms": 12, **facts,
    }  # fmt: skip
    return ChatCompleted(user=actor.user.pk, organization=actor.organization.pk, **known)


@pytest.mark.django_db(transaction=True)
def test_what_happened_is_found_by_administrators(http: httpx.Client, alice: Actor, ada: Actor, stored: None) -> None:
    http.post("/api/v1/chat", headers={**alice.headers, "X-Request-ID": "look.here"}, json={"message": SECRET})
    alice.post("/api/v1/api-keys", {"name": SECRET})
    recorder.queue.drain()
    found = ada.get("/api/v1/admin/events").json()["results"]
    assert {row["name"] for row in found} == {"chat_completed", "first_chat", "api_key_created"}
    for query in (f"user={alice.user.pk}", f"organization={alice.organization.pk}", "from=2026-01-01"):
        assert len(ada.get(f"/api/v1/admin/events?{query}").json()["results"]) == 3, query
    [chatted] = ada.get("/api/v1/admin/events?name=chat_completed&request_id=look.here").json()["results"]
    assert chatted["facts"]["charged"] == "1"
    assert ada.get("/api/v1/admin/events?to=2026-01-01").json()["results"] == []
    for secret in (SECRET, "alice@example.com", PASSWORD, alice.key):
        assert secret not in json.dumps(found)


@pytest.mark.parametrize("query", ["name=nonsense", "user=1", "from=yesterday"])
def test_a_wrong_filter_is_named(ada: Actor, query: str) -> None:
    answer = ada.get(f"/api/v1/admin/events?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.partition("=")[0]


def test_pages_are_cut_by_cursor(ada: Actor, stored: None) -> None:
    for number in range(5):
        product_events.emit(chat(ada, input_tokens=number))
    recorder.queue.drain()
    Event.objects.filter(name="first_chat").delete()
    first = ada.get("/api/v1/admin/events?page_size=3").json()
    second = ada.get(first["next"]).json()
    assert [row["facts"]["input_tokens"] for page in (first, second) for row in page["results"]] == [4, 3, 2, 1, 0]


def test_the_admin_shows_events_and_changes_none(ada: Actor, stored: None) -> None:
    product_events.emit(chat(ada))
    recorder.queue.drain()
    console = Client()
    console.force_login(ada.user)
    page = "/admin/analytics/event/"
    for query in ("", "?name=first_chat", f"?q={ada.user.pk}", "?q=ada@", "?q=nothing"):
        assert console.get(page + query).status_code == 200
    assert "charged 1 credits" in console.get(page).content.decode()
    row = Event.objects.first()
    assert row is not None
    assert "facts" in console.get(f"{page}{row.pk}/change/").content.decode().lower()
    assert console.get(f"{page}add/").status_code == console.post(f"{page}{row.pk}/delete/").status_code == 403


def test_somebody_chats_for_the_first_time_once_for_ever(alice: Actor, bob: Actor, stored: None) -> None:
    for _ in range(2):
        product_events.emit(chat(alice))
        product_events.emit(chat(alice))
        recorder.queue.drain()
        recorder._known.clear()  # another process, or after a restart
        Event.objects.filter(name="first_chat", user_id=bob.user.pk).delete()
        product_events.emit(chat(bob))
        recorder.queue.drain()
    assert Event.objects.filter(name="first_chat", user_id=alice.user.pk).count() == 1
    assert not Event.objects.filter(name="first_chat", user_id=bob.user.pk).exists()  # pruned is not forgotten
    assert FirstTime.objects.count() == 2
    assert Event.objects.filter(name="chat_completed").count() == 6


def test_old_events_are_pruned(alice: Actor, stored: None, settings: Any, host_goes_ahead: Callable[[], None]) -> None:
    product_events.emit(chat(alice))
    recorder.queue.drain()
    Event.objects.filter(name="chat_completed").update(created_at=timezone.now() - timedelta(days=400))
    settings.ANALYTICS_RETENTION_DAYS = 0
    assert retention.prune() == 0
    host_goes_ahead()  # the database's clock decides
    settings.ANALYTICS_RETENTION_DAYS = 365
    assert retention.prune() == 1
    assert [event.name for event in Event.objects.all()] == ["first_chat"]


def test_nothing_is_kept_where_nobody_wants_it(alice: Actor) -> None:
    recorder.queue._waiting.clear()
    product_events.emit(chat(alice))
    assert not recorder.queue._waiting


def test_every_filter_has_its_index(ada: Actor, stored: None) -> None:
    if connection.vendor == "mongodb":
        pytest.skip("its plans are tested in tests/databases")
    for only in ({}, {"name": "x"}, {"user_id": uuid4()}, {"organization_id": uuid4()}, {"request_id": "x"}):
        rows = Event.objects.filter(**only).order_by("-created_at", "-id")[:50]
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL enable_seqscan = off")
        assert "index" in rows.explain().lower(), only


# --- What leaves the house --------------------------------------------------------------------------------------------


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    found = Receiver()
    settings.ALLOW_PRIVATE_WEBHOOKS = True
    settings.ANALYTICS_WEBHOOK_SECRET = "shared"
    yield found
    found.close()


@pytest.fixture
def webhook(receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchQueue[Any]]:
    settings.ANALYTICS_WEBHOOK_URL = f"{receiver.url}/events"
    lane: BatchQueue[Any] = BatchQueue("analytics webhook", forwarding.deliver, attempts=3, every=0.01, capacity=100)
    monkeypatch.setattr(forwarding, "webhook_queue", lambda: lane)
    yield lane
    lane.close(0.1)
    batch_queue._queues.remove(lane)


def agree(actor: Actor, answer: bool | None = True) -> None:
    assert actor.patch("/api/v1/me", {"analytics_consent": answer}).json()["analytics_consent"] is answer


@pytest.mark.parametrize(
    ("policy", "answers", "told"),
    [("opt-in", (True, None, False), ["alice"]), ("opt-out", (True, None, False), ["alice", "bob"])],
)
def test_only_of_people_who_agreed(
    alice: Actor, bob: Actor, charlie: Actor, webhook: BatchQueue[Any], receiver: Receiver, settings: Any,
    policy: str, answers: tuple[bool | None, ...], told: list[str],
) -> None:  # fmt: skip
    settings.ANALYTICS_CONSENT = policy
    people = {"alice": alice, "bob": bob, "charlie": charlie}
    for actor, answer in zip(people.values(), answers, strict=True):
        agree(actor, answer)
        product_events.emit(chat(actor))
    recorder.queue.drain()
    webhook.close()
    sent = [event for _, _, body in receiver.got for event in json.loads(body)["events"]]
    assert {event["user"] for event in sent} == {str(people[name].user.pk) for name in told}
    assert "example.com" not in str(receiver.got[0][2])


def test_the_webhook_is_signed_and_says_each_event_by_its_id(
    alice: Actor, webhook: BatchQueue[Any], receiver: Receiver, stored: None
) -> None:
    agree(alice)
    product_events.emit(chat(alice))
    recorder.queue.drain()
    webhook.close()
    [(path, headers, body)] = receiver.got
    assert path == "/events"
    seconds = int(headers[SIGNATURE].split(",")[0].removeprefix("t="))
    assert abs(seconds - time.time()) < 60
    assert hmac.compare_digest(headers[SIGNATURE], signature("shared", body, seconds))
    assert {event["id"] for event in json.loads(body)["events"]} == {str(row.pk) for row in Event.objects.all()}


def test_a_receiver_that_fails_is_tried_again_then_the_events_are_dropped_and_counted(
    alice: Actor, webhook: BatchQueue[Any], receiver: Receiver
) -> None:
    agree(alice)
    receiver.script = [500, 500]
    webhook.put({"id": "1"})
    receiver.wait_for(3)
    receiver.otherwise = 500
    webhook.put({"id": "2"})
    receiver.wait_for(6)
    webhook.close()
    assert (len(receiver.got), webhook.dropped) == (6, 1)


def test_the_own_network_is_out_of_reach(webhook: BatchQueue[Any], receiver: Receiver, settings: Any) -> None:
    settings.ALLOW_PRIVATE_WEBHOOKS = False
    webhook.put({"id": "1"})
    webhook.close()
    assert (receiver.got, webhook.dropped) == ([], 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("trouble", ["hangs", "fails", "gone"])
def test_a_chat_does_not_notice_what_is_wrong_with_a_receiver(
    http: httpx.Client, alice: Actor, webhook: BatchQueue[Any], receiver: Receiver, settings: Any, trouble: str
) -> None:
    agree(alice)
    receiver.otherwise = HANG if trouble == "hangs" else 500
    if trouble == "gone":
        receiver.close()
    for _ in range(3):
        began = time.monotonic()
        assert http.post("/api/v1/chat", headers=alice.headers, json={"message": "Hi"}).status_code == 200
        recorder.queue.drain()
        assert time.monotonic() - began < 2


def test_posthog_gets_events_by_its_official_client(alice: Actor, receiver: Receiver, settings: Any) -> None:
    settings.POSTHOG_API_KEY, settings.POSTHOG_HOST = "phc_test", receiver.url
    receiver.otherwise = 200
    forwarding.posthog_client.cache_clear()
    agree(alice)
    product_events.emit(chat(alice))
    product_events.emit(product_events.SignedUp(user=uuid4(), method="password"))  # who did not agree
    recorder.queue.drain()
    client = forwarding.posthog_client(settings.POSTHOG_API_KEY, settings.POSTHOG_HOST)
    client.flush(5)
    client.shutdown()
    forwarding.posthog_client.cache_clear()
    sent = [item for _, _, body in receiver.got for item in json.loads(body)["batch"]]
    assert [item["event"] for item in sent] == ["chat_completed", "first_chat"]
    assert {item["distinct_id"] for item in sent} == {str(alice.user.pk)}
    assert sent[0]["properties"]["charged"] == 1.0
    assert "example.com" not in str(sent)
    import posthog

    assert posthog.default_client is None  # the package's own global state is untouched


def test_posthog_that_is_gone_costs_events_and_nothing_else(alice: Actor, settings: Any) -> None:
    lost = forwarding._lost
    forwarding.lost(ConnectionError(), [1, 2])
    assert forwarding._lost == lost + 2


# --- StatsD -----------------------------------------------------------------------------------------------------------


def test_statsd_gets_counters_and_timings_over_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        agent.settimeout(5)
        exporter = statsd.Exporter(*agent.getsockname())
        exporter.send(
            [
                RequestEnded(method="POST", route="api/v1/chat", status=200, seconds=0.25),
                AttemptEnded(
                    kind="chat", provider="openai", model="gpt", outcome="ok", final=True, seconds=0.2,
                    first_token_seconds=0.1, input_tokens=11, output_tokens=7, charged=1_500_000,
                ),
            ]
        )  # fmt: skip
        lines = set(agent.recv(65_536).decode().split())
    request, names = "method:POST,route:api/v1/chat,status:200", "kind:chat,provider:openai,model:gpt"
    assert lines == {
        f"aichat.requests:1|c|#{request}",
        f"aichat.request.duration:250.0|ms|#{request}",
        f"aichat.generations:1|c|#{names},outcome:ok,cached:false,fallback:false",
        f"aichat.generation.duration:200.0|ms|#{names},outcome:ok,cached:false,fallback:false",
        f"aichat.generation.first_token:100.0|ms|#{names}",
        f"aichat.tokens.input:11|c|#{names}",
        f"aichat.tokens.output:7|c|#{names}",
        f"aichat.credits.charged:1.5|c|#{names}",
    }


def test_statsd_listens_only_where_a_host_is_set(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "_listeners", [])
    settings.STATSD_HOST = None
    assert statsd.start() is None
    settings.STATSD_HOST = ("127.0.0.1", 9)
    assert measurements._listeners == [statsd.start()]
    measurements.note(RequestEnded(method="GET", route="", status=200, seconds=0.1))  # nobody is there: nothing happens
    lane = batch_queue._queues.pop()
    lane.close()
    assert lane.dropped == 0
