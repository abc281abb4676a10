"""Clients that run tools and read thoughts, in both newer dialects, with a model of each provider behind them."""

from typing import Any

import agents
import anthropic
import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.clients import scripted
from tests.conftest import Actor
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANSWER, anthropic_answer, anthropic_events

MODELS = {"gpt-4.1-mini": "openai", "gemini-3.8-flash": "gemini", "claude-sonnet-5-5": "anthropic"}
each_model = pytest.mark.parametrize("model", MODELS)
QUESTION: Any = [{"role": "user", "content": "Is it raining in Oslo?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Weather(BaseModel):
    city: str
    rain: bool


@pytest.fixture
def acting(claude: Upstream) -> Upstream:
    """The fake upstream, which calls the tools it is offered."""
    claude.choose = scripted.act
    return claude


@each_model
def test_openai_s_client_runs_a_tool_and_parses_an_object(
    server: str, acting: Upstream, alice: Actor, model: str
) -> None:
    client = openai.OpenAI(base_url=f"{server}/v1", api_key=alice.key, max_retries=0)
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": True}]
    with client.responses.stream(model=model, input=QUESTION, tools=tools) as stream:
        first = stream.get_final_response()
    call: Any = next(item for item in first.output if item.type == "function_call")
    assert (call.name, call.arguments.replace(" ", "")) == ("get_weather", '{"city":"Oslo"}')
    history: list[Any] = [item.to_dict() for item in first.output]
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    second = client.responses.create(model=model, input=[*QUESTION, *history, output], tools=tools)
    assert second.output_text == ANSWER
    parsed = client.responses.parse(model=model, input=QUESTION, text_format=Weather)
    assert parsed.output_parsed == Weather(city="Oslo", rain=True)


@each_model
def test_an_agent_in_its_default_mode_runs_a_tool_and_answers_with_an_object(
    server: str, acting: Upstream, alice: Actor, model: str
) -> None:
    asked = []

    @agents.function_tool
    def get_weather(city: str) -> str:
        asked.append(city)
        return "rain"

    agents.set_tracing_disabled(True)
    agents.set_default_openai_client(openai.AsyncOpenAI(base_url=f"{server}/v1", api_key=alice.key, max_retries=0))
    found = agents.Runner.run_sync(agents.Agent(name="a", model=model, tools=[get_weather]), "Is it raining in Oslo?")
    assert (found.final_output, asked) == (ANSWER, ["Oslo"])
    typed = agents.Agent(name="b", model=model, output_type=Weather)
    assert agents.Runner.run_sync(typed, "Is it raining in Oslo?").final_output == Weather(city="Oslo", rain=True)


@each_model
def test_anthropic_s_tool_runner_finishes_its_task(server: str, acting: Upstream, alice: Actor, model: str) -> None:
    asked = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "rain"

    client = anthropic.Anthropic(base_url=server, api_key=alice.key, max_retries=0)
    runner = client.beta.messages.tool_runner(model=model, max_tokens=1_000, messages=QUESTION, tools=[get_weather])
    final: Any = runner.until_done()
    assert (final.content[-1].text, final.stop_reason, asked) == (ANSWER, "end_turn", ["Oslo"])


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("dialect", ["messages", "responses"])
def test_a_signed_thought_comes_back_to_the_model_that_had_it(
    server: str, acting: Upstream, alice: Actor, dialect: str, stream: bool
) -> None:
    ask = ask_messages if dialect == "messages" else ask_responses
    ask(server, alice.key, stream)
    turn = acting.asked("anthropic")[-1].body["messages"][1]
    assert turn["role"] == "assistant"
    assert turn["content"][0] == {"type": "thinking", "thinking": "I use it.", "signature": "c2ln"}
    assert turn["content"][-1]["type"] == "tool_use"


def ask_messages(server: str, key: str, stream: bool) -> None:
    client = anthropic.Anthropic(base_url=server, api_key=key, max_retries=0)
    tools: Any = [{"name": "get_weather", "input_schema": SCHEMA}]
    request: Any = {"model": "claude-sonnet-5-5", "max_tokens": 1_000, "tools": tools}
    if stream:
        with client.messages.stream(messages=QUESTION, **request) as events:
            first: Any = events.get_final_message()
    else:
        first = client.messages.create(messages=QUESTION, **request)
    assert [block.type for block in first.content] == ["thinking", "tool_use"]
    answer = {"type": "tool_result", "tool_use_id": first.content[1].id, "content": "rain"}
    history: Any = [*QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": [answer]}]
    client.messages.create(messages=history, **request)


def ask_responses(server: str, key: str, stream: bool) -> None:
    client = openai.OpenAI(base_url=f"{server}/v1", api_key=key, max_retries=0)
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": SCHEMA}]
    request: Any = {"model": "claude-sonnet-5-5", "tools": tools}
    if stream:
        events: Any = list(client.responses.create(input=QUESTION, stream=True, **request))
        first = events[-1].response
    else:
        first = client.responses.create(input=QUESTION, **request)
    assert [item.type for item in first.output] == ["reasoning", "function_call"]
    history: list[Any] = [item.to_dict() for item in first.output]
    output: Any = {"type": "function_call_output", "call_id": first.output[1].call_id, "output": "rain"}
    client.responses.create(input=[*QUESTION, *history, output], **request)


def test_a_claude_model_gets_a_request_in_its_dialect_as_it_came(
    http: httpx.Client, claude: Upstream, alice: Actor
) -> None:
    cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body: dict[str, Any] = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 2_000,
        "system": [{"type": "text", "text": "Be brief.", **cached}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi", **cached}]},
            {"role": "system", "content": [{"type": "text", "text": "It is late."}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Yes?"}]},
            {"role": "user", "content": [{"type": "document", "title": "A", "citations": {"enabled": True},
                                          "source": {"type": "text", "media_type": "text/plain", "data": "Rain."}}]},
        ],
        "tools": [{"name": "x", "input_schema": SCHEMA, "defer_loading": True, **cached}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "max"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "metadata": {"user_id": "u"},
        "stop_sequences": ["END"],
    }  # fmt: skip
    headers = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "context-management-2025-06-27,fast-mode-2026-02-01",
    }
    answer = http.post("/v1/messages", json=body, headers={**alice.headers, **headers})
    assert answer.status_code == 200, answer.text
    sent = claude.asked("anthropic")[-1]
    assert sent.body == body
    assert sent.headers["anthropic-beta"] == "context-management-2025-06-27"
    assert sent.headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_claude_model_s_stop_sequence_is_told(server: str, claude: Upstream, alice: Actor, stream: bool) -> None:
    events = anthropic_events(["Hello"], "stop")
    events[-2]["delta"] = {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    whole = {**anthropic_answer("Hello", "stop"), "stop_reason": "stop_sequence", "stop_sequence": "END"}
    claude.plan("anthropic", Reply("recorded", payload=events if stream else whole))
    client = anthropic.Anthropic(base_url=server, api_key=alice.key, max_retries=0)
    request: Any = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": QUESTION, "stop_sequences": ["END"]}
    if stream:
        with client.messages.stream(**request) as running:
            final: Any = running.get_final_message()
    else:
        final = client.messages.create(**request)
    assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", "END")


def test_a_request_in_anthropic_s_dialect_is_held_for_once_with_another_model(
    http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    """Its own blocks stand beside the translation: they must not be counted with it."""
    long = "word " * 150_000  # more than half of what gpt-4o-mini reads
    body = {"model": "gpt-4o-mini", "max_tokens": 10, "messages": [{"role": "user", "content": long[:320_000]}]}
    assert http.post("/v1/messages", json=body, headers=alice.headers).status_code == 200


def test_what_anthropic_would_bill_otherwise_is_left_out_and_named(
    http: httpx.Client, claude: Upstream, alice: Actor
) -> None:
    body = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 100,
        "messages": QUESTION,
        "speed": "fast",
        "service_tier": "auto",
        "inference_geo": "us",
        "tools": [{"type": "web_search_20250305", "name": "web_search"}, {"name": "x", "input_schema": SCHEMA}],
    }
    answer = http.post("/v1/messages", json=body, headers=alice.headers)
    assert (answer.status_code, answer.headers["x-dropped-parameters"]) == (200, "tools.0")
    sent = claude.asked("anthropic")[-1].body
    assert set(sent) == {"model", "max_tokens", "messages", "tools"}
    assert [tool["name"] for tool in sent["tools"]] == ["x"]


def test_what_claude_code_sends_reaches_another_model_translated(
    http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    body = {
        "model": "gpt-4.1-mini",
        "max_tokens": 64_000,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "Look"},
            {"role": "system", "content": "It is late."},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "x", "input": {"city": "Oslo"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": False,
                                          "content": [{"type": "text", "text": "seen"}, picture]}]},
        ],
        "tools": [{"name": "x", "input_schema": SCHEMA}, {"name": "y", "input_schema": SCHEMA, "defer_loading": True}],
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": []},
        "metadata": {"user_id": "u" * 100},
    }  # fmt: skip
    answer = http.post("/v1/messages?beta=true", json=body, headers=alice.headers)
    assert answer.status_code == 200, answer.text
    sent = upstream.asked("openai")[-1].body
    roles = [message["role"] for message in sent["messages"]]
    assert roles == ["system", "user", "system", "assistant", "tool", "user"] or roles[0] == "developer"
    assert sent["messages"][4]["content"] == "seen"
    assert sent["messages"][5]["content"][0]["image_url"]["url"] == "data:image/png;base64,aGk="
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["x"]
    assert not any("anthropic" in message for message in sent["messages"]) and "anthropic" not in sent
    assert sent.get("max_completion_tokens") == 32_768
