"""Anthropic's format: what we put on the wire, and what we make of an answer, beside what Anthropic's SDK makes of it."""

from typing import Any

import anthropic
import pytest

from aichat.providers.anthropic.request import THOUGHT_FORMAT
from aichat.providers.base import Accepted, Delta, Finished
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.usage import Reading
from tests.providers.conftest import HELLO, Ask, calls_of, end_of, text_of
from tests.upstream import Reply, Upstream

FUNCTION = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
WEATHER = {"type": "function", "function": FUNCTION}
CALL = {"id": "call.1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
PNG = "data:image/png;base64,aGk="
THOUGHT = {"type": "reasoning.text", "format": THOUGHT_FORMAT, "text": "It rains.", "signature": "c2ln", "index": 0}
MODES = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


async def sent(fake: Upstream, ask: Ask, messages: list[dict[str, Any]] = HELLO, **parameters: Any) -> dict[str, Any]:
    """The body on the wire."""
    await ask("anthropic", messages, **parameters)
    body: dict[str, Any] = fake.requests[-1].body
    return body


async def test_the_key_and_the_version_are_sent_as_anthropic_wants_them(fake: Upstream, ask: Ask) -> None:
    body = await sent(fake, ask)
    headers = fake.requests[0].headers
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("a-key", "2026-10-21")
    assert "authorization" not in headers
    assert body == {
        "model": "a-model",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


async def test_a_conversation_becomes_turns_of_two_roles(fake: Upstream, ask: Ask) -> None:
    body = await sent(
        fake,
        ask,
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
            {"role": "assistant", "content": "I look.", "tool_calls": [CALL], "reasoning_details": [THOUGHT]},
            {"role": "tool", "tool_call_id": "call.1", "content": "rain"},
            {"role": "user", "content": "And now?"},
        ],
    )
    assert body["system"] == [{"type": "text", "text": "Be brief."}]
    assert body["messages"] == [
        {
            "role": "user",
            "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "It rains.", "signature": "c2ln"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Oslo"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "rain"}]},
                {"type": "text", "text": "And now?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"user": "u1"}, {"metadata": {"user_id": "u1"}}),
        ({"tools": [WEATHER]}, {"tools": [{"name": "get_weather", "input_schema": FUNCTION["parameters"]}]}),
        (
            {"reasoning_effort": "high"},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
    ],
    ids=lambda value: ",".join(value),
)
async def test_each_setting_has_its_counterpart(
    fake: Upstream, ask: Ask, parameters: dict[str, Any], expected: dict[str, Any]
) -> None:
    body = await sent(fake, ask, **parameters)
    assert {name: value for name, value in body.items() if name not in {"model", "max_tokens", "messages"}} == expected


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        ("required", None, {"type": "any"}),
        ("none", None, {"type": "none"}),
        ({"type": "function", "function": {"name": "get_weather"}}, None, {"type": "tool", "name": "get_weather"}),
        ("auto", False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", None, None),
    ],
)
async def test_the_choice_of_a_tool(fake: Upstream, ask: Ask, choice: Any, parallel: Any, expected: Any) -> None:
    body = await sent(fake, ask, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=parallel)
    assert body.get("tool_choice") == expected


async def test_sampling_is_left_out_and_named_for_models_that_refuse_it(fake: Upstream, ask: Ask) -> None:
    parts = await ask("anthropic", temperature=0.5, seed=7)
    assert "temperature" not in fake.requests[0].body
    assert parts[0] == Accepted(("temperature", "seed"))


@MODES
async def test_we_read_an_answer_as_anthropic_s_sdk_does(fake: Upstream, ask: Ask, stream: bool) -> None:
    parts = await ask("anthropic", stream=stream)
    client = anthropic.Anthropic(api_key="a-key", base_url=fake.address, max_retries=0)
    question: Any = {"model": "a-model", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
    if stream:
        with client.messages.stream(**question) as events:
            reference = events.get_final_message()
    else:
        reference = client.messages.create(**question)
    assert text_of(parts) == reference.content[0].text  # type: ignore[union-attr]
    assert end_of(parts) == Finished("stop")
    assert parts.usage == Reading(11, 7, cached=3, reasoning=2)
    assert reference.usage.input_tokens + (reference.usage.cache_read_input_tokens or 0) == 11


TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}
THINKING = {"type": "thinking", "thinking": "It rains.", "signature": "c2ln"}
USAGE = {
    "input_tokens": 5,
    "cache_creation_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 9,
}
WHOLE = {"type": "message", "content": [THINKING, TOOL_USE], "stop_reason": "tool_use", "usage": USAGE}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**WHOLE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {**THINKING, "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "It "}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "rains."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {**TOOL_USE, "input": {}}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"city":'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"Oslo"}'}},
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]


@MODES
async def test_thoughts_with_their_signature_and_calls_are_read(fake: Upstream, ask: Ask, stream: bool) -> None:
    fake.plan("anthropic", Reply("recorded", payload=EVENTS if stream else WHOLE))
    parts = await ask("anthropic", stream=stream)
    calls = calls_of(parts)
    assert (calls[0]["id"], calls[0]["function"]["name"]) == ("toolu_1", "get_weather")
    assert "".join(call["function"].get("arguments", "") for call in calls) == '{"city":"Oslo"}'
    deltas = [part for part in parts if isinstance(part, Delta)]
    assert "".join(delta.reasoning for delta in deltas) == "It rains."
    details = [detail for delta in deltas for detail in delta.reasoning_details]
    assert "".join(detail.get("signature", "") for detail in details) == "c2ln"
    assert end_of(parts) == Finished("tool_calls")
    assert parts.usage == Reading(35, 9, written=30, written_1h=20)


@MODES
async def test_a_call_without_arguments_has_an_empty_object_of_them(fake: Upstream, ask: Ask, stream: bool) -> None:
    call = {**TOOL_USE, "input": {}}
    events = [EVENTS[0], {**EVENTS[7], "index": 0, "content_block": call}, {**EVENTS[10], "index": 0}, *EVENTS[11:]]
    fake.plan("anthropic", Reply("recorded", payload=events if stream else {**WHOLE, "content": [call]}))
    calls = calls_of(await ask("anthropic", stream=stream))
    assert "".join(item["function"].get("arguments", "") for item in calls) == "{}"


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply("refuse", status=529, code="overloaded_error"), AttemptOutcome.OVERLOADED),
        (Reply("refuse", status=429, code="rate_limit_error"), AttemptOutcome.RATE_LIMITED),
        (Reply("refuse", status=401, code="authentication_error"), AttemptOutcome.AUTH_FAILURE),
        (Reply("refuse", status=404, code="not_found_error"), AttemptOutcome.MODEL_MISSING),
        (Reply("refuse", status=400, code="invalid_request_error"), AttemptOutcome.INVALID_REQUEST),
        (Reply("error_midway"), AttemptOutcome.OVERLOADED),
        (Reply("truncate"), AttemptOutcome.BROKEN_STREAM),
        (Reply("drop_midway"), AttemptOutcome.BROKEN_STREAM),
        (Reply("garbage"), AttemptOutcome.MALFORMED),
    ],
    ids=lambda value: getattr(value, "kind", None) or str(value),
)
async def test_each_failure_is_told_in_our_words(
    fake: Upstream, ask: Ask, reply: Reply, outcome: AttemptOutcome
) -> None:
    fake.plan("anthropic", reply)
    with pytest.raises(ProviderError) as caught:
        await ask("anthropic", stream=True)
    assert caught.value.outcome is outcome


async def test_a_refusal_is_a_content_filter(fake: Upstream, ask: Ask) -> None:
    fake.plan("anthropic", Reply("blocked"))
    assert end_of(await ask("anthropic")).reason == "content_filter"
