"""The same call through Google's SDK and through our adapter: one request on the wire, one meaning of the answer."""

import json
import re
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from aichat.providers import http
from aichat.providers.base import Endpoint, Finished, ImageRequest
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.registry import image_adapter
from aichat.providers.usage import Reading
from tests.providers.conftest import Ask, calls_of, end_of, text_of
from tests.upstream import Reply, Upstream
from tests.upstream_answers import GEMINI_USAGE

WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
PIXEL = "aW1hZ2U="
SIGNATURE = "c2lnbmVk"


@pytest.fixture
def sdk(fake: Upstream) -> genai.Client:
    return genai.Client(api_key="a-key", http_options=types.HttpOptions(base_url=fake.address, api_version="v1beta"))


def sdk_config(**fields: Any) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(max_output_tokens=100, **fields)


def text(role: str, *texts: str) -> types.Content:
    return types.Content(role=role, parts=[types.Part(text=item) for item in texts])


CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
    "extra_content": {"google": {"thought_signature": SIGNATURE}},
}
TOOLS = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather", description="Weather of a city", parameters_json_schema=WEATHER["parameters"]
        )
    ]
)
# What our clients send, in OpenAI's vocabulary, and what one would write with Google's SDK for it.
REQUESTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a question": ({}, {"contents": [text("user", "Hi")], "config": sdk_config()}),
    "a conversation with a system prompt": (
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello!"},
                {"role": "user", "content": "Well?"},
            ]
        },
        {
            "contents": [text("user", "Hi"), text("model", "Hello!"), text("user", "Well?")],
            "config": sdk_config(system_instruction=types.Content(parts=[types.Part(text="Be brief.")])),
        },
    ),
    "every setting": (
        {
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 7,
            "stop": ["END"],
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "reasoning_effort": "low",
        },
        {
            "contents": [text("user", "Hi")],
            "config": sdk_config(
                temperature=0.5,
                top_p=0.9,
                seed=7,
                stop_sequences=["END"],
                presence_penalty=0.1,
                frequency_penalty=0.2,
                thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW, include_thoughts=True),
            ),
        },
    ),
    "any JSON": (
        {"response_format": {"type": "json_object"}},
        {"contents": [text("user", "Hi")], "config": sdk_config(response_mime_type="application/json")},
    ),
    "JSON of a schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
        {
            "contents": [text("user", "Hi")],
            "config": sdk_config(response_mime_type="application/json", response_json_schema=SCHEMA),
        },
    ),
    "an image": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    ],
                }
            ]
        },
        {
            "contents": [
                types.Content(
                    role="user",
                    parts=[
                        types.Part(text="What is it?"),
                        types.Part(inline_data=types.Blob(mime_type="image/png", data=PIXEL)),  # type: ignore[arg-type]
                    ],
                )
            ],
            "config": sdk_config(),
        },
    ),
    "a tool it must call": (
        {
            "tools": [{"type": "function", "function": WEATHER}],
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        },
        {
            "contents": [text("user", "Hi")],
            "config": sdk_config(
                tools=[TOOLS],
                tool_config=types.ToolConfig(
                    function_calling_config=types.FunctionCallingConfig(
                        mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["get_weather"]
                    )
                ),
            ),
        },
    ),
    "the result of a tool": (
        {
            "messages": [
                {"role": "user", "content": "Weather in Oslo?"},
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            ],
            "tools": [{"type": "function", "function": WEATHER}],
        },
        {
            "contents": [
                text("user", "Weather in Oslo?"),
                types.Content(
                    role="model",
                    parts=[
                        types.Part(
                            function_call=types.FunctionCall(id="call_1", name="get_weather", args={"city": "Oslo"}),
                            thought_signature=SIGNATURE,  # type: ignore[arg-type]
                        )
                    ],
                ),
                types.Content(
                    role="user",
                    parts=[
                        types.Part(
                            function_response=types.FunctionResponse(
                                id="call_1", name="get_weather", response={"output": "rain"}
                            )
                        )
                    ],
                ),
            ],
            "config": sdk_config(tools=[TOOLS]),
        },
    ),
}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_the_sdk_and_we_send_the_same(
    name: str, stream: bool, fake: Upstream, sdk: genai.Client, ask: Ask
) -> None:
    ours, theirs = REQUESTS[name]
    await ask("gemini", stream=stream, **ours)
    if stream:
        list(sdk.models.generate_content_stream(model="a-model", **theirs))
    else:
        sdk.models.generate_content(model="a-model", **theirs)
    mine, reference = fake.requests
    assert mine.path == reference.path
    assert mine.headers["x-goog-api-key"] == reference.headers["x-goog-api-key"] == "a-key"
    assert mine.headers["x-request-id"] == "request-1"
    assert mine.body == spelled_alike(reference.body)


async def test_the_sdk_and_we_ask_for_a_picture_alike(fake: Upstream, sdk: genai.Client) -> None:
    fake.always("gemini", Reply("blank"))
    asked = ImageRequest("a-model", "a cat", "1536x1024", 1, request_id="request-1")
    with pytest.raises(ProviderError):
        await image_adapter("gemini").images(asked, Endpoint(fake.address, "a-key"))
    await http.close()
    config = types.GenerateContentConfig(
        response_modalities=["TEXT", "IMAGE"], image_config=types.ImageConfig(aspect_ratio="3:2")
    )
    sdk.models.generate_content(model="a-model", contents="a cat", config=config)
    mine, reference = fake.requests
    assert (mine.path, mine.body) == (reference.path, spelled_alike(reference.body))


def spelled_alike(body: dict[str, Any]) -> dict[str, Any]:
    """The SDK spells some names with underscores, and writes `role: user` into a system instruction; neither matters."""
    if "systemInstruction" in body:
        body["systemInstruction"].pop("role", None)
    return json.loads(re.sub(r'"([a-z_]+)": ', lambda match: f'"{camel(match[1])}": ', json.dumps(body)))  # type: ignore[no-any-return]


def camel(name: str) -> str:
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)


def candidate(parts: list[dict[str, Any]], reason: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    return {"candidates": [{**found, "finishReason": reason} if reason else found], "usageMetadata": GEMINI_USAGE}


THOUGHT = {"text": "Hmm …", "thought": True}
CALLING = {"functionCall": {"id": "f1", "name": "get_weather", "args": {"city": "Oslo"}}, "thoughtSignature": SIGNATURE}
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "text": [candidate([{"text": "Hello "}]), candidate([{"text": "you"}], "STOP")],
    "thoughts before the text": [candidate([THOUGHT]), candidate([{"text": "Hello"}], "STOP")],
    "cut off at max_tokens": [candidate([{"text": "Hel"}], "MAX_TOKENS")],
    "a function call": [candidate([CALLING], "STOP")],
    "two function calls": [candidate([CALLING]), candidate([{"functionCall": {"name": "now", "args": {}}}], "STOP")],
    "cut off by the safety filter": [candidate([{"text": "Hel"}]), candidate([], "SAFETY")],
}
REASONS = {"STOP": {"stop", "tool_calls"}, "MAX_TOKENS": {"length"}, "SAFETY": {"content_filter"}}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("name", ANSWERS)
async def test_the_sdk_and_we_read_the_same(
    name: str, stream: bool, fake: Upstream, sdk: genai.Client, ask: Ask
) -> None:
    chunks = ANSWERS[name]
    whole = candidate([part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]])
    whole["candidates"][0]["finishReason"] = chunks[-1]["candidates"][0]["finishReason"]
    fake.always("gemini", Reply("recorded", payload=chunks if stream else whole))
    parts = await ask("gemini", stream=stream)
    models = sdk.models
    if stream:
        reference = list(models.generate_content_stream(model="a-model", contents="Hi"))
    else:
        reference = [models.generate_content(model="a-model", contents="Hi")]

    assert text_of(parts) == "".join(answer.text or "" for answer in reference)
    calls = [call for answer in reference for call in answer.function_calls or []]
    assert [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls_of(parts)] == [
        (call.name, call.args) for call in calls
    ]
    end = reference[-1]
    assert end.candidates and end.candidates[0].finish_reason and end.usage_metadata
    assert end_of(parts).reason in REASONS[end.candidates[0].finish_reason.value]
    metadata = end.usage_metadata
    assert parts.usage == Reading(
        input=metadata.prompt_token_count or 0,
        output=(metadata.candidates_token_count or 0) + (metadata.thoughts_token_count or 0),
        cached=metadata.cached_content_token_count or 0,
        reasoning=metadata.thoughts_token_count or 0,
    )


async def test_a_function_call_keeps_its_signature_and_gets_an_id(fake: Upstream, ask: Ask) -> None:
    fake.always("gemini", Reply("recorded", payload=ANSWERS["two function calls"]))
    first, second = calls_of(await ask("gemini", stream=True))
    assert (first["index"], first["id"]) == (0, "f1")
    assert first["extra_content"] == {"google": {"thought_signature": SIGNATURE}}
    assert second["index"] == 1
    assert second["id"].startswith("call_")


async def test_a_function_call_of_another_model_says_that_it_is_unsigned(fake: Upstream, ask: Ask) -> None:
    call = {name: value for name, value in CALL.items() if name != "extra_content"}
    await ask("gemini", [{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": [call]}])
    assert fake.requests[0].body["contents"][1]["parts"][0]["thoughtSignature"] == "skip_thought_signature_validator"


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (400, "INVALID_ARGUMENT", AttemptOutcome.INVALID_REQUEST),
        (400, "API_KEY_INVALID", AttemptOutcome.AUTH_FAILURE),
        (400, "FAILED_PRECONDITION", AttemptOutcome.AUTH_FAILURE),
        (403, "PERMISSION_DENIED", AttemptOutcome.AUTH_FAILURE),
        (404, "NOT_FOUND", AttemptOutcome.MODEL_MISSING),
        (429, "RESOURCE_EXHAUSTED", AttemptOutcome.RATE_LIMITED),
        (500, "INTERNAL", AttemptOutcome.OVERLOADED),
        (503, "UNAVAILABLE", AttemptOutcome.OVERLOADED),
        (504, "DEADLINE_EXCEEDED", AttemptOutcome.TIMEOUT_ATTEMPT),
    ],
)
async def test_errors(
    status: int, code: str, outcome: AttemptOutcome, fake: Upstream, sdk: genai.Client, ask: Ask
) -> None:
    fake.always("gemini", Reply("refuse", status, code))
    with pytest.raises(errors.APIError) as theirs:
        sdk.models.generate_content(model="a-model", contents="Hi")
    with pytest.raises(ProviderError) as ours:
        await ask("gemini")
    assert theirs.value.code == status
    assert ours.value.outcome == outcome
    assert str(ours.value) == theirs.value.message


async def test_a_429_says_how_long_to_wait_in_its_body(fake: Upstream, ask: Ask) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]
    error = {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": details}}
    fake.always("gemini", Reply("recorded_error", 429, payload=error))
    with pytest.raises(ProviderError) as caught:
        await ask("gemini")
    assert caught.value.retry_after == 34.5


async def test_a_block_is_told_from_an_empty_answer(fake: Upstream, ask: Ask) -> None:
    fake.always("gemini", Reply("blocked"))
    assert end_of(await ask("gemini")).reason == "content_filter"
    fake.always("gemini", Reply("blank"))
    assert (await ask("gemini"))[1:] == [Finished("stop")]


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
async def test_a_garbled_call_is_malformed(reason: str, fake: Upstream, ask: Ask) -> None:
    fake.always("gemini", Reply("recorded", payload=candidate([], reason)))
    with pytest.raises(ProviderError) as caught:
        await ask("gemini")
    assert caught.value.outcome == AttemptOutcome.MALFORMED
