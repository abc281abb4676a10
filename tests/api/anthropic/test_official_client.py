"""The official `anthropic` client, sync and async, on the demo model."""

from typing import Any

import anthropic
import pytest

from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from tests.conftest import Actor

HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def client(server: str, alice: Actor) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server, api_key=alice.key, max_retries=0)


def test_a_message_is_answered_and_paid(client: anthropic.Anthropic, alice: Actor) -> None:
    answer = client.messages.create(model="demo", max_tokens=8_000, messages=HELLO, system="Be kind.")
    assert (answer.type, answer.role, answer.model, answer.stop_reason) == ("message", "assistant", "demo", "end_turn")
    assert [block.type for block in answer.content] == ["text"]
    assert answer.content[0].text.endswith("You wrote: Hello")  # type: ignore[union-attr]
    record = UsageRecord.objects.get()
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (record.input_tokens, record.output_tokens)
    assert alice.wallet.available == 99 * CREDIT
    assert answer._request_id == record.request_id


def test_a_stream_ends_with_the_whole_message(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="demo", max_tokens=100, messages=HELLO) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_message()
    assert events[0] == "message_start" and events[-1] == "message_stop"
    assert final.content[0].text.endswith("You wrote: Hello")  # type: ignore[union-attr]
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 13)


def test_tokens_are_counted_without_a_charge(client: anthropic.Anthropic, alice: Actor) -> None:
    few = client.messages.count_tokens(model="demo", messages=HELLO).input_tokens
    many = client.messages.count_tokens(model="demo", messages=[{"role": "user", "content": "Hello " * 100}])
    assert 0 < few < 50 < many.input_tokens
    assert alice.wallet.available == 100 * CREDIT and not UsageRecord.objects.exists()


def test_the_models_are_listed_for_anthropic_s_client_too(client: anthropic.Anthropic) -> None:
    listed = list(client.models.list())
    assert {model.id for model in listed} >= {"auto", "demo"}
    assert client.models.retrieve("demo").display_name == "demo"
