"""What an OpenAI client may ask of `/v1/chat/completions`: honoured by each provider, or refused by name."""

from typing import Any

import httpx
import openai
import pytest

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel
from aichat.usage.models import UsageRecord
from credits.models import Hold
from tests.conftest import Actor
from tests.upstream import Reply, Upstream
from tests.upstream_answers import GEMINI_USAGE, openai_chunk

GEMINI, OPENAI = "gemini-3.8-flash", "gpt-6-luna"
PIXEL = "data:image/png;base64,aW1hZ2U="
HELLO: list[Any] = [{"role": "user", "content": "Hi"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
GEMINI_CALL = {"functionCall": {"name": "get_weather", "args": {"city": "Oslo"}}, "thoughtSignature": "c2lnbmVk"}


@pytest.fixture
def client(server: str, alice: Actor) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server}/v1", api_key=alice.key, max_retries=0)


@pytest.fixture
def post(http: httpx.Client, alice: Actor) -> Any:
    def send(**fields: Any) -> httpx.Response:
        body = {"model": "auto", "messages": HELLO, **fields}
        return http.post("/v1/chat/completions", json=body, headers=alice.headers)

    return send


def seeing(url: str) -> list[Any]:
    return [
        {
            "role": "user",
            "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}],
        }
    ]


# --- Tools ------------------------------------------------------------------------------------------------------------


def plan_a_call(upstream: Upstream, provider: str, *, stream: bool) -> None:
    if provider == "gemini":
        candidate = {"content": {"role": "model", "parts": [GEMINI_CALL]}, "finishReason": "STOP", "index": 0}
        answer = {"candidates": [candidate], "usageMetadata": GEMINI_USAGE}
        upstream.always("gemini", Reply("recorded", payload=[answer] if stream else answer))
        return
    halves = [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city":"Oslo"}'}},
    ]
    chunks = [openai_chunk({"tool_calls": [half]}, None) for half in halves]
    whole = {"choices": [{"message": {"content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}]}
    payload = [*chunks, openai_chunk({}, "tool_calls")] if stream else whole
    upstream.always("openai", Reply("recorded", payload=payload))


@pytest.mark.parametrize("provider", ["gemini", "openai"])
def test_a_function_call_comes_whole(provider: str, client: openai.OpenAI, upstream: Upstream) -> None:
    plan_a_call(upstream, provider, stream=False)
    model = {"gemini": GEMINI, "openai": OPENAI}[provider]
    answer = client.chat.completions.create(model=model, messages=HELLO, tools=[WEATHER])
    (call,) = answer.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Oslo"}')  # type: ignore[union-attr]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.id


@pytest.mark.parametrize("provider", ["gemini", "openai"])
def test_a_function_call_comes_in_deltas(provider: str, client: openai.OpenAI, upstream: Upstream) -> None:
    plan_a_call(upstream, provider, stream=True)
    model = {"gemini": GEMINI, "openai": OPENAI}[provider]
    with client.chat.completions.stream(model=model, messages=HELLO, tools=[WEATHER]) as stream:
        answer = stream.get_final_completion()
    (call,) = answer.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Oslo"}')
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_whole_round_of_function_calling_on_gemini(client: openai.OpenAI, upstream: Upstream) -> None:
    plan_a_call(upstream, "gemini", stream=False)
    first = client.chat.completions.create(model=GEMINI, messages=HELLO, tools=[WEATHER]).choices[0].message
    upstream.always("gemini", Reply())
    (call,) = first.tool_calls or []
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    history: list[Any] = [*HELLO, first.model_dump(exclude_none=True), result]
    client.chat.completions.create(model=GEMINI, messages=history, tools=[WEATHER])
    _, model_turn, user_turn = upstream.requests[-1].body["contents"]
    assert model_turn["parts"][0]["thoughtSignature"] == "c2lnbmVk"
    assert model_turn["parts"][0]["functionCall"]["args"] == {"city": "Oslo"}
    assert user_turn["parts"][0]["functionResponse"]["name"] == "get_weather"


# --- What a candidate can't do ----------------------------------------------------------------------------------------


def can_not(slug: str, capability: str) -> None:
    AIModel.objects.filter(slug=slug).update(**{capability: False})
    snapshot.forget()


ASKS: dict[str, dict[str, Any]] = {
    "vision": {"messages": seeing(PIXEL)},
    "tools": {"tools": [WEATHER]},
    "structured_output": {"response_format": {"type": "json_object"}},
}
NAMES = {"vision": "messages", "tools": "tools", "structured_output": "response_format"}


@pytest.mark.parametrize("capability", ASKS)
def test_auto_skips_a_model_that_can_not(capability: str, post: Any, upstream: Upstream) -> None:
    can_not(GEMINI, capability)
    answer = post(**ASKS[capability])
    assert (answer.status_code, answer.json()["model"]) == (200, OPENAI)
    assert upstream.asked("gemini") == []


@pytest.mark.parametrize("capability", ASKS)
def test_a_model_that_can_not_says_so_by_name(capability: str, post: Any, upstream: Upstream) -> None:
    can_not(GEMINI, capability)
    answer = post(model=GEMINI, **ASKS[capability])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, NAMES[capability])
    assert upstream.requests == []
    assert not Hold.objects.exists()


@pytest.mark.parametrize("model", [GEMINI, OPENAI])
def test_an_image_of_the_web_is_passed_on_by_its_address(model: str, post: Any, upstream: Upstream) -> None:
    answer = post(model=model, messages=seeing("https://example.com/cat.png"))
    assert answer.status_code == 200
    assert "https://example.com/cat.png" in str(upstream.requests[0])


def test_the_hold_covers_what_an_image_can_cost(post: Any, upstream: Upstream) -> None:
    rates = snapshot.current()["gpt-4o-mini"].rates
    assert rates is not None
    post(model="gpt-4o-mini", messages=seeing(PIXEL), max_tokens=1)
    assert Hold.objects.get().amount > 48_000 * rates.price.input // 1_000_000


def test_the_demo_refuses_what_it_would_ignore(post: Any) -> None:
    assert post(response_format={"type": "json_object"}).json()["error"]["param"] == "response_format"
    assert post(tools=[WEATHER], tool_choice="required").json()["error"]["param"] == "tool_choice"
    assert post(tools=[WEATHER]).status_code == 200  # no model has to call what it is offered
    assert post(temperature=0.3).status_code == 200


# --- Parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": "x"}, "seed"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"tools": [{"type": "custom"}]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "nobody"}}}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content.0"),
        ({"messages": seeing("file:///etc/passwd")}, "messages.0.content.1.image_url.url"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_can_not_be_honoured_is_refused_by_name(fields: dict[str, Any], param: str, post: Any) -> None:
    answer = post(**fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("model", [GEMINI, OPENAI])
def test_what_is_harmless_is_accepted(model: str, post: Any, upstream: Upstream) -> None:
    harmless = {
        "user": "someone",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "logprobs": True,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "reasoning_effort": "low",
        "parallel_tool_calls": True,
        "n": 1,
        "something_new": {"of": "tomorrow"},
    }
    assert post(model=model, **harmless).status_code == 200
    sent = upstream.requests[0].body
    assert "something_new" not in sent
    assert (sent.get("generationConfig") or sent)[{GEMINI: "presencePenalty", OPENAI: "presence_penalty"}[model]] == 0.5


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("model", [GEMINI, OPENAI])
def test_both_names_of_the_limit_are_understood(name: str, model: str, post: Any, upstream: Upstream) -> None:
    post(model=model, **{name: 77})
    sent = upstream.requests[0].body
    assert sent.get("max_completion_tokens") == 77 or sent["generationConfig"]["maxOutputTokens"] == 77


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        (Reply("refuse", 400), openai.BadRequestError),
        (Reply("blocked"), openai.BadRequestError),
        (Reply("refuse", 401), openai.InternalServerError),  # our key is wrong, not the client's
        (Reply("refuse", 429), openai.InternalServerError),
        (Reply("refuse", 500), openai.InternalServerError),
        (Reply("empty"), openai.InternalServerError),
        (Reply("hang"), openai.InternalServerError),
    ],
    ids=lambda value: str(getattr(value, "__name__", "") or f"{value.kind} {value.status}"),
)
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_official_client_raises_its_own_class_when_the_provider_fails(
    reply: Reply, raised: type[openai.APIStatusError], stream: bool, client: openai.OpenAI, upstream: Upstream
) -> None:
    upstream.always("openai", reply)
    with pytest.raises(raised) as caught:
        client.chat.completions.create(model=OPENAI, messages=HELLO, stream=stream)
    assert caught.value.request_id
    assert caught.value.code
    assert UsageRecord.objects.get().charged == 0


def test_the_official_client_raises_its_own_class_for_our_refusals(
    client: openai.OpenAI, server: str, alice: Actor
) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nothing", messages=HELLO)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="auto", messages=HELLO, n=2)
    assert wrong.value.param == "n"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server}/v1", api_key="sk-nobody").chat.completions.create(model="a", messages=HELLO)
    alice.set_credits(0)
    with pytest.raises(openai.APIStatusError) as poor:
        client.chat.completions.create(model="auto", messages=HELLO)
    assert (poor.value.status_code, poor.value.code) == (402, "insufficient_credits")


@pytest.mark.parametrize("model", [GEMINI, OPENAI])
def test_the_official_client_raises_for_a_stream_that_breaks_off(
    model: str, client: openai.OpenAI, upstream: Upstream
) -> None:
    upstream.always("gemini", Reply("truncate"))
    upstream.always("openai", Reply("truncate"))
    stream = client.chat.completions.create(model=model, messages=HELLO, stream=True)
    with pytest.raises(openai.APIError):
        list(stream)
