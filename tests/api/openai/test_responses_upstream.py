"""What came in the dialect of Responses goes to OpenAI's Responses, and back, without a loss; others are answered as ever."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel, Price, Provider
from aichat.providers.openai.responses import call
from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANSWER, OPENAI_USAGE, message_item, openai_chunk, response_answer, response_events

MODEL = "gpt-5.4-mini"
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": 'start: "ls"'}
LARK = {"syntax": "lark", "definition": "x"}
EXEC: Any = {"type": "custom", "name": "exec", "description": "Runs code", "format": GRAMMAR}
SPAWN: Any = {"type": "function", "name": "spawn", "parameters": {"type": "object", "properties": {}}, "strict": True}
TEAM: Any = {"type": "namespace", "name": "team", "description": "Agents", "tools": [SPAWN]}
SUMMARY = [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Second."}]
THOUGHT: Any = {"type": "reasoning", "id": "rs_up", "summary": SUMMARY, "encrypted_content": "sealed=="}
CALL: Any = {"type": "custom_tool_call", "id": "ctc_up", "call_id": "call_1", "name": "exec", "input": "ls -l"}
OTHER = {"type": "function_call", "id": "fc_up", "call_id": "call_2", "name": "spawn", "namespace": "team",
         "arguments": '{"a": 1}', "status": "completed"}  # fmt: skip
COMMENT = message_item("I ", "look.", phase="commentary")


@pytest.fixture(autouse=True)
def _nothing_known_of_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "_silent", {})


@pytest.fixture
def client(server: str, alice: Actor, upstream: Upstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key=alice.key, max_retries=0) as found:
        yield found


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_nothing_is_lost_on_the_way_to_responses_and_back(
    client: openai.OpenAI, upstream: Upstream, stream: bool
) -> None:
    settings: dict[str, Any] = {
        "instructions": "Be kind.",
        "tools": [EXEC, {"type": "web_search"}, TEAM],
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "xhigh", "summary": "auto", "context": "all_turns"},
        "include": ["reasoning.encrypted_content", "web_search_call.results"],
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "metadata": {"a": "b"},
        "service_tier": "priority",
        "store": False,
    }
    items = [THOUGHT, COMMENT, CALL, OTHER]
    upstream.plan("openai", Reply("recorded", payload=response_events(items) if stream else response_answer(items)))
    question: Any = {
        "role": "user",
        "content": [{"type": "input_text", "text": "Hi", "prompt_cache_breakpoint": {"mode": "explicit"}}],
    }
    with client.responses.with_streaming_response.create(
        model=MODEL, input=[question], stream=stream, **settings
    ) as response:
        assert response.headers["x-dropped-parameters"] == "tools.1.web_search, service_tier"
        events: Any = [*response.parse()] if stream else []
        answer: Any = events[-1].response if stream else response.parse()
    asked = upstream.asked("openai")[0]
    assert asked.path == "/v1/responses"
    sent = asked.body
    passed = ("instructions", "text", "reasoning", "parallel_tool_calls", "prompt_cache_key", "metadata", "store")
    assert {name: sent[name] for name in passed} == {name: settings[name] for name in passed}
    assert (sent["tools"], sent["input"], sent["include"]) == (
        [EXEC, TEAM],
        [question],
        ["reasoning.encrypted_content"],
    )
    assert "service_tier" not in sent

    thought, comment, custom, function = answer.output
    assert [item.id.partition("_")[0] for item in answer.output] == ["rs", "msg", "ctc", "fc"]
    assert len({item.id for item in answer.output} - {"rs_up", "msg_up", "ctc_up", "fc_up"}) == 4
    assert [part.text for part in thought.summary] == ["First.", "Second."]
    assert (comment.phase, comment.content[0].text, custom.input) == ("commentary", "I look.", "ls -l")
    assert (function.name, function.namespace, function.arguments) == ("spawn", "team", '{"a": 1}')
    assert answer.usage.output_tokens_details.reasoning_tokens == 2
    record = UsageRecord.objects.get()
    assert (record.input_tokens, record.cached_input_tokens, record.output_tokens) == (11, 3, 7)
    assert record.source == UsageRecord.Source.EXACT
    if stream:
        assert [event.sequence_number for event in events] == list(range(len(events)))
        deltas = [event.delta for event in events if event.type == "response.custom_tool_call_input.delta"]
        assert deltas == ["ls", " -l"]
        ended = [event.item.id for event in events if event.type == "response.output_item.done"]
        assert ended == [item.id for item in answer.output]

    output = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "a.txt"}
    history: Any = [question, *(item.to_dict() for item in answer.output), output]
    upstream.plan("openai", Reply("answer"))
    assert client.responses.create(model=MODEL, input=history, tools=[EXEC, TEAM]).output_text == ANSWER
    back = upstream.asked("openai")[1].body["input"]
    assert back[1] == THOUGHT  # under its own ID, with which it was sealed
    assert (back[2]["phase"], back[3]["input"], back[-1]) == ("commentary", "ls -l", output)
    assert not any("id" in item for item in back[2:])


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_server_without_responses_is_asked_for_chat_completions(
    client: openai.OpenAI, upstream: Upstream, stream: bool
) -> None:
    function = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "exec", "arguments": '{"input":"ls"}'},
    }
    whole = {"message": {"role": "assistant", "tool_calls": [function]}, "finish_reason": "tool_calls", "index": 0}
    usage = {**openai_chunk({}, None), "choices": [], "usage": OPENAI_USAGE}
    events = [openai_chunk({"tool_calls": [function]}, None), openai_chunk({}, "tool_calls"), usage]
    replies = Reply("refuse", 404), *[Reply("recorded", payload=events if stream else {"choices": [whole]})] * 2
    upstream.plan("openai", *replies)
    for _ in range(2):
        answer: Any = client.responses.create(model=MODEL, input="Hi", tools=[EXEC, TEAM], stream=stream)
        answer = [*answer][-1].response if stream else answer
        assert (answer.output[0].type, answer.output[0].input) == ("custom_tool_call", "ls")
    paths = [request.path for request in upstream.asked("openai")]
    assert paths == ["/v1/responses", "/v1/chat/completions", "/v1/chat/completions"]  # it is remembered
    assert [tool["function"]["name"] for tool in upstream.asked("openai")[1].body["tools"]] == ["exec", "team__spawn"]


def failed(**error: Any) -> dict[str, Any]:
    return {"type": "response.failed", "response": {"status": "failed", "error": error, "usage": None, "output": []}}


BEGUN = response_events([message_item("Hel", "lo")], None)
RATE = {"code": "rate_limit_exceeded", "message": "slow down"}


@pytest.mark.parametrize(
    ("payload", "status", "ending"),
    [
        ([failed(**RATE)], 503, ""),
        ([failed(code="invalid_prompt", message="flagged")], 400, ""),
        ([{"type": "error", "code": "server_error", "message": "broken", "param": None}], 503, ""),
        ([*BEGUN, failed(code="server_error", message="broken")], 200, "response.failed"),
        ([*BEGUN, {"type": "error", "error": {"type": "server_error", "message": "broken"}}], 200, "response.failed"),
        (BEGUN, 200, "response.failed"),  # without an end
        (response_events([message_item("Hel", "lo")], "length"), 200, "response.incomplete"),
        # No events of items; a null where a list should be; an event that is not known yet; the usage in two events.
        ([{"type": "response.completed", "response": response_answer([message_item("Hello")])}], 200, "response.completed"),
        ([{"type": "response.new", "x": None}, *response_events([{**message_item("Hello"), "content": []}])], 502, ""),
        # Items without a type, without content, and a call without arguments.
        ([*response_events([message_item("Hello")])[:-1],
          *({"type": "response.output_item.done", "output_index": 1 + number, "item": item}
            for number, item in enumerate(({}, {"type": None}, {**OTHER, "arguments": None, "call_id": None}))),
          response_events([message_item("Hello")])[-1]], 200, "response.completed"),
        ([*response_events([message_item("Hello")])[:-1], *[response_events([message_item("Hello")])[-1]] * 2], 200,
         "response.completed"),
    ],
)  # fmt: skip
def test_every_end_of_a_stream_has_its_official_event(
    http: httpx.Client, upstream: Upstream, alice: Actor, payload: list[dict[str, Any]], status: int, ending: str
) -> None:
    upstream.plan("openai", Reply("recorded", payload=payload))
    body = {"model": MODEL, "input": "Hi", "stream": True}
    answer = http.post("/v1/responses", json=body, headers=alice.headers)
    assert answer.status_code == status
    if ending:
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        assert events[-1]["type"] == ending
        text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        assert "Hello".startswith(text) and text
    if ending in {"response.completed", "response.incomplete"}:
        assert UsageRecord.objects.get().output_tokens == 7  # once
    assert alice.wallet.held == 0


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_model_that_speaks_responses_alone_answers_chat_completions(
    client: openai.OpenAI, upstream: Upstream, stream: bool
) -> None:
    model = AIModel.objects.create(slug="gpt-5-codex", provider=Provider.objects.get(slug="openai"))
    Price.objects.create(model=model, input_price=10**6, output_price=10**6)
    snapshot.forget()
    tools: Any = [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}},
        {"type": "custom", "custom": {"name": "exec", "format": {"type": "grammar", "grammar": LARK}}},
    ]  # fmt: skip
    items = [THOUGHT, CALL]
    upstream.plan("openai", Reply("recorded", payload=response_events(items) if stream else response_answer(items)))
    asked: dict[str, Any] = {"model": "gpt-5-codex", "tools": tools, "reasoning_effort": "low", "seed": 1}
    hello: Any = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    answer: Any = client.chat.completions.create(messages=hello, stream=stream, **asked)
    if stream:
        calls = [call for chunk in answer for choice in chunk.choices for call in choice.delta.tool_calls or ()]
        told = "".join(call.to_dict()["custom"].get("input", "") for call in calls)
        assert (calls[0].id, told) == ("call_1", "ls -l")
        return
    message = answer.choices[0].message
    assert (message.tool_calls[0].custom.input, answer.choices[0].finish_reason) == ("ls -l", "tool_calls")
    sent = upstream.asked("openai")[0].body
    assert (sent["instructions"], sent["input"], sent["reasoning"]) == (
        "Be kind.", [{"role": "user", "content": "Hi"}], {"effort": "low"},
    )  # fmt: skip
    assert sent["tools"][1] == {
        "type": "custom",
        "name": "exec",
        "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
    }
    result: Any = {"role": "tool", "tool_call_id": "call_1", "content": "a.txt"}
    upstream.plan("openai", Reply("answer"))
    client.chat.completions.create(messages=[*hello, message.to_dict(), result], **asked)
    _, thought, custom, output = upstream.asked("openai")[1].body["input"]
    assert (thought, custom["input"]) == (THOUGHT, "ls -l")
    assert output == {"type": "custom_tool_call_output", "call_id": "call_1", "output": "a.txt"}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(messages=hello, stop="x", **asked)
    assert refused.value.param == "stop"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_custom_tool_that_nobody_offered_breaks_no_dialect(
    http: httpx.Client, upstream: Upstream, alice: Actor, stream: bool
) -> None:
    custom = {"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "exec", "input": "ls"}}
    choice = {"index": 0, "message": {"role": "assistant", "tool_calls": [custom]}, "finish_reason": "tool_calls"}
    usage = {**openai_chunk({}, None), "choices": [], "usage": OPENAI_USAGE}
    events = [openai_chunk({"tool_calls": [custom]}, None), openai_chunk({}, "tool_calls"), usage]
    body: dict[str, Any] = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    for path, more in (("/v1/messages", {"max_tokens": 9}), ("/v1/chat/completions", {"functions": [{"name": "f"}]})):
        whole = {"choices": [choice], "usage": OPENAI_USAGE}
        upstream.plan("openai", Reply("recorded", payload=events if stream else whole))
        answer = http.post(path, json={**body, **more}, headers=alice.headers)
        assert answer.status_code == 200 and "exec" in answer.text, answer.text
    assert alice.wallet.held == 0


def test_custom_tools_go_to_whom_has_them_and_are_refused_by_name_elsewhere(
    client: openai.OpenAI, upstream: Upstream
) -> None:
    tool: Any = {"type": "custom", "custom": {"name": "exec", "description": "Runs code"}}
    custom = {"id": "call_1", "type": "custom", "custom": {"name": "exec", "input": "ls"}}
    choice = {"index": 0, "message": {"role": "assistant", "tool_calls": [custom]}, "finish_reason": "tool_calls"}
    upstream.plan("openai", Reply("recorded", payload={"choices": [choice], "usage": OPENAI_USAGE}), Reply("answer"))
    asked: dict[str, Any] = {"tools": [tool], "tool_choice": {"type": "custom", "custom": {"name": "exec"}}}
    hello: Any = [{"role": "user", "content": "Hi"}]
    answer: Any = client.chat.completions.create(model="gpt-4.1-mini", messages=hello, **asked)
    message = answer.choices[0].message
    assert message.tool_calls[0].to_dict() == custom
    result: Any = {"role": "tool", "tool_call_id": "call_1", "content": "a.txt"}
    history = [*hello, message.to_dict(), result]
    client.chat.completions.create(model="gpt-4.1-mini", messages=history, tools=[tool])
    sent = upstream.asked("openai")
    assert (sent[0].body["tools"], sent[0].body["tool_choice"]) == ([tool], asked["tool_choice"])
    assert sent[1].body["messages"][1]["tool_calls"] == [custom]
    for more, param in (({"tools": [tool]}, "tools"), ({"messages": history}, "messages")):
        body: Any = {"model": "gemini-3.8-flash", "messages": hello, **more}
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(**body)
        assert refused.value.param == param
