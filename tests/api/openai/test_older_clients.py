"""Clients from before tools and before chats are served: `functions`, `stream: null`, and `/v1/completions`."""

import json
from typing import Any

import httpx
import openai
import pytest

from credits.models import Hold
from tests.conftest import Actor
from tests.upstream import Reply, Upstream

COMPLETIONS, TEXT = "/v1/chat/completions", "/v1/completions"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
CALLED = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}]


def recorded(upstream: Upstream, payload: Any) -> None:
    upstream.plan("openai", Reply("recorded", payload=payload))


def answered(upstream: Upstream, message: dict[str, Any], reason: str) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    recorded(upstream, {"choices": [choice], "usage": usage})


def ask(http: httpx.Client, who: Actor, **changes: Any) -> Any:
    body = {"model": "gpt-4o-mini", "messages": HELLO, **changes}
    return http.post(COMPLETIONS, json=body, headers=who.headers)


def test_functions_go_up_as_tools_and_the_call_comes_back_as_function_call(
    http: httpx.Client, alice: Actor, upstream: Upstream
) -> None:
    answered(upstream, {"content": None, "tool_calls": CALLED}, "tool_calls")
    answer = ask(http, alice, functions=[WEATHER], function_call={"name": "weather"}).json()
    sent = upstream.asked("openai")[-1].body
    assert sent["tools"] == [{"type": "function", "function": WEATHER}] and sent["parallel_tool_calls"] is False
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert not {"functions", "function_call"} & set(sent)
    choice = answer["choices"][0]
    assert choice["message"]["function_call"] == CALLED[0]["function"] and "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"


def test_a_function_call_and_its_result_are_sent_back_as_a_tool_call(
    http: httpx.Client, alice: Actor, upstream: Upstream
) -> None:
    answered(upstream, {"content": "Rain."}, "stop")
    turns = [
        *HELLO,
        {"role": "assistant", "content": None, "function_call": CALLED[0]["function"]},
        {"role": "function", "name": "weather", "content": "rain"},
    ]
    assert ask(http, alice, functions=[WEATHER], messages=turns).json()["choices"][0]["finish_reason"] == "stop"
    _, call, result = upstream.asked("openai")[-1].body["messages"]
    assert call["tool_calls"][0]["function"] == CALLED[0]["function"]
    assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", call["tool_calls"][0]["id"], "rain")


def test_a_streamed_call_comes_as_function_call_deltas(http: httpx.Client, alice: Actor, upstream: Upstream) -> None:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    pieces = [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}]
    pieces += [{"index": 0, "function": {"arguments": part}} for part in ('{"city":', '"Oslo"}')]
    chunks = [chunk({"tool_calls": [piece]}) for piece in pieces] + [chunk({}, "tool_calls")]
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    recorded(upstream, [*chunks, {"choices": [], "usage": usage}])
    lines = ask(http, alice, functions=[WEATHER], stream=True).text.splitlines()
    found = [json.loads(line[6:])["choices"][0] for line in lines if line.startswith("data: {")]
    calls = [choice["delta"]["function_call"] for choice in found if "function_call" in choice["delta"]]
    assert "".join(call.get("name") or "" for call in calls) == "weather"
    assert "".join(call["arguments"] for call in calls) == '{"city":"Oslo"}'
    assert found[-1]["finish_reason"] == "function_call"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"functions": [WEATHER], "function_call": {"name": "time"}}, "function_call"),
        ({"functions": [WEATHER], "tools": [{"type": "function", "function": WEATHER}]}, "functions"),
        (
            {
                "tools": [{"type": "function", "function": WEATHER}],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "time"}}]},
                },
            },
            "tool_choice",
        ),
    ],
)
def test_a_choice_that_does_not_fit_is_refused_by_name(
    http: httpx.Client, alice: Actor, upstream: Upstream, changes: dict[str, Any], param: str
) -> None:
    refused = ask(http, alice, **changes)
    assert refused.status_code == 400 and refused.json()["error"]["param"].startswith(param)


def test_of_allowed_tools_only_those_are_offered(http: httpx.Client, alice: Actor, upstream: Upstream) -> None:
    answered(upstream, {"content": None, "tool_calls": CALLED}, "tool_calls")
    tools = [{"type": "function", "function": {**WEATHER, "name": name}} for name in ("weather", "time")]
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]}
    ask(http, alice, tools=tools, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    sent = upstream.asked("openai")[-1].body
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["weather"] and sent["tool_choice"] == "required"


def test_null_is_as_good_as_leaving_a_field_out(http: httpx.Client, alice: Actor, catalog: None) -> None:
    empty = dict.fromkeys(["stream", "stream_options", "functions", "function_call", "tools", "tool_choice", "stop"])
    answer = ask(http, alice, model="demo", **empty)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_the_demo_model_takes_a_clients_usual_limit(
    http: httpx.Client, alice: Actor, catalog: None, limit: str
) -> None:
    assert ask(http, alice, model="demo", **{limit: 32_000}).status_code == 200


# --- /v1/completions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["Say it", ["Say it"]])
@pytest.mark.parametrize("stream", [False, True])
def test_a_text_completion_is_a_chat_of_one_message(server: str, alice: Actor, prompt: Any, stream: bool) -> None:
    client = openai.OpenAI(base_url=f"{server}/v1", api_key=alice.key, max_retries=0)
    asked: dict[str, Any] = {"model": "demo", "prompt": prompt, "max_tokens": 100}
    if stream:
        chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
        assert {chunk.object for chunk in chunks} == {"text_completion"}
        reasons, usage = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices], chunks[-1].usage
    else:
        answer = client.completions.create(**asked)
        text, reasons, usage = answer.choices[0].text, [answer.choices[0].finish_reason], answer.usage
        assert answer.id.startswith("cmpl-")
    assert text.endswith("You wrote: Say it") and reasons[-1] == "stop"
    assert usage and usage.prompt_tokens == 2
    assert not Hold.objects.filter(state="OPEN").exists()


def test_an_echoed_prompt_begins_the_answer(http: httpx.Client, alice: Actor, catalog: None) -> None:
    body = {"model": "demo", "prompt": "Say it", "echo": True}
    answer = http.post(TEXT, json=body, headers=alice.headers)
    assert answer.json()["choices"][0]["text"].startswith("Say itThis is the demo model")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"n": 2}, "n"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 2}, "logprobs"),
    ],
)
def test_what_a_chat_model_cannot_do_is_refused_by_name(
    http: httpx.Client, alice: Actor, catalog: None, changes: dict[str, Any], param: str
) -> None:
    refused = http.post(TEXT, json={"model": "demo", "prompt": "x", **changes}, headers=alice.headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), refused.text
