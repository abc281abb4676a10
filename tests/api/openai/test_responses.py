"""`POST /v1/responses` with the official client, on the demo model."""

from typing import Any

import openai
import pytest

from aichat.api.models import ResponseItems
from aichat.api.openai.responses.kept_items import forget_expired
from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.upstream import Reply, Upstream
from tests.upstream_answers import gemini_answer


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


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_an_item_can_be_referred_to_by_its_organization_until_it_is_forgotten(
    client: openai.OpenAI, server: str, bob: Actor, settings: Any, stream: bool
) -> None:
    if stream:
        events: Any = list(client.responses.create(model="demo", input="Hello", stream=True))
        answer = events[-1].response
    else:
        answer = client.responses.create(model="demo", input="Hello")
    reference: Any = {"type": "item_reference", "id": answer.output[0].id}
    question: Any = [reference, {"role": "user", "content": "Go on"}]
    before = client.responses.create(model="demo", input=question).usage
    assert before and before.input_tokens > 10  # with the words of the item
    stranger = openai.OpenAI(base_url=f"{server}/v1", api_key=bob.key, max_retries=0)
    with pytest.raises(openai.BadRequestError) as unknown:
        stranger.responses.create(model="demo", input=question)
    assert unknown.value.param == "input.0"
    settings.RESPONSE_ITEMS_TTL = 0
    forget_expired()
    assert not ResponseItems.objects.exists()
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="demo", input=question)


def test_nothing_is_kept_of_a_response_that_is_not_to_be_stored(client: openai.OpenAI) -> None:
    client.responses.create(model="demo", input="Hello", store=False)
    assert not ResponseItems.objects.exists()


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools.0.type"),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "tools.0.type"),
        ({"input": [{"type": "computer_call_output", "call_id": "c", "output": {}}]}, "input.0.type"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"max_output_tokens": 10**6}, "max_output_tokens"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
    ],
)
def test_what_cannot_be_honoured_is_named_in_the_client_s_words(
    client: openai.OpenAI, change: dict[str, Any], param: str
) -> None:
    request: dict[str, Any] = {"model": "demo", "input": "Hello", **change}
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**request)
    assert refused.value.param == param


def test_what_agents_send_with_every_request_is_left_out_or_translated(
    server: str, upstream: Upstream, alice: Actor
) -> None:
    client = openai.OpenAI(base_url=f"{server}/v1", api_key=alice.key, max_retries=0)
    schema = {"type": "object", "properties": {}}
    inner = {"type": "function", "name": "spawn", "parameters": schema}
    tools: Any = [
        {"type": "web_search", "external_web_access": True},
        {"type": "namespace", "name": "team", "description": "Agents", "tools": [inner]},
        {"type": "custom", "name": "exec", "description": "Runs code"},
    ]
    answered = gemini_answer("", "stop")
    calls = [("exec", {"input": "ls"}), ("team__spawn", {})]
    parts = [{"functionCall": {"name": name, "args": arguments}} for name, arguments in calls]
    answered["candidates"][0]["content"] = {"role": "model", "parts": parts}
    upstream.plan("gemini", Reply("recorded", payload=[answered]))
    more: Any = [
        {"type": "additional_tools", "role": "developer", "tools": [{**inner, "name": "late"}]},
        {"role": "user", "content": "Hello"},
    ]
    with client.responses.with_streaming_response.create(
        model="gemini-3.8-flash", input=more, tools=tools, stream=True
    ) as answer:
        assert answer.headers["x-dropped-parameters"] == "tools.0.web_search"
        events: Any = list(answer.parse())
    (sent,) = upstream.asked("gemini")[-1].body["tools"]
    assert [tool["name"] for tool in sent["functionDeclarations"]] == ["team__spawn", "exec", "late"]
    custom, function = events[-1].response.output
    assert (custom.type, custom.name, custom.input) == ("custom_tool_call", "exec", "ls")
    assert (function.type, function.name, function.namespace) == ("function_call", "spawn", "team")


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
