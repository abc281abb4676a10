"""What a client of `/v1/chat/completions` sees of a provider's ways: thoughts, pictures, refusals, left-out parameters."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel, Price, Provider
from aichat.chat.models import Message
from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANSWER, OPENAI_USAGE, gemini_answer, openai_chunk

C, G, O = "llama", "gemini-3.8-flash", "gpt-4.1-mini"  # noqa: E741
HELLO = [{"role": "user", "content": "Hi"}]
Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(http: httpx.Client, upstream: Upstream, alice: Actor, settings: Any) -> Ask:
    """`ask(C, temperature=0.5)`: the answer to a chat of model C, of an OpenAI-compatible server."""
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    provider = Provider.objects.create(slug="local", kind="openai_compatible", base_url=f"{upstream.address}/v1")
    Price.objects.create(model=AIModel.objects.create(slug=C, provider=provider), input_price=10**6, output_price=10**6)
    snapshot.forget()

    def send(model: str, **fields: Any) -> httpx.Response:
        body = {"model": model, "messages": HELLO, **fields}
        return http.post("/v1/chat/completions", json=body, headers=alice.headers)

    return send


def whole(message: dict[str, Any], reason: str = "stop") -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    return Reply("recorded", payload={"choices": [choice], "usage": OPENAI_USAGE})


def refusal(status: int, **error: Any) -> Reply:
    return Reply("recorded_error", status, payload={"error": error})


def deltas(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return [choice["delta"] for line in lines for choice in json.loads(line)["choices"]]


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_thoughts_reach_the_client_and_go_back_in_a_loop_of_tools(ask: Ask, upstream: Upstream) -> None:
    upstream.plan(
        "openai", whole({"content": None, "reasoning_content": "because", "tool_calls": [CALL]}, "tool_calls")
    )
    message = ask(C).json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("because", None)
    result = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
    assert ask(C, messages=[*HELLO, message, result]).status_code == 200
    back = upstream.requests[1].body["messages"][1]
    assert (back["reasoning_content"], back["content"], back["tool_calls"]) == ("because", None, message["tool_calls"])


def test_thoughts_are_streamed_apart_from_the_answer(ask: Ask, upstream: Upstream) -> None:
    chunks = [openai_chunk({"reasoning": "be"}, None), openai_chunk({"reasoning": "cause"}, None),
              openai_chunk({"content": "Hi"}, None), openai_chunk({}, "stop")]  # fmt: skip
    upstream.plan("openai", Reply("recorded", payload=chunks))
    found = deltas(ask(C, stream=True))
    assert "".join(delta.get("reasoning_content", "") for delta in found) == "because"
    assert "".join(delta.get("content") or "" for delta in found) == "Hi"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_gemini_s_thoughts_and_pictures_are_told_from_its_text(stream: bool, ask: Ask, upstream: Upstream) -> None:
    answer = gemini_answer("Hello", "stop")
    picture = {"inlineData": {"mimeType": "image/png", "data": "aW1n"}}
    answer["candidates"][0]["content"]["parts"][:0] = [{"text": "hm", "thought": True}, picture]
    upstream.plan("gemini", Reply("recorded", payload=[answer] if stream else answer))
    response = ask(G, stream=stream)
    parts = deltas(response) if stream else [response.json()["choices"][0]["message"]]
    assert "".join(part.get("reasoning_content") or "" for part in parts) == "hm"
    assert "".join(part.get("content") or "" for part in parts) == "Hello"
    images = [image["image_url"]["url"] for part in parts for image in part.get("images", [])]
    assert images == ["data:image/png;base64,aW1n"]
    assert upstream.requests[0].body["generationConfig"]["thinkingConfig"] == {"includeThoughts": True}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_an_answer_all_of_whose_tokens_were_thoughts_is_an_answer_and_is_paid(
    stream: bool, ask: Ask, upstream: Upstream
) -> None:
    upstream.always("openai", Reply("thinking_only"))
    answer = ask(C, stream=stream, max_tokens=7)
    assert answer.status_code == 200
    assert '"finish_reason":"length"' in answer.text
    record = UsageRecord.objects.get()
    assert (record.status, record.output_tokens, record.charged) == ("ok", 7, 15)


def test_log_probabilities_are_passed_on_and_answered(ask: Ask, upstream: Upstream) -> None:
    reply = whole({"content": "Hi"})
    reply.payload["choices"][0]["logprobs"] = {"content": [{"token": "Hi", "logprob": -0.1, "top_logprobs": []}]}
    upstream.plan("openai", reply)
    answer = ask(O, logprobs=True, top_logprobs=1)
    assert answer.json()["choices"][0]["logprobs"] == reply.payload["choices"][0]["logprobs"]
    assert upstream.requests[0].body["top_logprobs"] == 1
    chunk = openai_chunk({"content": "Hi"}, None)
    chunk["choices"][0]["logprobs"] = {"content": [{"token": "Hi", "logprob": -0.1}]}
    upstream.plan("openai", Reply("recorded", payload=[chunk, openai_chunk({}, "stop")]))
    assert '"logprobs":{"content":[{"token":"Hi"' in ask(O, logprobs=True, stream=True).text


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_thoughts_are_shown_and_stored_beside_a_conversation_s_answer(
    stream: bool, ask: Ask, upstream: Upstream, http: httpx.Client, alice: Actor
) -> None:
    thinking = {"content": "Hi", "reasoning_content": "because"}
    chunks = [openai_chunk(thinking, None), openai_chunk({}, "stop")]
    upstream.plan("openai", Reply("recorded", payload=chunks) if stream else whole(thinking))
    body = {"message": "Hello", "model": C, "stream": stream}
    answer = http.post("/api/v1/chat", json=body, headers=alice.headers)
    assert answer.text.count('"reasoning":"because"') == (2 if stream else 1)  # as a delta, and at the end
    message = Message.objects.get(role="assistant")
    assert (message.content, message.reasoning) == ("Hi", "because")
    listed = http.get(f"/api/v1/conversations/{message.conversation_id}/messages", headers=alice.headers).json()
    assert [item["reasoning"] for item in listed["results"]] == ["", "because"]


# --- Refusals ---------------------------------------------------------------------------------------------------------


def test_a_refusal_of_the_content_closes_no_model_and_goes_to_nobody_else(ask: Ask, upstream: Upstream) -> None:
    AIModel.objects.filter(slug=C).update(fallbacks=[G])
    snapshot.forget()
    body = {"code": "x", "error": "Content violates usage guidelines. Failed check: SAFETY"}
    for _ in range(6):
        upstream.plan("openai", Reply("recorded_error", 403, payload=body))
        answer = ask(C)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_blocked")
    assert ask(C).status_code == 200
    assert upstream.asked("gemini") == []


def test_a_setting_that_a_model_of_our_choice_refuses_is_left_out_and_named(ask: Ask, upstream: Upstream) -> None:
    upstream.plan("gemini", refusal(400, message="Penalty is not enabled for this model", code=400))
    answer = ask("auto", presence_penalty=0.5, user="someone")
    assert (answer.status_code, answer.headers["X-Provider"]) == (200, "gemini")
    assert answer.headers["X-Dropped-Parameters"] == "presence_penalty, user"


def test_a_setting_that_the_named_model_refuses_is_the_client_s_to_mend(ask: Ask, upstream: Upstream) -> None:
    upstream.always("gemini", refusal(400, message="Penalty is not enabled for this model", code=400))
    answer = ask(G, presence_penalty=0.5)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_request", "presence_penalty")
    assert len(upstream.requests) == 1


def test_an_outage_of_gemini_does_not_become_an_error_of_the_client_s_at_openai(ask: Ask, upstream: Upstream) -> None:
    unsupported = refusal(400, message="Unsupported value", code="unsupported_value", param="temperature")
    upstream.always("gemini", Reply("refuse", 503))
    upstream.plan("openai", unsupported)
    answer = ask("auto", temperature=0.5)
    assert (answer.status_code, answer.headers["X-Dropped-Parameters"]) == (200, "temperature")
    upstream.always("openai", refusal(400, message="messages: too odd"))
    assert ask("auto").status_code == 503


def test_a_refusal_of_all_candidates_is_the_client_s(ask: Ask, upstream: Upstream) -> None:
    upstream.always("gemini", refusal(400, message="odd", code=400))
    upstream.always("openai", refusal(400, message="odd too"))
    answer = ask("auto")
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        400,
        "The AI provider refused the request: odd too",
    )
    assert len(upstream.requests) == 2


def test_a_prompt_too_long_for_one_model_is_tried_at_a_larger_one_alone(ask: Ask, upstream: Upstream) -> None:
    too_long = refusal(400, message="too long", code="context_length_exceeded")
    upstream.always("openai", too_long)
    answer = ask(C)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    gemini = refusal(
        400, message="The input token count (9) exceeds the maximum number of tokens allowed (8).", code=400
    )
    upstream.always("gemini", gemini)
    AIModel.objects.filter(slug=G).update(context_window=8_000)
    snapshot.forget()
    upstream.always("openai", Reply())
    assert ask("auto").headers["X-Provider"] == "openai"
    AIModel.objects.filter(slug=G).update(context_window=2_000_000)
    snapshot.forget()
    assert ask("auto").json()["error"]["code"] == "context_length_exceeded"


def test_which_failures_fall_back_is_a_setting_of_the_route(ask: Ask, upstream: Upstream, settings: Any) -> None:
    upstream.always("gemini", Reply("refuse", 503))
    settings.FALLBACK_ON = ["rate_limit"]
    assert ask("auto").status_code == 503
    AIModel.objects.filter(slug=G).update(fallbacks=[O], fallback_on=["outage"])
    snapshot.forget()
    assert ask(G).headers["X-Model"] == O


def test_a_key_in_a_provider_s_words_reaches_nobody(ask: Ask, upstream: Upstream) -> None:
    upstream.plan("openai", refusal(400, message="bad request with key openai-key and sk-proj-abcdef12345"))
    text = ask(O).text
    assert "openai-key" not in text and "abcdef12345" not in text and "bad request" in text


def test_a_wait_of_fractions_is_told_in_whole_seconds(ask: Ask, upstream: Upstream) -> None:
    upstream.always("openai", Reply("refuse", 429, headers={"Retry-After": "2.5"}))
    assert ask(C).headers["Retry-After"] == "3"


# --- Odd requests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [C, G, O])
def test_numbers_beyond_64_bits_are_served_or_refused_by_name(model: str, ask: Ask, upstream: Upstream) -> None:
    assert ask(model, seed=2**70).json()["error"]["param"] == "seed"
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 2**128 - 1}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert ask(model, tools=[tool]).json()["choices"][0]["message"]["content"] == ANSWER
    assert str(2**128 - 1) in json.dumps(upstream.requests[0].body)
    assert ask(model, user=2**70).status_code in (200, 400)


@pytest.mark.parametrize(
    "fields",
    [{"reasoning_effort": {"effort": "low"}}, {"top_k": "many"}, {"presence_penalty": "x"}, {"logit_bias": [1]},
     {"logprobs": 3}, {"prediction": "x"}, {"parallel_tool_calls": "yes"}],
    ids=str,
)  # fmt: skip
def test_a_parameter_of_a_wrong_type_is_refused_before_anybody_is_asked(
    fields: dict[str, Any], ask: Ask, upstream: Upstream
) -> None:
    answer = ask(G, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].split(".")[0] == next(iter(fields))
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("part", "gemini"),
    [
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,cGRm", "filename": "a.pdf"}},
         {"inlineData": {"mimeType": "application/pdf", "data": "cGRm"}}),
        ({"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}},
         {"inlineData": {"mimeType": "audio/wav", "data": "d2F2"}}),
        ({"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
         {"fileData": {"fileUri": "https://example.com/cat.png", "mimeType": "image/png"}}),
        ({"type": "image_url", "image_url": {"url": "data:image/jpg;base64,aW1n"}},
         {"inlineData": {"mimeType": "image/jpeg", "data": "aW1n"}}),
    ],
    ids=["file", "audio", "address", "jpg"],
)  # fmt: skip
def test_files_sound_and_pictures_go_to_who_reads_them(
    part: dict[str, Any], gemini: dict[str, Any], ask: Ask, upstream: Upstream
) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "See"}, part]}]
    assert ask(G, messages=messages).status_code == 200
    assert upstream.requests[0].body["contents"][0]["parts"][1] == gemini
    assert ask(O, messages=messages).status_code == 200
    assert upstream.requests[1].body["messages"][0]["content"][1] == part


def test_a_file_of_the_operator_s_account_can_t_be_named(ask: Ask) -> None:
    part = {"type": "file", "file": {"file_id": "file-123"}}
    assert ask(O, messages=[{"role": "user", "content": [part]}]).status_code == 400


def test_a_picture_of_a_tool_s_result_reaches_gemini_behind_it(ask: Ask, upstream: Upstream) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aW1n"}}
    result = {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "see"}, picture]}
    call = {"role": "assistant", "tool_calls": [CALL]}
    assert ask(G, messages=[*HELLO, call, result]).status_code == 200
    response, image = upstream.requests[0].body["contents"][2]["parts"]
    assert response["functionResponse"]["response"] == {"output": "see"}
    assert image == {"inlineData": {"mimeType": "image/png", "data": "aW1n"}}


@pytest.mark.parametrize(
    ("messages", "contents"),
    [
        ([{"role": "system", "content": "Greet"}], [{"role": "user", "parts": [{"text": "Greet"}]}]),
        ([{"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "Hi"}]}],
         [{"role": "user", "parts": [{"text": "Hi"}]}]),
    ],
    ids=["a lone system message", "an empty part"],
)  # fmt: skip
def test_gemini_is_sent_a_turn_of_the_user_s_without_empty_parts(
    messages: list[Any], contents: list[Any], ask: Ask, upstream: Upstream
) -> None:
    assert ask(G, messages=messages).status_code == 200
    body = upstream.requests[0].body
    assert body["contents"] == contents
    assert "systemInstruction" not in body


def test_signs_of_life_keep_a_thinking_stream_alive(ask: Ask, upstream: Upstream) -> None:
    """The limit of a stream's start is 0.6 seconds here; comments come for two."""
    upstream.plan("openai", Reply("thinks_aloud"))
    found = deltas(ask(C, stream=True))
    assert "".join(delta.get("content") or "" for delta in found) == ANSWER
