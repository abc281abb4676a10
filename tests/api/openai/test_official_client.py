"""The official `openai` client, sync and async, whole and streamed, on the demo model and on an upstream."""

from typing import Any

import httpx
import openai
import pytest

from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from credits.models import Hold
from tests.conftest import Actor

HELLO: Any = [{"role": "user", "content": "Hello"}]


def client(server: str, key: str, kind: Any = openai.OpenAI) -> Any:
    return kind(base_url=f"{server}/v1", api_key=key, max_retries=0)


@pytest.fixture(params=["demo", "gpt-4o-mini"])
def model(request: pytest.FixtureRequest, openai_upstream: Any) -> str:
    """Once without and once with an upstream."""
    name: str = request.param
    if name != "demo":
        openai_upstream.reply("Ahoy there, sailor!", times=None)
    return name


def words(model: str) -> str:
    return "You wrote: Hello" if model == "demo" else "Ahoy there, sailor!"


def paid(actor: Actor, usage: Any) -> None:
    """The record, the ledger and the client say the same."""
    record = UsageRecord.objects.get()
    assert (record.status, record.source) == ("ok", "EXACT")
    assert (usage.prompt_tokens, usage.completion_tokens) == (record.input_tokens, record.output_tokens)
    assert usage.total_tokens == record.input_tokens + record.output_tokens
    expected = CREDIT if record.model == "demo" else record.input_tokens * 150 + record.output_tokens * 600
    assert record.charged == expected
    assert (actor.wallet.available, actor.wallet.held) == (100 * CREDIT - expected, 0)


def test_sync_whole(server: str, alice: Actor, model: str) -> None:
    answer = client(server, alice.key).chat.completions.create(model=model, messages=HELLO)
    assert (answer.choices[0].message.content or "").endswith(words(model))
    assert (answer.model, answer.choices[0].finish_reason, answer.object) == (model, "stop", "chat.completion")
    paid(alice, answer.usage)


def test_sync_streamed(server: str, alice: Actor, model: str) -> None:
    chunks = list(
        client(server, alice.key).chat.completions.create(
            model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).endswith(words(model))
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert {chunk.model for chunk in chunks} == {model} and len({chunk.id for chunk in chunks}) == 1
    paid(alice, chunks[-1].usage)


async def test_async_whole(server: str, alice: Actor, model: str) -> None:
    async with client(server, alice.key, openai.AsyncOpenAI) as remote:
        answer = await remote.chat.completions.create(model=model, messages=HELLO)
    assert (answer.choices[0].message.content or "").endswith(words(model))


async def test_async_streamed(server: str, alice: Actor, model: str) -> None:
    async with client(server, alice.key, openai.AsyncOpenAI) as remote:
        stream = await remote.chat.completions.create(model=model, messages=HELLO, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces).endswith(words(model))


def test_the_models_are_listed_and_found(server: str, alice: Actor, openai_upstream: Any) -> None:
    remote = client(server, alice.key)
    listed = {model.id for model in remote.models.list()}
    assert {"auto", "demo", "gpt-4o-mini"} <= listed
    assert remote.models.retrieve("gpt-4o-mini").owned_by == "openai"
    with pytest.raises(openai.NotFoundError):
        remote.models.retrieve("gpt-99")


def test_each_status_is_the_clients_own_exception(
    server: str, alice: Actor, openai_upstream: Any, settings: Any
) -> None:
    remote = client(server, alice.key)

    def ask(**changes: Any) -> Any:
        return remote.chat.completions.create(**{"model": "gpt-4o-mini", "messages": HELLO, **changes})

    with pytest.raises(openai.BadRequestError) as bad:
        ask(max_tokens=0)
    assert (bad.value.param, bad.value.code) == ("max_tokens", "invalid_request")
    with pytest.raises(openai.NotFoundError) as missing:
        ask(model="gpt-99")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as unknown:
        client(server, "sk-wrong").chat.completions.create(model="demo", messages=HELLO)
    assert unknown.value.code == "invalid_api_key"
    openai_upstream.fail(500)
    with pytest.raises(openai.InternalServerError) as broken:
        ask()
    assert broken.value.code == "provider_unavailable" and broken.value.request_id
    alice.set_credits(0)
    with pytest.raises(openai.APIStatusError) as poor:
        ask()
    assert (poor.value.status_code, poor.value.code) == (402, "insufficient_credits")
    assert not Hold.objects.filter(state="OPEN").exists()


def test_a_stream_that_breaks_raises_in_the_client(server: str, alice: Actor, openai_upstream: Any) -> None:
    openai_upstream.reply("one two three four five six seven eight")
    openai_upstream.disconnect(after_chunks=4)
    stream = client(server, alice.key).chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="provider"):
        list(stream)
    assert UsageRecord.objects.get().status == "partial"


def test_unknown_members_go_to_the_upstream_and_ours_do_not(
    http: httpx.Client, alice: Actor, openai_upstream: Any
) -> None:
    body = {
        "model": "gpt-4o-mini",
        "messages": HELLO,
        "seed": 7,
        "user": "u1",
        "n": 1,
        "max_tokens": 5,
        "stream": False,
    }
    assert http.post("/v1/chat/completions", json=body, headers=alice.headers).status_code == 200
    sent = openai_upstream.last_request.body
    assert (sent["seed"], sent["max_completion_tokens"]) == (7, 5)
    assert not {"max_tokens", "n", "stream"} & set(sent)
