"""Every route that generates text × every way to send a key × every limit: a dialect changes the words, not the rules."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from accounts.tenancy import personal_organization
from aichat.api.async_views import AsyncView
from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.routes import api_routes

HELLO = [{"role": "user", "content": "Hello"}]
BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/chat": {"message": "Hello", "model": "demo"},
    "/v1/chat/completions": {"model": "demo", "messages": HELLO},
    "/v1/completions": {"model": "demo", "prompt": "Hello"},
    "/v1/responses": {"model": "demo", "input": "Hello"},
    "/v1/messages": {"model": "demo", "max_tokens": 100, "messages": HELLO},
}
# What makes no text has tests of its own.
OTHER_KINDS = ("v1/audio/", "v1/embeddings", "v1/images/", "v1/moderations", "api/v1/images")
KEYS: dict[str, Callable[[str], dict[str, str]]] = {
    "Authorization": lambda key: {"Authorization": f"Bearer {key}"},
    "x-api-key": lambda key: {"x-api-key": key},
    "api-key": lambda key: {"api-key": key},
}
each_route = pytest.mark.parametrize("path", BODIES)


@pytest.fixture(params=KEYS)
def ask(request: pytest.FixtureRequest, http: httpx.Client, alice: Actor) -> Callable[..., tuple[int, str, Any]]:
    """Asks with a key in one of the headers: answers the status, the error's code and the response."""

    def send(path: str, key: str = alice.key, headers: dict[str, str] | None = None, **change: Any) -> Any:
        body = {**BODIES[path], **change}
        answer = http.post(path, json=body, headers={**KEYS[request.param](key), **(headers or {})})
        error = answer.json().get("error") or {} if answer.headers["content-type"] == "application/json" else {}
        if error and path == "/v1/messages":
            assert answer.json()["type"] == "error"
        return answer.status_code, error.get("code", ""), answer

    return send


def test_no_route_that_generates_text_is_forgotten() -> None:
    charging = {
        f"/{route.path}"
        for route in api_routes()
        if route.view_class
        and issubclass(route.view_class, AsyncView)
        and getattr(getattr(route.view_class, "post", None), "charges", False)
        and not route.path.startswith(OTHER_KINDS)
    }
    assert charging == set(BODIES)


@each_route
def test_the_limits_are_those_of_every_route(
    ask: Callable[..., tuple[int, str, Any]], path: str, http: httpx.Client, alice: Actor, ada: Actor, settings: Any
) -> None:
    def refusal(**request: Any) -> tuple[int, str]:
        return ask(path, **request)[:2]

    assert refusal(key="sk-wrong") == (401, "invalid_api_key")
    assert http.post(path, json=BODIES[path], headers={**alice.headers, "x-api-key": "sk-other"}).status_code == 401
    assert refusal(model="gpt-99") == (404, "model_not_found")
    assert ask(path)[0] == 200
    assert alice.wallet.available == 99 * CREDIT

    given = {"users": [str(ada.user.pk)]}
    assert ada.client.put("/api/v1/admin/model-access/demo", given, content_type="application/json").status_code == 200
    assert refusal() == (403, "model_not_allowed")
    assert ada.client.put("/api/v1/admin/model-access/demo", {}, content_type="application/json").status_code == 200

    alice.set_credits(0)
    assert refusal(headers={"Cache-Control": "no-store"}) == (402, "insufficient_credits")
    alice.set_credits(10)
    settings.MAX_REQUEST_BYTES = 1_000
    assert refusal(user="x" * 1_500) == (413, "payload_too_large")
    settings.MAX_REQUEST_BYTES = 10_000_000
    settings.RATE_LIMIT_USER = "1/min"
    assert {ask(path)[0] for _ in range(3)} >= {429}
    assert UsageRecord.objects.count() <= 2


@each_route
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_repeated_request_is_answered_once_and_charged_once(
    ask: Callable[..., tuple[int, str, Any]], path: str, stream: bool, alice: Actor
) -> None:
    repeated = {"Idempotency-Key": f"k{path}", "Cache-Control": "no-store"}
    first = ask(path, headers=repeated, stream=stream)[2]
    second = ask(path, headers=repeated, stream=stream)[2]
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.headers["idempotent-replayed"] == "true"
    assert second.content == first.content
    assert ask(path, headers=repeated, stream=not stream)[:2] == (409, "idempotency_conflict")
    assert UsageRecord.objects.count() == 1
    assert personal_organization(alice.user).pk == UsageRecord.objects.get().organization_id
    assert alice.wallet.available == 99 * CREDIT


@each_route
def test_an_answer_comes_from_the_prompt_cache(http: httpx.Client, alice: Actor, path: str, settings: Any) -> None:
    settings.PROMPT_CACHE_TTL = 60
    answers = [http.post(path, json=BODIES[path], headers=alice.headers) for _ in range(2)]
    assert [answer.headers["x-cache"] for answer in answers] == ["miss", "hit"]
