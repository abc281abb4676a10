"""Answers of shapes that nobody could expect: each is a `ProviderError`, so that another candidate is asked."""

from typing import Any

import orjson
import pytest

from aichat.providers.answers import understood
from aichat.providers.errors import AttemptOutcome, ProviderError, from_body
from aichat.providers.gemini.audio import samples_of
from aichat.providers.openai.answer import CompletionReader
from aichat.providers.openai.audio import usage_of
from aichat.providers.usage import UsageReport
from tests.providers.conftest import Ask, end_of
from tests.upstream import Reply, Upstream

DEPTH = 990  # objects inside of each other: parsers take so many, a function that calls itself does not


@pytest.mark.parametrize("reason", [["end_turn"], {"type": "end_turn"}, 5])
async def test_a_stop_reason_that_is_no_word_is_an_unknown_one(fake: Upstream, ask: Ask, reason: Any) -> None:
    message = {
        "type": "message",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": reason,
        "stop_sequence": [1],
    }
    fake.plan("anthropic", Reply("recorded", payload=message))
    end = end_of(await ask("anthropic"))
    assert (end.reason, end.is_known, end.stop_sequence) == ("stop", False, None)


def test_content_nested_without_end_is_a_strange_answer() -> None:
    content = b'{"content":' * DEPTH + b'"x"' + b"}" * DEPTH
    event = b'{"choices":[{"delta":{"reasoning":' + content + b"}}]}"
    with pytest.raises(ProviderError) as caught:
        understood(CompletionReader(UsageReport()), event)
    assert caught.value.outcome is AttemptOutcome.MALFORMED


def test_arguments_that_are_cut_in_the_middle_of_an_emoji_are_joined() -> None:
    reader, found = CompletionReader(UsageReport()), ""
    for piece in ('"{\\"a\\": \\"\\ud83d"', '"\\ude00\\"}"'):
        call = b'{"index":0,"id":"c","function":{"name":"f","arguments":' + piece.encode() + b"}}"
        for delta in understood(reader, b'{"choices":[{"delta":{"tool_calls":[' + call + b"]}}]}") or ():
            found += delta.tool_calls[0]["function"]["arguments"]
    assert found == '{"a": "\N{GRINNING FACE}"}'


@pytest.mark.parametrize("field", ["reasoning_details", "annotations", "logprobs"])
def test_half_an_emoji_in_a_part_that_is_passed_on_can_be_written(field: str) -> None:
    part = '{"type":"reasoning.text","text":"\\ud83d","size":123456789012345678901234567890}'
    if field == "logprobs":
        choice = f'{{"delta":{{"content":"x"}},"logprobs":{part}}}'
    else:
        choice = f'{{"delta":{{"content":"x","{field}":[{part}]}}}}'
    (delta,) = understood(CompletionReader(UsageReport()), f'{{"choices":[{choice}]}}'.encode()) or ()
    assert getattr(delta, field) and orjson.dumps(getattr(delta, field))


def test_an_error_nested_without_end_is_still_told_by_its_status() -> None:
    body = b'{"error":' * DEPTH + b'"x"' + b"}" * DEPTH
    assert from_body(503, body).outcome is AttemptOutcome.OVERLOADED


@pytest.mark.parametrize("kind", ["audio/L16;rate=0", "audio/L16;rate=99999999999"])
def test_sound_of_an_impossible_rate_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="samples a second"):
        samples_of(b"\0\0", kind)


@pytest.mark.parametrize("seconds", [1e308, 1e300, 1e12, float("inf"), float("nan"), -1, "x", None, []])
def test_seconds_that_count_nothing_are_no_usage(seconds: Any) -> None:
    assert usage_of({"text": "x", "duration": seconds}) is None
