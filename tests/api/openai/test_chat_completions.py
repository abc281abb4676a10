"""`POST /v1/chat/completions` over HTTP, with the official client."""

from typing import Any

import openai
import pytest

from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from tests.conftest import Actor

HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def client(server: str, alice: Actor) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server}/v1", api_key=alice.key, max_retries=0)


def test_the_official_client_gets_an_answer_and_pays_one_credit(client: openai.OpenAI, alice: Actor) -> None:
    alice.set_credits(10)
    answer = client.chat.completions.create(model="auto", messages=HELLO)
    assert "demo model" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert alice.wallet.available == 9 * CREDIT
    assert UsageRecord.objects.get().charged == CREDIT


def test_a_stream_ends_with_usage_when_asked(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="auto", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.endswith("You wrote: Hello")
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 13


def test_an_upstream_is_paid_by_its_reported_usage(server: str, openai_upstream: Any, alice: Actor) -> None:
    client = openai.OpenAI(base_url=f"{server}/v1", api_key=alice.key, max_retries=0)
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    record = UsageRecord.objects.get()
    assert answer.usage and answer.usage.prompt_tokens == record.input_tokens
    assert record.source == UsageRecord.Source.EXACT
    # 0.15 and 0.60 USD a million tokens are 150 and 600 microcredits a token.
    assert record.charged == record.input_tokens * 150 + record.output_tokens * 600
    assert alice.wallet.held == 0


def test_too_few_credits_are_a_402_before_anything_runs(client: openai.OpenAI, alice: Actor) -> None:
    alice.set_credits(0)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="auto", messages=HELLO)
    assert caught.value.status_code == 402
    assert caught.value.body["required"] == "1"  # type: ignore[index]
    assert UsageRecord.objects.count() == 0
