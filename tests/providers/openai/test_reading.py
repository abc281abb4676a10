"""What servers of OpenAI's format send, in every shape they send it, and what is read of it."""

import json
from typing import Any

import pytest

from aichat.providers.base import Delta
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.event_stream import EventStreamParser
from aichat.providers.openai.answer import CompletionReader
from aichat.providers.usage import OPENAI, UsageReport
from tests.providers.conftest import Ask, Parts, calls_of, end_of, text_of
from tests.trace import calls_in
from tests.upstream import Reply, Upstream
from tests.upstream_answers import openai_chunk

END = openai_chunk({}, "stop")


def whole(message: dict[str, Any], reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}], **more}


async def read(ask: Ask, fake: Upstream, payload: Any, kind: str = "openai_compatible") -> Parts:
    fake.always("openai", Reply("recorded", payload=payload))
    return await ask(kind, stream=isinstance(payload, list))


def reasoning_of(parts: Parts) -> str:
    return "".join(part.reasoning for part in parts if isinstance(part, Delta))


def images_of(parts: Parts) -> list[str]:
    return [image for part in parts if isinstance(part, Delta) for image in part.images]


def assembled(parts: Parts) -> list[tuple[str, str, str]]:
    """The calls as a client joins them: ID, name and arguments."""
    found: dict[int, list[str]] = {}
    for call in calls_of(parts):
        merged = found.setdefault(call["index"], ["", "", ""])
        merged[0] = call.get("id") or merged[0]
        merged[1] += call["function"].get("name", "")
        merged[2] += call["function"].get("arguments", "")
    return [(call[0], call[1], call[2]) for _, call in sorted(found.items())]


def call(name: str, arguments: Any = "{}", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **fields}


# --- Tool calls -------------------------------------------------------------------------------------------------------

TWO = [("a", "f", "{}"), ("b", "g", "{}")]
CALLS: dict[str, tuple[Any, list[tuple[str, str, str]]]] = {
    "index null": (whole({"tool_calls": [call("f", id="a", index=None), call("g", id="b", index=None)]}), TWO),
    "index 0 on both": (whole({"tool_calls": [call("f", id="a", index=0), call("g", id="b", index=0)]}), TWO),
    "index as text": (whole({"tool_calls": [call("f", id="a", index="0"), call("g", id="b", index="1")]}), TWO),
    "streamed, index null": (
        [openai_chunk({"tool_calls": [call("f", "", id="a", index=None)]}, None),
         openai_chunk({"tool_calls": [{"index": None, "function": {"arguments": "{}"}}]}, None),
         openai_chunk({"tool_calls": [call("g", "{}", id="b", index=None)]}, None), END], TWO),
    "streamed, index as text and fraction": (
        [openai_chunk({"tool_calls": [call("f", "{", id="a", index="0")]}, None),
         openai_chunk({"tool_calls": [call("g", "{", id="b", index=1.0)]}, None),
         openai_chunk({"tool_calls": [{"index": 0.0, "function": {"arguments": "}"}}]}, None),
         openai_chunk({"tool_calls": [{"index": "1", "function": {"arguments": "}"}}]}, None), END], TWO),
    "streamed, index 0 on both": (
        [openai_chunk({"tool_calls": [call("f", "{}", id="a", index=0)]}, None),
         openai_chunk({"tool_calls": [call("g", "{", id="b", index=0)]}, None),
         openai_chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}, None), END], TWO),
    "streamed, no index, IDs in every delta": (
        [openai_chunk({"tool_calls": [call("f", "{", id="a")]}, None),
         openai_chunk({"tool_calls": [call("g", "{", id="b")]}, None),
         openai_chunk({"tool_calls": [{"id": "a", "function": {"arguments": "}"}}]}, None),
         openai_chunk({"tool_calls": [{"id": "b", "function": {"arguments": "}"}}]}, None), END], TWO),
    "streamed, both in one delta": (
        [openai_chunk({"tool_calls": [call("f", id="a"), call("g", id="b")]}, None), END], TWO),
    "streamed, the name repeated": (
        [openai_chunk({"tool_calls": [call("f", "{", id="a", index=0)]}, None),
         openai_chunk({"tool_calls": [call("f", "}", id="a", index=0)]}, None), END], TWO[:1]),
    "streamed, another ID in every delta": (
        [openai_chunk({"tool_calls": [call("f", "{", id="a", index=0)]}, None),
         openai_chunk({"tool_calls": [{"index": 0, "id": "x9", "function": {"arguments": "}"}}]}, None), END], TWO[:1]),
    "streamed, the name in halves": (
        [openai_chunk({"tool_calls": [call("get_", "", id="a", index=0)]}, None),
         openai_chunk({"tool_calls": [{"index": 0, "function": {"name": "time"}}]}, None),
         openai_chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, None), END],
        [("a", "get_time", "{}")]),
    "arguments as an object": (whole({"tool_calls": [call("f", {"x": 1}, id="a")]}), [("a", "f", '{"x":1}')]),
    "arguments with a huge number": (
        whole({"tool_calls": [call("f", {"x": 2**63}, id="a")]}), [("a", "f", f'{{"x":{2**63}}}')]),
    "arguments null": (whole({"tool_calls": [call("f", None, id="a")]}), [("a", "f", "")]),
    "a lone call, no list": (whole({"tool_calls": call("f", id="a")}), [("a", "f", "{}")]),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
async def test_parallel_calls_stay_apart_whatever_shape_they_have(name: str, ask: Ask, fake: Upstream) -> None:
    payload, calls = CALLS[name]
    assert assembled(await read(ask, fake, payload)) == calls


@pytest.mark.parametrize("given", [{}, {"id": None}, {"id": ""}], ids=["missing", "null", "empty"])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_a_call_without_an_id_is_given_one(given: dict[str, Any], stream: bool, ask: Ask, fake: Upstream) -> None:
    message = {"tool_calls": [call("f", **given), call("g", **given)]}
    parts = await read(ask, fake, [openai_chunk(message, None), END] if stream else whole(message))
    (first, name, _), (second, other, _) = assembled(parts)
    assert (name, other) == ("f", "g")
    assert first != second
    assert first.startswith("call_") and second.startswith("call_")


async def test_the_call_of_the_format_of_2023_is_read(ask: Ask, fake: Upstream) -> None:
    message = {"content": None, "function_call": {"name": "f", "arguments": "{}"}}
    ((_, name, arguments),) = assembled(await read(ask, fake, whole(message, "function_call")))
    assert (name, arguments) == ("f", "{}")


# --- Content, thoughts and pictures -----------------------------------------------------------------------------------

THINKING = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hello"}]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": THINKING}, "Hello", "hm"),
        ({"content": {"type": "text", "text": "Hello"}}, "Hello", ""),
        ({"content": ["Hel", "lo"]}, "Hello", ""),
        ({"content": "Hello", "reasoning_content": "hm"}, "Hello", "hm"),
        ({"content": "Hello", "reasoning": "hm", "reasoning_content": "hm"}, "Hello", "hm"),
        ({"content": "Hello", "reasoning": {"content": "hm"}}, "Hello", "hm"),
        ({"content": "Hello", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, "Hello", "hm"),
        ({"content": "Hello", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}, "Hello", ""),
        ({"content": None, "refusal": "No."}, "No.", ""),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
async def test_thoughts_are_told_from_the_answer(
    message: dict[str, Any], text: str, reasoning: str, stream: bool, ask: Ask, fake: Upstream
) -> None:
    parts = await read(ask, fake, [openai_chunk(message, None), END] if stream else whole(message))
    assert (text_of(parts), reasoning_of(parts)) == (text, reasoning)


PICTURE = "data:image/png;base64,aW1n"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_a_picture_is_an_answer_of_its_own(stream: bool, ask: Ask, fake: Upstream) -> None:
    message = {"content": "", "images": [{"type": "image_url", "image_url": {"url": PICTURE}}]}
    parts = await read(ask, fake, [openai_chunk(message, None), END] if stream else whole(message))
    assert images_of(parts) == [PICTURE]


async def test_annotations_and_log_probabilities_go_on(ask: Ask, fake: Upstream) -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://example.com"}}
    answer = whole({"content": "Hi", "annotations": [note]})
    answer["choices"][0]["logprobs"] = {"content": [{"token": "Hi", "logprob": -0.1}]}
    (_, delta, _) = await read(ask, fake, answer)
    assert isinstance(delta, Delta)
    assert (delta.annotations, delta.logprobs) == ((note,), answer["choices"][0]["logprobs"])


async def test_other_choices_than_the_first_are_ignored(ask: Ask, fake: Upstream) -> None:
    other = openai_chunk({"content": "NO"}, None)
    other["choices"][0]["index"] = 1
    assert text_of(await read(ask, fake, [other, openai_chunk({"content": "Hi"}, None), other, END])) == "Hi"


# --- Ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "reason", "is_known"),
    [
        ("stop", "stop", True), ("eos", "stop", True), ("end_turn", "stop", True),
        ("max_tokens", "length", True), ("MAX_TOKENS", "length", True), ("model_length", "length", True),
        ("SAFETY", "content_filter", True), ("content_filtered", "content_filter", True),
        ("recitation", "content_filter", True), ("function_call", "tool_calls", True),
        ("insufficient_system_resource", "stop", False), ("abort", "stop", False), ("OTHER", "stop", False),
        (7, "stop", False),
    ],
)  # fmt: skip
async def test_finish_words_have_a_meaning_or_are_unknown(
    word: Any, reason: str, is_known: bool, ask: Ask, fake: Upstream
) -> None:
    for payload in (whole({"content": "Hi"}, word), [openai_chunk({"content": "Hi"}, None), openai_chunk({}, word)]):
        end = end_of(await read(ask, fake, payload))
        assert (end.reason, end.is_known) == (reason, is_known)


async def test_a_whole_answer_needs_no_finish_reason_and_may_be_a_201(ask: Ask, fake: Upstream) -> None:
    assert not end_of(await read(ask, fake, whole({"content": "Hi"}, None))).is_known
    fake.always("openai", Reply("recorded_error", 201, payload=whole({"content": "Hi"})))
    assert text_of(await ask("openai_compatible")) == "Hi"


# --- Streams ----------------------------------------------------------------------------------------------------------


def event(delta: dict[str, Any], reason: str | None = None) -> bytes:
    return f"data: {json.dumps(openai_chunk(delta, reason))}\n\n".encode()


DONE = event({}, "stop") + b"data: [DONE]\n\n"
HELLO_BODY = json.dumps(whole({"content": "Hello"})).encode()
STREAMS: dict[str, list[bytes]] = {
    "a byte order mark": [b"\xef\xbb\xbf" + event({"content": "Hello"}), DONE],
    "half a byte order mark": [b"\xef", b"\xbb\xbf" + event({"content": "Hello"}), DONE],
    "CR as the line end": [(event({"content": "Hello"}) + DONE).replace(b"\n", b"\r")],
    "CRLF cut in its middle": [event({"content": "Hello"}).replace(b"\n", b"\r\n")[:-1], b"\n", DONE],
    "one event on several lines": [
        b"data: " + json.dumps(openai_chunk({"content": "Hello"}, None), indent=1).replace("\n", "\ndata: ").encode()
        + b"\n\n", DONE],
    "comments and other fields": [b": hello\n\nid: 1\nevent: message\n" + event({"content": "Hello"}), b":\n\n", DONE],
    "no blank line between events": [(event({"content": "Hello"}) + DONE).replace(b"\n\n", b"\n")],
    "no line end at the end": [event({"content": "Hello"}), DONE.rstrip()],
    "one JSON body instead": [HELLO_BODY],
    "one JSON body behind blank lines": [b"\n", b"\n ", HELLO_BODY[:9], HELLO_BODY[9:]],
    "cut after its end": [event({"content": "Hello"}), event({}, "stop")],
    "every byte by itself": [bytes([byte]) for byte in event({"content": "Hello"}) + DONE],
}  # fmt: skip


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
@pytest.mark.parametrize("name", STREAMS)
async def test_an_answer_is_read_however_it_is_sent(name: str, stream: bool, ask: Ask, fake: Upstream) -> None:
    """Also where the other of the two was asked for."""
    fake.always("openai", Reply("raw", 200, "cut" if name.startswith("cut") else "", payload=STREAMS[name]))
    assert text_of(await ask("openai_compatible", stream=stream)) == "Hello"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([rb'"\ud83d"', rb'"\ude00"'], "😀"),
        ([rb'"a\ud83d"', rb'""', rb'"\ude00b"'], "a😀b"),
        ([rb'"\ud83d"', rb'"x"'], "\ufffdx"),
        ([rb'"\ude00"'], "\ufffd"),
        ([b'"\xe2\x82"'], "\ufffd"),
    ],
)
async def test_half_characters_are_joined_or_replaced(pieces: list[bytes], text: str, ask: Ask, fake: Upstream) -> None:
    events = [b'data: {"choices":[{"index":0,"delta":{"content":' + piece + b"}}]}\n\n" for piece in pieces]
    fake.always("openai", Reply("raw", 200, payload=[*events, DONE]))
    found = text_of(await ask("openai_compatible", stream=True))
    assert found == text
    found.encode()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ({"code": 400, "message": "bad"}, AttemptOutcome.INVALID_REQUEST),
        ({"code": "429", "message": "slow"}, AttemptOutcome.RATE_LIMITED),
        ({"message": "bad", "type": "invalid_request_error", "code": None}, AttemptOutcome.INVALID_REQUEST),
        ({"message": "?"}, AttemptOutcome.OVERLOADED),
    ],
)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
async def test_an_error_in_a_200_has_its_own_status(
    error: dict[str, Any], outcome: AttemptOutcome, stream: bool, ask: Ask, fake: Upstream
) -> None:
    fake.always("openai", Reply("raw", 200, payload=[json.dumps({"error": error}).encode()]))
    with pytest.raises(ProviderError) as caught:
        await ask("openai_compatible", stream=stream)
    assert caught.value.outcome == outcome


def test_a_token_of_a_stream_takes_few_calls() -> None:
    """A long answer has thousands of tokens: 95 calls for each of them nearly doubled what a stream cost."""
    token = json.dumps({**openai_chunk({"content": "word "}, None), "usage": None}).encode()
    parser, reader = EventStreamParser(10**6), CompletionReader(UsageReport())
    reader.read_event(token)
    assert calls_in(lambda: [reader.read_event(event) for event in parser.feed(b"data: %b\n\n" % token * 100)]) < 3800


def test_usage_is_read_in_few_calls() -> None:
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 20,
        "total_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    assert calls_in(lambda: UsageReport().read(OPENAI, usage)) < 70
