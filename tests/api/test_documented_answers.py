"""Answers with all that a model can send (thoughts, text, a call, a picture) are what the OpenAPI document states.

`conftest.py` of this folder holds every answer against the document: here are those that no other test asks for.
"""

from typing import Any

import httpx
import jsonschema_rs
import pytest

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel, Price, Provider
from tests.api.conftest import check
from tests.conftest import Actor
from tests.upstream import Reply, Upstream
from tests.upstream_answers import OPENAI_USAGE, openai_chunk

HELLO = [{"role": "user", "content": "Hi"}]
TOOL = {"name": "f", "parameters": {"type": "object"}}
MODEL = "llama"
BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/chat": {"message": "Hi"},
    "/v1/chat/completions": {"messages": HELLO, "tools": [{"type": "function", "function": TOOL}]},
    "/v1/completions": {"prompt": "Hi", "stream_options": {"include_usage": True}},
    "/v1/responses": {"input": "Hi", "tools": [{"type": "function", **TOOL}]},
    "/v1/messages": {
        "max_tokens": 100,
        "messages": HELLO,
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    },
}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aW1n"}}
PARTS: list[dict[str, Any]] = [
    {"reasoning_content": "because"},
    {"content": "Hello"},
    {"images": [PICTURE]},
    {"tool_calls": [CALL]},
]


@pytest.fixture
def llama(upstream: Upstream, settings: Any) -> Upstream:
    """A model of an OpenAI-compatible server, whose answers have everything."""
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    provider = Provider.objects.create(slug="local", kind="openai_compatible", base_url=f"{upstream.address}/v1")
    Price.objects.create(model=AIModel.objects.create(slug=MODEL, provider=provider), input_price=1, output_price=1)
    snapshot.forget()
    return upstream


@pytest.mark.parametrize("path", BODIES)
def test_an_answer_with_everything_is_what_the_document_states(
    http: httpx.Client, alice: Actor, llama: Upstream, path: str
) -> None:
    message = {name: value for part in PARTS for name, value in part.items()}
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "tool_calls"}
    chunks = [*(openai_chunk(part, None) for part in PARTS), openai_chunk({}, "tool_calls")]
    llama.plan("openai", Reply("recorded", payload={"choices": [choice], "usage": OPENAI_USAGE}))
    llama.plan("openai", Reply("recorded", payload=chunks))
    llama.plan("openai", Reply("drop_midway"))
    for stream in (False, True, True):
        body = {"model": MODEL, "stream": stream, **BODIES[path]}
        answer = http.post(path, json=body, headers={**alice.headers, "Cache-Control": "no-store"})
        assert answer.status_code == 200, answer.text
    assert "error" in answer.text


def test_an_answer_that_is_not_stated_is_found(http: httpx.Client, alice: Actor) -> None:
    answer = http.post("/v1/embeddings", json={"model": "demo-embedding", "input": "Hi"}, headers=alice.headers)
    changes: list[dict[str, Any]] = [{"more": 1}, {"data": [{}]}]
    for change in changes:
        strange = httpx.Response(200, json={**answer.json(), **change}, request=answer.request)
        with pytest.raises(jsonschema_rs.ValidationError):
            check(strange)
