"""Scripts of an allowed origin may call the API from a browser, the generation endpoints and their streams included."""

from typing import Any

import httpx
import pytest

from aichat.core.config import env
from tests.conftest import Actor

APP, STRANGER = "https://app.example.com", "https://other.example.com"
HELLO: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(autouse=True)
def _allowed(settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = [APP]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat", "/api/v1/credits"])
def test_a_preflight_of_an_allowed_origin_is_answered_without_a_key(path: str, http: httpx.Client) -> None:
    asked = {
        "Origin": APP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,x-stainless-os",
    }
    answer = http.options(path, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"authorization", "content-type", "idempotency-key", "x-stainless-os"} <= set(allowed)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_may_be_read_with_its_headers(stream: bool, http: httpx.Client, alice: Actor) -> None:
    answer = http.post(
        "/v1/chat/completions", json={**HELLO, "stream": stream}, headers={**alice.headers, "Origin": APP}
    )
    assert answer.status_code == 200 and ("[DONE]" in answer.text) == stream
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"x-request-id", "x-model", "x-credits-charged", "retry-after"} <= set(exposed)


def test_an_error_may_be_read_too(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json=HELLO, headers={"Origin": APP})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == APP


def test_another_origin_is_told_nothing(http: httpx.Client, alice: Actor) -> None:
    answer = http.post("/v1/chat/completions", json=HELLO, headers={**alice.headers, "Origin": STRANGER})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("origin", ["app://obsidian.md", "tauri://localhost", "chrome-extension://abcdefghijklmnop"])
def test_an_application_or_extension_is_allowed_by_its_origin(
    origin: str, http: httpx.Client, alice: Actor, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", origin)
    settings.CORS_ALLOWED_ORIGINS = env.origins("CORS_ALLOWED_ORIGINS")
    answer = http.post("/v1/chat/completions", json=HELLO, headers={**alice.headers, "Origin": origin})
    assert answer.headers["Access-Control-Allow-Origin"] == origin


@pytest.mark.parametrize(
    "sent",
    [
        "x-api-key,anthropic-version,anthropic-beta,anthropic-dangerous-direct-browser-access",
        "api-key,openai-organization,openai-project,openai-beta,x-stainless-helper-method,x-stainless-timeout",
    ],
)
def test_the_headers_of_the_sdks_pass_a_preflight(sent: str, http: httpx.Client) -> None:
    asked = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": sent}
    answer = http.options("/v1/chat/completions", headers=asked)
    assert set(sent.split(",")) <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
