"""What each kind of OpenAI-compatible server is sent, and what is mended when one refuses a part of a request."""

from typing import Any

import pytest

from aichat.providers.base import Accepted, Endpoint
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.openai.profiles import name_by_address, profile_of, read_quirks
from tests.providers.conftest import HELLO, Ask, text_of
from tests.upstream import Recorded, Reply, Upstream
from tests.upstream_answers import ANSWER

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SIGNED = {**CALL, "extra_content": {"google": {"thought_signature": "x"}}}
TURN: list[dict[str, Any]] = [
    *HELLO,
    {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [SIGNED]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aW1n"}}
TEXTS = [{"type": "text", "text": "Hello, "}, {"type": "text", "text": "you"}]


@pytest.fixture
def at(fake: Upstream) -> Any:
    def endpoint(profile: str = "", **quirks: Any) -> Endpoint:
        return Endpoint(f"{fake.address}/v1", "a-key", profile=profile, quirks=read_quirks(quirks))

    return endpoint


def refusal(message: str, **error: Any) -> Reply:
    return Reply("recorded_error", 400, payload={"error": {"message": message, **error}})


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://api.deepseek.com/v1", "deepseek"),
        ("https://my.openai.azure.com/openai/deployments/x?api-version=1", "azure"),
        ("https://eu.api.mistral.ai/v1", "mistral"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("http://gpu:11434/v1", "ollama"),
        ("https://api.moonshot.cn/v1", "kimi"),
        ("https://notapi.groq.com.example.com/v1", "generic"),
        ("http://localhost:8000/v1", "generic"),
    ],
)
def test_a_server_is_known_by_its_address(address: str, name: str) -> None:
    assert name_by_address(address) == name


async def test_a_row_s_profile_and_quirks_go_before_the_address(at: Any, ask: Ask, fake: Upstream) -> None:
    await ask("openai_compatible", stream=True, endpoint=at("mistral", stream_options=True), seed=7)
    assert fake.requests[0].body["random_seed"] == 7
    assert fake.requests[0].body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "quirks",
    [
        {"limit": "tokens"},
        {"stream_options": 1},
        {"hosts": ["x"]},
        {"reasoning": "x"},
        {"call_id_length": -1},
        ["limit"],
    ],
)
def test_a_quirk_that_is_none_says_what_to_write(quirks: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_quirks(quirks)


# --- The longest answer, and what a 400 names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-5-mini", "max_completion_tokens"), ("openai/o3", "max_completion_tokens"), ("gpt-4o", "max_tokens"),
        ("gpt-oss-120b", "max_tokens"), ("llama3:8b", "max_tokens"), ("gpt-6-luna", "max_completion_tokens"),
    ],
)  # fmt: skip
def test_the_limit_has_the_name_that_the_model_wants(model: str, name: str) -> None:
    assert profile_of(Endpoint("https://my.openai.azure.com/openai")).limit_name(model) == name


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize(
    ("message", "before", "after"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
         "max_tokens", "max_completion_tokens"),
        ("Extra inputs are not permitted: stream_options", "stream_options", None),
    ],
)  # fmt: skip
async def test_what_a_server_refuses_of_ours_is_mended_once(
    message: str, before: str, after: str | None, stream: bool, at: Any, ask: Ask, fake: Upstream
) -> None:
    if before == "stream_options" and not stream:
        pytest.skip("only streams have it")
    fake.plan("openai", refusal(message))
    assert text_of(await ask("openai_compatible", stream=stream, endpoint=at())) == ANSWER
    first, second = (request.body for request in fake.requests)
    assert before in first and before not in second
    assert after is None or second[after] == first[before]
    fake.always("openai", refusal(message))
    with pytest.raises(ProviderError):
        await ask("openai_compatible", stream=stream, endpoint=at())
    assert len(fake.requests) == 4


async def test_a_limit_that_is_too_high_is_not_taken_for_a_wrong_name(at: Any, ask: Ask, fake: Upstream) -> None:
    """A server that ignores the other name would write without end."""
    fake.always("openai", refusal("max_tokens must be at most 50"))
    with pytest.raises(ProviderError):
        await ask("openai_compatible", endpoint=at())
    assert len(fake.requests) == 1


async def test_a_tuning_parameter_is_left_out_only_where_that_is_allowed(at: Any, ask: Ask, fake: Upstream) -> None:
    reply = refusal("Unsupported value", code="unsupported_value", param="temperature")
    fake.plan("openai", reply, reply)
    with pytest.raises(ProviderError) as caught:
        await ask("openai_compatible", endpoint=at(), temperature=0.5)
    assert (caught.value.outcome, caught.value.param) == (AttemptOutcome.UNSUPPORTED, "temperature")
    parts = await ask("openai_compatible", endpoint=at(), temperature=0.5, may_drop=True)
    assert parts[0] == Accepted(("temperature",))
    assert [("temperature" in request.body) for request in fake.requests] == [True, True, False]


async def test_thoughts_that_a_server_refuses_stay_here(at: Any, ask: Ask, fake: Upstream) -> None:
    fake.plan("openai", refusal("reasoning_content is not allowed in input messages"))
    await ask("openai_compatible", TURN, endpoint=at())
    assert ["reasoning_content" in request.body["messages"][1] for request in fake.requests] == [True, False]


# --- Messages ---------------------------------------------------------------------------------------------------------


async def sent(ask: Ask, fake: Upstream, messages: list[dict[str, Any]], endpoint: Endpoint, **rest: Any) -> Recorded:
    await ask("openai_compatible", messages, endpoint=endpoint, **rest)
    return fake.requests[-1]


@pytest.mark.parametrize(
    ("profile", "names"),
    [
        ("generic", {"reasoning_content"}), ("deepseek", {"reasoning_content"}), ("kimi", {"reasoning_content"}),
        ("openrouter", {"reasoning"}), ("groq", {"reasoning"}), ("vllm", {"reasoning", "reasoning_content"}),
        ("azure", set()), ("mistral", set()), ("openai", set()),
    ],
)  # fmt: skip
async def test_thoughts_go_back_under_the_server_s_own_name(
    profile: str, names: set[str], at: Any, ask: Ask, fake: Upstream
) -> None:
    message = (await sent(ask, fake, TURN, at(profile))).body["messages"][1]
    assert {name for name, value in message.items() if value == "hm"} == names
    assert message["content"] is None


@pytest.mark.parametrize(
    ("profile", "stays"), [("generic", True), ("openrouter", True), ("openai", False), ("azure", False)]
)
async def test_signatures_go_back_to_all_but_those_who_refuse_them(
    profile: str, stays: bool, at: Any, ask: Ask, fake: Upstream
) -> None:
    (call,) = (await sent(ask, fake, TURN, at(profile))).body["messages"][1]["tool_calls"]
    assert ("extra_content" in call) is stays


async def test_text_parts_alone_are_joined_for_servers_that_take_strings(at: Any, ask: Ask, fake: Upstream) -> None:
    for content in (TEXTS, [*TEXTS, PICTURE]):
        await sent(ask, fake, [{"role": "user", "content": content}], at())
    await sent(ask, fake, [{"role": "user", "content": TEXTS}], at("azure"))
    found = [request.body["messages"][0]["content"] for request in fake.requests]
    assert found == ["Hello, you", [*TEXTS, PICTURE], TEXTS]


async def test_pictures_of_tools_follow_the_results_in_a_message_of_the_user_s(
    at: Any, ask: Ask, fake: Upstream
) -> None:
    chat: list[dict[str, Any]] = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "call_2"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "see"}, PICTURE]},
        {"role": "tool", "tool_call_id": "call_2", "content": "rain"},
        {"role": "user", "content": "And?"},
    ]
    found = (await sent(ask, fake, chat, at())).body["messages"]
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "tool", "user", "user"]
    assert found[2]["content"] == "see"
    assert found[4]["content"][1:] == [PICTURE]


async def test_mistral_s_words_are_its_own(at: Any, ask: Ask, fake: Upstream) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    body = (await sent(ask, fake, TURN, at("mistral"), tools=[tool], tool_choice="required", stream=True)).body
    call, result = body["messages"][1]["tool_calls"][0], body["messages"][2]
    assert body["tool_choice"] == "any"
    assert "stream_options" not in body
    assert call["id"] == result["tool_call_id"]
    assert len(call["id"]) == 9 and call["id"].isalnum()


@pytest.mark.parametrize(
    ("profile", "parameters", "dropped"),
    [
        ("generic", {"logprobs": True, "top_logprobs": 2}, ()),
        ("openai", {"logprobs": True, "prediction": {"type": "content", "content": "x"}}, ()),
        ("deepseek", {"seed": 7, "user": "x", "temperature": 1}, ("seed", "user")),
        ("groq", {"logit_bias": {"1": 1}}, ("logit_bias",)),
        ("generic", {"service_tier": "priority"}, ("service_tier",)),
    ],
)
async def test_what_is_not_passed_on_is_said(
    profile: str, parameters: dict[str, Any], dropped: tuple[str, ...], at: Any, ask: Ask, fake: Upstream
) -> None:
    parts = await ask("openai_compatible", endpoint=at(profile), **parameters)
    assert parts[0] == Accepted(dropped)
    assert set(parameters) - set(fake.requests[0].body) == set(dropped)
