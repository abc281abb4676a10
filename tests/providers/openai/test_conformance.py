"""The same call through OpenAI's SDK and through our adapter: one request on the wire, one meaning of the answer."""

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from aichat.providers import http
from aichat.providers.base import Delta, Endpoint, ImageRequest
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.registry import image_adapter
from aichat.providers.usage import Reading
from tests.providers.conftest import HELLO, Ask, calls_of, end_of, text_of
from tests.upstream import Reply, Upstream
from tests.upstream_answers import OPENAI_USAGE, openai_chunk

WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
REQUESTS: dict[str, dict[str, Any]] = {
    "a question": {},
    "every setting": {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["END"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logit_bias": {"50256": -100},
        "reasoning_effort": "low",
        "user": "someone",
        "store": False,
        "metadata": {"a": "b"},
    },
    "any JSON": {"response_format": {"type": "json_object"}},
    "JSON of a schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True},
        }
    },
    "a tool it must call": {
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "parallel_tool_calls": False,
    },
    "the result of a tool": {
        "messages": [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ],
        "tools": [WEATHER],
    },
    "an image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": "low"}},
                ],
            }
        ]
    },
}


@pytest.fixture
def sdk(fake: Upstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="a-key", base_url=f"{fake.address}/v1", max_retries=0) as client:
        yield client


def call_sdk(
    sdk: openai.OpenAI, *, stream: bool = False, limit: str = "max_completion_tokens", **fields: Any
) -> list[Any]:
    fields = {"messages": HELLO, "model": "a-model", limit: 100, **fields}
    if stream:
        return list(sdk.chat.completions.create(stream=True, stream_options={"include_usage": True}, **fields))
    return [sdk.chat.completions.create(**fields)]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_the_sdk_and_we_send_the_same(
    name: str, stream: bool, fake: Upstream, sdk: openai.OpenAI, ask: Ask
) -> None:
    await ask("openai", stream=stream, **REQUESTS[name])
    call_sdk(sdk, stream=stream, **REQUESTS[name])
    mine, reference = fake.requests
    assert (mine.method, mine.path) == (reference.method, reference.path)
    assert mine.headers["authorization"] == reference.headers["authorization"] == "Bearer a-key"
    assert mine.headers["x-request-id"] == mine.headers["x-client-request-id"] == "request-1"
    assert mine.body == reference.body


@pytest.mark.parametrize("model", ["dall-e-3", "gpt-image-2"])
async def test_the_sdk_and_we_ask_for_pictures_alike(model: str, fake: Upstream, sdk: openai.OpenAI) -> None:
    usage = {"input_tokens": 9, "output_tokens": 1000, "total_tokens": 1009, "input_tokens_details": {}}
    fake.always("openai", Reply("recorded", payload={"created": 1, "data": [{"b64_json": "aGk="}], "usage": usage}))
    asked = ImageRequest(model, "a cat", "1536x1024", 2, request_id="request-1")
    made = await image_adapter("openai").images(asked, Endpoint(f"{fake.address}/v1", "a-key"))
    await http.close()
    older: Any = {"response_format": "b64_json"} if model == "dall-e-3" else {}
    theirs = sdk.images.generate(model=model, prompt="a cat", n=2, size="1536x1024", **older)
    mine, reference = fake.requests
    assert (mine.method, mine.path, mine.body) == (reference.method, reference.path, reference.body)
    assert made.images == [base64.b64decode(item.b64_json or "") for item in theirs.data or []]
    reading = made.report.reading()
    assert theirs.usage and (reading.input, reading.output) == (theirs.usage.input_tokens, theirs.usage.output_tokens)


async def test_a_compatible_server_gets_the_older_name_of_the_limit(
    fake: Upstream, sdk: openai.OpenAI, ask: Ask
) -> None:
    await ask("openai_compatible", [{"role": "developer", "content": "Be brief."}, *HELLO])
    call_sdk(sdk, limit="max_tokens", messages=[{"role": "system", "content": "Be brief."}, *HELLO])
    mine, reference = fake.requests
    assert mine.body == reference.body


async def test_what_would_be_billed_otherwise_is_not_passed_on(fake: Upstream, ask: Ask) -> None:
    sly = {"service_tier": "priority", "models": ["dear"], "web_search_options": {}, "unknown": 1}
    await ask("openai", **sly)
    await ask("openai_compatible", **sly, top_k=5)
    ours, compatible = (set(request.body) for request in fake.requests)
    assert ours == {"model", "messages", "max_completion_tokens"}
    assert compatible == {"model", "messages", "max_tokens", "top_k"}


async def test_gemini_s_signatures_stay_here(fake: Upstream, ask: Ask) -> None:
    signed = {**CALL, "extra_content": {"google": {"thought_signature": "x"}}}
    await ask("openai", [*HELLO, {"role": "assistant", "tool_calls": [signed]}])
    assert fake.requests[0].body["messages"][1]["tool_calls"] == [CALL]


def message(reason: str, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **fields}, "finish_reason": reason}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": OPENAI_USAGE,
    }


def piece(index: int, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **fields}]}


LAST = {**openai_chunk({}, None), "choices": [], "usage": OPENAI_USAGE}
WHOLE = {
    "text": message("stop", content="Hello you"),
    "a refusal": message("stop", refusal="I can't."),
    "cut off at max_tokens": message("length", content="Hel"),
    "a tool call": message("tool_calls", tool_calls=[CALL]),
    "cut off by the safety filter": message("content_filter", content="Hel"),
}
STREAMED = {
    "text": [openai_chunk({"role": "assistant", "content": ""}, None), openai_chunk({"content": "Hello"}, None),
             openai_chunk({"content": " you"}, None), openai_chunk({}, "stop"), LAST],
    "two tool calls": [
        openai_chunk(piece(0, id="call_1", type="function", function={"name": "get_weather", "arguments": ""}), None),
        openai_chunk(piece(0, function={"arguments": '{"city":'}), None),
        openai_chunk(piece(0, function={"arguments": '"Oslo"}'}), None),
        openai_chunk(piece(1, id="call_2", type="function", function={"name": "now", "arguments": "{}"}), None),
        openai_chunk({}, "tool_calls"), LAST],
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
async def test_the_sdk_and_we_read_the_same_body(name: str, fake: Upstream, sdk: openai.OpenAI, ask: Ask) -> None:
    fake.always("openai", Reply("recorded", payload=WHOLE[name]))
    parts = await ask("openai")
    (reference,) = call_sdk(sdk)
    choice = reference.choices[0]
    assert text_of(parts) == (choice.message.content or choice.message.refusal or "")
    assert [without_index(call) for call in calls_of(parts)] == [
        call.model_dump(exclude_none=True) for call in choice.message.tool_calls or []
    ]
    assert end_of(parts).reason == choice.finish_reason
    assert parts.usage == as_reading(reference.usage)


@pytest.mark.parametrize("name", STREAMED)
async def test_the_sdk_and_we_read_the_same_stream(name: str, fake: Upstream, sdk: openai.OpenAI, ask: Ask) -> None:
    fake.always("openai", Reply("recorded", payload=STREAMED[name]))
    parts = await ask("openai", stream=True)
    chunks = call_sdk(sdk, stream=True)
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert text_of(parts) == "".join(delta.content or "" for delta in deltas)
    assert calls_of(parts) == [
        call.model_dump(exclude_none=True) for delta in deltas for call in delta.tool_calls or []
    ]
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert [end_of(parts).reason] == reasons
    assert parts.usage == as_reading(chunks[-1].usage)


def without_index(call: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in call.items() if name != "index"}


def as_reading(usage: Any) -> Reading:
    return Reading(
        input=usage.prompt_tokens,
        output=usage.completion_tokens,
        cached=usage.prompt_tokens_details.cached_tokens,
        reasoning=usage.completion_tokens_details.reasoning_tokens,
    )


async def test_tokens_written_to_the_cache_are_counted(fake: Upstream, ask: Ask) -> None:
    usage = {**OPENAI_USAGE, "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 5}}
    fake.always("openai", Reply("recorded", payload={**WHOLE["text"], "usage": usage}))
    found = (await ask("openai")).usage
    assert (found.cached, found.written) == (3, 5)


@pytest.mark.parametrize("usage", [None, [], {"prompt_tokens": -5}, {"prompt_tokens": "many"}])
async def test_usage_that_makes_no_sense_is_no_usage(usage: Any, fake: Upstream, ask: Ask) -> None:
    fake.always("openai", Reply("recorded", payload={**WHOLE["text"], "usage": usage}))
    assert (await ask("openai")).usage.input is None


async def test_reasoning_is_no_text(fake: Upstream, ask: Ask) -> None:
    chunks = [openai_chunk({"reasoning_content": "Hmm"}, None), openai_chunk({}, "stop")]
    fake.always("openai", Reply("recorded", payload=chunks))
    parts = await ask("openai_compatible", stream=True)
    assert parts[1] == Delta(reasoning="Hmm")
    assert text_of(parts) == ""


@pytest.mark.parametrize(
    ("status", "code", "theirs", "ours"),
    [
        (400, "", openai.BadRequestError, AttemptOutcome.INVALID_REQUEST),
        (400, "content_policy_violation", openai.BadRequestError, AttemptOutcome.BLOCKED),
        (400, "content_filter", openai.BadRequestError, AttemptOutcome.BLOCKED),
        (401, "invalid_api_key", openai.AuthenticationError, AttemptOutcome.AUTH_FAILURE),
        (403, "", openai.PermissionDeniedError, AttemptOutcome.AUTH_FAILURE),
        (404, "model_not_found", openai.NotFoundError, AttemptOutcome.MODEL_MISSING),
        (409, "", openai.ConflictError, AttemptOutcome.INVALID_REQUEST),
        (422, "", openai.UnprocessableEntityError, AttemptOutcome.INVALID_REQUEST),
        (429, "rate_limit_exceeded", openai.RateLimitError, AttemptOutcome.RATE_LIMITED),
        (429, "insufficient_quota", openai.RateLimitError, AttemptOutcome.AUTH_FAILURE),
        (500, "", openai.InternalServerError, AttemptOutcome.OVERLOADED),
        (503, "", openai.InternalServerError, AttemptOutcome.OVERLOADED),
    ],
)
async def test_errors(
    status: int,
    code: str,
    theirs: type[openai.APIStatusError],
    ours: AttemptOutcome,
    fake: Upstream,
    sdk: openai.OpenAI,
    ask: Ask,
) -> None:
    fake.always("openai", Reply("refuse", status, code, headers={"Retry-After": "3"}))
    with pytest.raises(theirs):
        call_sdk(sdk)
    with pytest.raises(ProviderError) as caught:
        await ask("openai")
    assert caught.value.outcome == ours
    assert caught.value.retry_after == 3
