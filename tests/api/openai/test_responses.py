"""`POST /v1/responses` with the official client, on the demo model."""

from typing import Any

import openai
import pytest

from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from tests.conftest import Actor


@pytest.fixture
def client(server: str, alice: Actor) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server}/v1", api_key=alice.key, max_retries=0)


def test_a_response_is_answered_and_paid(client: openai.OpenAI, alice: Actor) -> None:
    answer = client.responses.create(model="demo", input="Hello", instructions="Be kind.", metadata={"a": "b"})
    assert answer.output_text.endswith("You wrote: Hello")
    assert (answer.status, answer.model, answer.metadata) == ("completed", "demo", {"a": "b"})
    record = UsageRecord.objects.get()
    assert answer.usage and answer.usage.total_tokens == record.input_tokens + record.output_tokens
    assert answer.usage.input_tokens_details.cache_write_tokens == 0
    assert alice.wallet.available == 99 * CREDIT


def test_a_stream_has_the_official_events_in_order(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="demo", input="Hello", stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    final: Any = events[-1]
    assert final.response.output[0].content[0].text == "".join(
        event.delta for event in events if event.type == "response.output_text.delta"
    )
