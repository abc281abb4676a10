"""Product events: each told once, after it is true, with identifiers and numbers only."""

import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_type_hints
from uuid import UUID, uuid4

import httpx
import pytest

from accounts.models import Role
from aichat.core.telemetry import measurements, product_events
from aichat.core.telemetry.measurements import AttemptEnded, Measurement, RequestEnded
from aichat.core.telemetry.product_events import ProductEvent
from aichat.flags import evaluation
from aichat.flags.models import Experiment, Flag
from aichat.usage.models import UsageRecord
from tests.conftest import PASSWORD, Actor
from tests.logs import wait_for
from tests.upstream import Reply, Upstream

Heard = list[ProductEvent]
SECRET = "marmalade-4711"


def chat(http: httpx.Client, actor: Actor, **body: Any) -> httpx.Response:
    return http.post("/api/v1/chat", headers=actor.headers, json={"message": f"Hi {SECRET}", **body})


def names(heard: Heard) -> list[str]:
    return [event.name for event in heard]


@pytest.mark.parametrize("kind", product_events.CATALOG.values(), ids=lambda kind: kind.name)
def test_facts_are_identifiers_and_numbers(kind: type[ProductEvent]) -> None:
    types = get_type_hints(kind)
    assert kind.__doc__ or kind is product_events.ApiKeyRevoked
    for field in fields(kind):
        assert types[field.name] in (str, int, bool, UUID, UUID | None), field.name
        assert not {"content", "email", "comment", "message", "prompt", "secret", "password"} & {field.name}


def test_what_the_catalogue_does_not_know_can_not_be_said() -> None:
    with pytest.raises(TypeError):
        product_events.ApiKeyCreated(user=uuid4(), key=uuid4(), email="a@b.org")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        product_events.ChatFailed(user=uuid4())  # type: ignore[call-arg]


def test_every_event_is_in_the_catalogue_and_emitted_somewhere() -> None:
    from tests.test_architecture import modules

    source = "".join(path.read_text() for path, name in modules() if name != "aichat.core.telemetry.product_events")
    kinds = {kind.__name__ for kind in ProductEvent.__subclasses__()}
    assert kinds == {kind.__name__ for kind in product_events.CATALOG.values()}
    own = {"LimitHit"}  # by `events.limit_hit`
    assert {kind for kind in kinds - own if f"{kind}(" not in source} == set()


def test_a_sink_that_fails_hurts_nobody(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(event: ProductEvent) -> None:
        raise RuntimeError

    monkeypatch.setattr(product_events, "_sinks", [broken, *product_events._sinks])
    product_events.emit(product_events.SignedUp(user=uuid4(), method="password"))
    assert names(heard) == ["signed_up"]


def test_a_chat_is_told_once_with_what_it_cost(http: httpx.Client, alice: Actor, heard: Heard) -> None:
    answer = chat(http, alice, stream=True)
    assert "event: completed" in answer.text
    assert names(heard) == ["chat_completed"]
    facts = heard[0].facts()
    assert facts == {
        "model": "demo", "provider": "demo", "streamed": True, "fallback": False, "cached": False, "charged": 1_000_000,
        "input_tokens": UsageRecord.objects.get().input_tokens,
        "output_tokens": UsageRecord.objects.get().output_tokens, "latency_ms": facts["latency_ms"],
    }  # fmt: skip
    assert heard[0].user == alice.user.pk
    assert heard[0].organization == alice.organization.pk
    assert SECRET not in str(heard)


def test_a_chat_nobody_answered_is_told_with_how_it_ended(
    http: httpx.Client, alice: Actor, heard: Heard, upstream: Upstream
) -> None:
    for provider in ("gemini", "openai"):
        upstream.always(provider, Reply("refuse", 503))
    assert chat(http, alice).status_code == 503
    assert [(event.name, event.facts()["outcome"]) for event in heard] == [("chat_failed", "overloaded")]


def test_a_refusal_for_lack_of_credits_is_told(http: httpx.Client, alice: Actor, heard: Heard) -> None:
    alice.set_credits(0)
    assert chat(http, alice).status_code == 402
    image = http.post("/api/v1/images", headers=alice.headers, json={"prompt": SECRET})
    assert image.status_code == 402
    assert [(event.name, event.facts()) for event in heard] == [
        ("refused_for_credits", {"model": "auto", "affordable": 0}),
        ("refused_for_credits", {"model": "auto", "affordable": 0}),
    ]


def test_a_spending_limit_is_a_limit_and_no_lack_of_credits(http: httpx.Client, alice: Actor, heard: Heard) -> None:
    alice.user.spend_limit_day = 0
    alice.user.save()
    assert chat(http, alice).status_code == 429
    assert [event.facts() for event in heard] == [{"limit": "spending"}]


def test_a_loop_gone_wild_hits_its_limit_once_a_minute(
    http: httpx.Client, alice: Actor, heard: Heard, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RATE_LIMIT_USER = "1/hour"
    now = time.time() // 60 * 60
    monkeypatch.setattr(time, "time", lambda: now)
    assert [http.get("/api/v1/me", headers=alice.headers).status_code for _ in range(4)] == [200, 429, 429, 429]
    assert [event.facts() for event in heard] == [{"limit": "requests"}]
    now += 60
    http.get("/api/v1/me", headers=alice.headers)
    assert len(heard) == 2


def test_pictures_are_told_with_their_number_or_with_their_failure(
    http: httpx.Client, alice: Actor, heard: Heard
) -> None:
    alice.set_credits(13)
    http.post("/api/v1/images", headers=alice.headers, json={"prompt": SECRET})
    queued = http.post("/api/v1/images", headers=alice.headers, json={"prompt": SECRET, "background": True}).json()
    http.delete(f"/api/v1/images/{queued['id']}", headers=alice.headers)
    assert names(heard) == ["credits_low", "image_completed", "image_failed"]
    assert heard[1].facts() == {"model": "demo-image", "provider": "demo", "images": 1, "charged": 5_000_000}
    assert heard[2].facts() == {"status": "cancelled"}


def test_keys_and_feedback_are_told(http: httpx.Client, alice: Actor, heard: Heard) -> None:
    made = alice.post("/api/v1/api-keys", {"name": SECRET}).json()
    alice.delete(f"/api/v1/api-keys/{made['id']}")
    answer = chat(http, alice).json()
    alice.post(f"/api/v1/messages/{answer['message']['id']}/feedback", {"rating": 1, "comment": SECRET})
    assert names(heard) == ["api_key_created", "api_key_revoked", "chat_completed", "feedback_given"]
    assert heard[0].facts() == heard[1].facts() == {"key": made["id"]}
    assert heard[3].facts() == {"model": "demo", "rating": 1}
    assert not {SECRET, made["key"], "alice@example.com", PASSWORD} & set(str(heard).split("'"))
    assert SECRET not in str(heard)


def test_an_exposure_is_told_once_a_day(actor: Callable[..., Actor], heard: Heard) -> None:
    one, two = actor("one"), actor("two", Role.SUBSCRIBER)
    Flag.objects.create(key="beta", enabled=True, roles=["SUBSCRIBER"])
    Experiment.objects.create(
        key="tone", status="running", variants=[{"name": "kind", "weight": 100, "system": SECRET}]
    )
    evaluation.forget()
    heard.clear()
    for _ in range(3):
        assert (evaluation.is_enabled("beta", one.user), evaluation.is_enabled("beta", two.user)) == (False, True)
        assert evaluation.treatment(two.user, "auto").variant == "kind"
        evaluation.is_enabled("streaming", one.user)  # a switch of the product
        evaluation.states(one.user)  # a list, not a decision
    assert {(event.user, *event.facts().values()) for event in heard} == {
        (one.user.pk, "beta", "off"),
        (two.user.pk, "beta", "on"),
        (two.user.pk, "tone", "kind"),
    }
    assert len(heard) == 3


# --- Measurements -----------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Measurement]:
    found: list[Measurement] = []
    monkeypatch.setattr(measurements, "_listeners", [found.append])
    return found


def test_requests_are_measured_by_route_and_attempts_by_outcome(
    http: httpx.Client, alice: Actor, measured: list[Measurement], upstream: Upstream
) -> None:
    upstream.always("gemini", Reply("refuse", 503))
    assert chat(http, alice).json()["fallback"]
    http.get("/api/v1/images/00000000-0000-7000-8000-000000000000", headers=alice.headers)
    http.get("/nowhere")
    wait_for(lambda: sum(isinstance(item, RequestEnded) for item in measured) == 3)  # told after the answer went out
    requests = [item for item in measured if isinstance(item, RequestEnded)]
    assert [(item.method, item.route, item.status) for item in requests] == [
        ("POST", "api/v1/chat", 200),
        ("GET", "api/v1/images/<uuid:job_id>", 404),
        ("GET", "", 404),
    ]
    attempts = [item for item in measured if isinstance(item, AttemptEnded)]
    assert [(item.provider, item.outcome, item.final, item.fallback) for item in attempts] == [
        ("gemini", "overloaded", False, False),
        ("openai", "ok", True, True),
    ]
    assert (attempts[1].input_tokens, attempts[1].output_tokens) == (11, 7)
    assert attempts[1].charged == UsageRecord.objects.get(final=True).charged
