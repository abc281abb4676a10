"""Every failure below `/v1/messages` has Anthropic's shape, whoever refuses."""

from typing import Any

import anthropic
import httpx
import pytest

from tests.conftest import Actor

BODY: dict[str, Any] = {"model": "demo", "max_tokens": 10, "messages": [{"role": "user", "content": "Hello"}]}
JSON = {"Content-Type": "application/json"}


def refused(response: httpx.Response) -> tuple[int, str]:
    """The status and type of an error, whose shape is checked."""
    body = response.json()
    assert body["type"] == "error" and body["error"]["message"]
    assert body["request_id"] == response.headers["request-id"] == response.headers["x-request-id"]
    return response.status_code, body["error"]["type"]


def test_each_refusal_has_the_type_of_its_status(http: httpx.Client, alice: Actor, settings: Any) -> None:
    def post(path: str = "/v1/messages", headers: dict[str, str] = alice.headers, **request: Any) -> tuple[int, str]:
        return refused(http.post(path, headers=headers, **request))

    assert post(json=BODY, headers={}) == (401, "authentication_error")
    assert post(json={**BODY, "model": "gpt-99"}) == (404, "not_found_error")
    assert post("/v1/messages/batches", json={}) == (404, "not_found_error")
    assert post(json={**BODY, "messages": [{"role": "user", "content": [{"type": "text"}]}]}) == (
        400,
        "invalid_request_error",
    )
    assert post(content=b"{", headers={**alice.headers, **JSON}) == (400, "invalid_request_error")
    assert post(content=b"x", headers={**alice.headers, "Content-Type": "text/plain"}) == (415, "invalid_request_error")
    assert refused(http.get("/v1/messages", headers=alice.headers)) == (405, "invalid_request_error")
    alice.set_credits(0)
    assert post(json=BODY) == (402, "billing_error")
    settings.MAX_REQUEST_BYTES = 1_000
    assert post(json={**BODY, "system": "x" * 1_500}) == (413, "request_too_large")


def test_the_client_raises_its_own_exceptions(server: str, alice: Actor) -> None:
    client = anthropic.Anthropic(base_url=server, api_key=alice.key, max_retries=0)
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(**{**BODY, "model": "gpt-99"})
    assert missing.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as bad:
        client.messages.create(**{**BODY, "tool_choice": {"type": "any"}})
    assert "tools" in str(bad.value.message)
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=server, api_key="sk-wrong", max_retries=0).messages.create(**BODY)


def test_a_thread_is_refused_so_that_the_tool_runner_goes_on_without(http: httpx.Client, alice: Actor) -> None:
    answer = http.post("/v1/messages", headers=alice.headers, json={**BODY, "thread": {"type": "create"}})
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["error_code"] == "thread_unsupported_request"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
         "messages.0.content.0.source"),
        ({"tools": [{"name": "x"}]}, "tools.0.input_schema"),
        ({"tool_choice": {"type": "tool", "name": "x"}}, "tool_choice"),
        ({"mcp_servers": [{"url": "https://example.com"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_named(http: httpx.Client, alice: Actor, change: Any, param: str) -> None:
    answer = http.post("/v1/messages", headers=alice.headers, json={**BODY, **change})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
