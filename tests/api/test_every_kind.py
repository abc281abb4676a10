"""Every route for what is no chat × every way to send a key × every limit, and all of them by Azure's paths too."""

import io
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.urls import get_resolver
from PIL import Image

from accounts.models import AccessToken
from aichat.catalog import access, snapshot
from aichat.catalog.models import AIModel
from aichat.catalog.sync import add_known
from aichat.core.money import CREDIT
from aichat.usage import verify
from aichat.usage.models import UsageRecord
from credits.models import Hold
from tests.conftest import Actor
from tests.core.web.test_openapi import served
from tests.upstream import Reply, Upstream

HELLO = [{"role": "user", "content": "Hello"}]


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"json": {"model": "demo", "messages": HELLO}},
    "/v1/embeddings": {"json": {"model": "demo-embedding", "input": "Hello"}},
    "/v1/moderations": {"json": {"model": "demo-moderation", "input": "Hello"}},
    "/v1/audio/speech": {"json": {"model": "demo-speech", "input": "Hello"}},
    "/v1/audio/transcriptions": {"data": {"model": "demo-transcription"}, "files": {"file": ("a.mp3", b"x" * 400)}},
    "/v1/images/generations": {"json": {"model": "demo-image", "prompt": "a hat", "response_format": "b64_json"}},
    "/v1/images/edits": {"data": {"model": "demo-image", "prompt": "a hat"}, "files": {"image": ("a.png", png())}},
}
AZURE = {path.replace("/v1/", "/openai/deployments/{}/", 1): path for path in ASKED}
FREE = {"/v1/moderations"}
KEY_HEADERS = ("Authorization", "x-api-key", "api-key")


def ask(http: httpx.Client, path: str, key: str, header: str = "x-api-key", **headers: str) -> Any:
    credential = {header: f"Bearer {key}" if header == "Authorization" else key}
    asked = ASKED[AZURE.get(path, path)]
    name = (asked.get("json") or asked["data"])["model"]
    return http.post(path.format(name), headers={**credential, **headers}, **asked)


def model_of(path: str) -> str:
    asked = ASKED[path]
    name: str = (asked.get("json") or asked["data"])["model"]
    return name


@pytest.fixture
def whole(http: httpx.Client, alice: Actor, catalog: None, settings: Any) -> httpx.Client:
    settings.PROMPT_CACHE_TTL = 0
    return http


TEXT = {"/v1/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"}  # in `test_every_dialect.py`


def test_every_route_below_v1_that_takes_a_post_is_in_one_of_the_tables() -> None:
    posts = {
        path for path, method in served(get_resolver().url_patterns) if method == "post" and path.startswith("/v1/")
    }
    assert posts == set(ASKED) | TEXT


@pytest.mark.parametrize(
    ("path", "header"),
    [*((path, header) for path in ASKED for header in KEY_HEADERS), *((path, "api-key") for path in AZURE)],
)
def test_it_is_served_recorded_and_settled(whole: httpx.Client, alice: Actor, path: str, header: str) -> None:
    answer = ask(whole, path, alice.key, header)
    assert answer.status_code == 200, answer.text
    record = UsageRecord.objects.get()
    assert record.status == "ok" and (record.charged > 0) == (AZURE.get(path, path) not in FREE)
    assert alice.wallet.available == 100 * CREDIT - record.charged
    assert not Hold.objects.filter(state="OPEN").exists() and not list(verify.problems())


def without_credits(alice: Actor, path: str, settings: Any) -> None:
    alice.set_credits(0)


def with_a_revoked_key(alice: Actor, path: str, settings: Any) -> None:
    AccessToken.objects.filter(user=alice.user).delete()


def with_a_model_for_others(alice: Actor, path: str, settings: Any) -> None:
    other = type(alice.user).objects.create_user("other@example.com", "x", name="Other")
    access.assign(AIModel.objects.get(slug=model_of(path)), users=[other])
    snapshot.forget()


def with_a_model_that_is_off(alice: Actor, path: str, settings: Any) -> None:
    AIModel.objects.filter(slug=model_of(path)).update(enabled=False)
    snapshot.forget()


def with_a_key_that_may_spend_nothing(alice: Actor, path: str, settings: Any) -> None:
    AccessToken.objects.filter(user=alice.user).update(spend_limit_day=0)


def with_no_request_left(alice: Actor, path: str, settings: Any) -> None:
    settings.RATE_LIMIT_USER = "1/hour"
    assert alice.get("/api/v1/credits").status_code == 200


LIMITS: list[tuple[Callable[..., None], int]] = [
    (without_credits, 402),
    (with_a_key_that_may_spend_nothing, 429),
    (with_no_request_left, 429),
    (with_a_revoked_key, 401),
    (with_a_model_for_others, 403),
    (with_a_model_that_is_off, 404),
]


@pytest.mark.parametrize(("limit", "status"), LIMITS, ids=[limit.__name__ for limit, _ in LIMITS])
@pytest.mark.parametrize("path", ASKED)
def test_a_limit_holds_and_nothing_is_charged(
    whole: httpx.Client, alice: Actor, settings: Any, path: str, limit: Callable[..., None], status: int
) -> None:
    limit(alice, path, settings)
    if limit in (without_credits, with_a_key_that_may_spend_nothing) and path in FREE:
        status = 200
    answer = ask(whole, path, alice.key)
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["error"]["code"]
    assert not Hold.objects.filter(state="OPEN").exists()
    assert not UsageRecord.objects.filter(charged__gt=0).exists()


@pytest.mark.parametrize("path", ASKED)
def test_a_repeated_key_is_answered_again_and_charged_once(whole: httpx.Client, alice: Actor, path: str) -> None:
    first, again = (ask(whole, path, alice.key, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert UsageRecord.objects.count() == 1
    if "/images/generations" not in path:  # whose replay shows the job as it is then
        assert again.content == first.content and again.headers["Idempotent-Replayed"] == "true"


LEFT: dict[str, tuple[dict[str, Any], Any]] = {
    "/v1/embeddings": (
        {"json": {"model": "text-embedding-3-small", "input": "Hello"}},
        {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 2, "total_tokens": 2}},
    ),
    "/v1/audio/speech": ({"json": {"model": "tts-1", "input": "Hello"}}, b"sound"),
    "/v1/audio/transcriptions": (
        {"data": {"model": "whisper-1"}, "files": {"file": ("a.mp3", b"x" * 400)}},
        {"text": "Hello", "usage": {"type": "duration", "seconds": 3}},
    ),
}


@pytest.mark.parametrize("path", LEFT)
def test_a_client_that_leaves_pays_once_for_the_answer_that_is_kept_for_its_key(
    http: httpx.Client, alice: Actor, upstream: Upstream, settings: Any, path: str
) -> None:
    settings.CHAT_ATTEMPT_TIMEOUT = settings.CHAT_TOTAL_TIMEOUT = 10
    asked, payload = LEFT[path]
    add_known([(asked.get("json") or asked["data"])["model"]])
    upstream.plan("openai", Reply("late_payload", payload=payload))
    headers = {**alice.headers, "Idempotency-Key": "left"}
    with pytest.raises(httpx.ReadTimeout):
        http.post(path, headers=headers, timeout=0.5, **asked)
    until(lambda: UsageRecord.objects.exists())
    again = http.post(path, headers=headers, **asked)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true"), again.text
    record = UsageRecord.objects.get()
    assert record.status == "ok" and record.charged > 0
    assert alice.wallet.available == 100 * CREDIT - record.charged
    assert not Hold.objects.filter(state="OPEN").exists() and len(upstream.asked("openai")) == 1


def until(is_so: Callable[[], bool]) -> None:
    """Wait five seconds at most."""
    end = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)
