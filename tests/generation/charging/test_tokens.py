"""Tokens without a tokenizer: the estimate is near real counts, and the bound above any."""

import base64
import random
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aichat.generation.charging.tokens import bound_input, bound_text, estimate_input, estimate_text
from aichat.providers.anthropic import outgoing as anthropic
from aichat.providers.gemini import outgoing as gemini
from aichat.providers.openai import outgoing as openai
from aichat.providers.openai.outgoing import picture_tokens
from aichat.providers.outgoing import Outgoing
from tests.generation.charging.corpus import SAMPLES, Sample


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_estimate_is_within_15_percent_of_a_real_tokenizer(sample: Sample) -> None:
    assert estimate_text(sample.text) == pytest.approx(sample.count, rel=0.15)


def test_a_key_or_a_picture_in_base64_is_estimated_by_its_characters() -> None:
    cipher = base64.b64encode(random.Random(7).randbytes(3000)).decode()
    assert estimate_text(cipher) == pytest.approx(0.68 * len(cipher), rel=0.15)  # o200k_base makes 0.68 of each


def test_a_long_text_is_estimated_by_parts_of_it() -> None:
    whole = "".join(sample.text for sample in SAMPLES) * 20
    assert estimate_text(whole) == pytest.approx(20 * sum(sample.count for sample in SAMPLES), rel=0.15)


@given(st.text())
def test_the_bound_is_never_below_the_estimate_of_a_long_text(text: str) -> None:
    assert bound_text(text) >= len(text)
    assert estimate_text(text) >= 0


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_bound_is_above_a_real_count(sample: Sample) -> None:
    assert bound_text(sample.text) >= sample.count


# --- What is sent is counted ------------------------------------------------------------------------------------------

LONG = "word " * 2000
MESSAGE: dict[str, Any] = {"role": "user", "content": "Hi"}
SENT_TO_OPENAI: dict[str, dict[str, Any]] = {
    "a refusal": {"messages": [{"role": "assistant", "refusal": LONG}, MESSAGE]},
    "a part that refuses": {"messages": [{"role": "assistant", "content": [{"type": "refusal", "refusal": LONG}]}]},
    "a name": {"messages": [{**MESSAGE, "name": LONG}]},
    "the ID of a tool call": {"messages": [{"role": "tool", "content": "1", "tool_call_id": LONG}]},
    "arguments": {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": LONG}}]}]},
    "thoughts sent back": {"messages": [{"role": "assistant", "content": "Hi", "reasoning_content": LONG}]},
    "a tool": {"messages": [MESSAGE], "tools": [{"type": "function", "function": {"name": "f", "description": LONG}}]},
    "a schema": {"messages": [MESSAGE], "response_format": {"type": "json_schema", "json_schema": {"schema": LONG}}},
    "a prediction": {"messages": [MESSAGE], "prediction": {"type": "content", "content": LONG}},
    "a field nobody has thought of": {"messages": [MESSAGE], "field_of_2031": {"deep": [LONG]}},
    "a new member of a message": {"messages": [{**MESSAGE, "member_of_2031": LONG}]},
    "a new kind of part": {"messages": [{"role": "user", "content": [{"type": "poem", "poem": LONG}]}]},
}
TURN: dict[str, Any] = {"role": "user", "parts": [{"text": "Hi"}]}
SENT_TO_GEMINI: dict[str, dict[str, Any]] = {
    "a text": {"contents": [{"role": "user", "parts": [{"text": LONG}]}]},
    "an instruction": {"contents": [TURN], "systemInstruction": {"parts": [{"text": LONG}]}},
    "a call": {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": LONG}}}]}]},
    "a signature": {"contents": [{"role": "model", "parts": [{"text": "Hi", "thoughtSignature": LONG}]}]},
    "a tool": {"contents": [TURN], "tools": [{"functionDeclarations": [{"name": "f", "description": LONG}]}]},
    "a schema": {"contents": [TURN], "generationConfig": {"responseJsonSchema": {"title": LONG}}},
    "a field nobody has thought of": {"contents": [TURN], "fieldOf2031": LONG},
    "a new setting": {"contents": [TURN], "generationConfig": {"settingOf2031": LONG}},
    "a new member of a turn": {"contents": [{**TURN, "memberOf2031": LONG}]},
    "a new kind of part": {"contents": [{"role": "user", "parts": [{"poem": LONG}]}]},
}

SENT_TO_ANTHROPIC: dict[str, dict[str, Any]] = {
    "a text": {"messages": [{"role": "user", "content": LONG}]},
    "a system prompt": {"messages": [MESSAGE], "system": [{"type": "text", "text": LONG}]},
    "a result": {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": LONG}]}]},
    "a call": {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {"a": LONG}}]}]},
    "a signature": {"messages": [{"role": "assistant", "content": [{"type": "thinking", "signature": LONG}]}]},
    "a document": {
        "messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": LONG}}]}]
    },
    "a tool": {"messages": [MESSAGE], "tools": [{"name": "f", "description": LONG}]},
    "a schema": {"messages": [MESSAGE], "output_config": {"format": {"type": "json_schema", "schema": {"title": LONG}}}},
    "a field nobody has thought of": {"messages": [MESSAGE], "field_of_2031": {"deep": [LONG]}},
    "a new member of a turn": {"messages": [{**MESSAGE, "member_of_2031": LONG}]},
    "a new kind of block": {"messages": [{"role": "user", "content": [{"type": "poem", "poem": LONG}]}]},
    "a new member of a block": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "of_2031": LONG}]}]},
}  # fmt: skip


def is_counted(outgoing: Outgoing) -> bool:
    return estimate_input(outgoing) >= 2000 and bound_input(outgoing, 0) >= len(LONG)


@pytest.mark.parametrize("name", SENT_TO_OPENAI)
def test_whatever_is_sent_to_openai_is_counted(name: str) -> None:
    assert is_counted(openai.measure({"model": "m", "temperature": 0.5, **SENT_TO_OPENAI[name]}))


@pytest.mark.parametrize("name", SENT_TO_GEMINI)
def test_whatever_is_sent_to_gemini_is_counted(name: str) -> None:
    assert is_counted(gemini.measure(SENT_TO_GEMINI[name], "gemini-3.8-flash"))


@pytest.mark.parametrize("name", SENT_TO_ANTHROPIC)
def test_whatever_is_sent_to_anthropic_is_counted(name: str) -> None:
    assert is_counted(anthropic.measure({"model": "m", "max_tokens": 9, **SENT_TO_ANTHROPIC[name]}))


def test_what_steers_the_request_is_not_text() -> None:
    plain: dict[str, Any] = {"model": "m", "messages": [MESSAGE]}
    steered = {**plain, "temperature": 0.5, "max_tokens": 4096, "stream": True, "reasoning_effort": "high"}
    assert openai.measure(steered) == openai.measure(plain)


# --- Pictures, by the vendors' published examples ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-4o", (1024, 1024), "high", 765),  # the guide's own examples
        ("gpt-4o", (2048, 4096), "high", 1105),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("gpt-4o", (1, 1), "low", 85),
        ("gpt-4o-mini", (1024, 1024), "auto", 25501),
        ("gpt-4o-mini", (1, 1), "low", 2833),
        ("gpt-4.1-mini", (1024, 1024), "high", 1659),  # 1,024 patches
        ("gpt-4.1-mini", (1800, 2400), "high", 2353),  # 1,452 patches after shrinking
        ("openai/gpt-5", (512, 512), "high", 210),
    ],
)
def test_openai_bills_a_picture_by_size_and_detail(model: str, size: tuple[int, int], detail: str, tokens: int) -> None:
    assert picture_tokens(model, size, detail) == tokens


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("gemini-2.5-flash", (384, 384), 258),
        ("gemini-2.5-flash", (960, 540), 258 * 6),  # the guide's own example
        ("gemini-3.8-flash", (960, 540), 1120),
    ],
)
def test_gemini_bills_a_picture_by_size(model: str, size: tuple[int, int], tokens: int) -> None:
    assert gemini.picture_tokens(model, size) == tokens


def png(width: int, height: int) -> str:
    """A picture of one colour as a data URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (1 + (width + 7) // 8) * height)
    raw = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(raw).decode()}"


def picture(url: str, detail: str = "auto") -> Outgoing:
    part = {"type": "image_url", "image_url": {"url": url, "detail": detail}}
    return openai.measure({"model": "gpt-4o", "messages": [{"role": "user", "content": [part]}]})


def test_a_picture_is_measured_by_its_own_size() -> None:
    assert estimate_input(picture(png(1, 1), "low")) == 85 + 4
    assert estimate_input(picture(png(2048, 4096), "high")) == 1105 + 4
    assert estimate_input(picture("https://example.com/a.png")) == 765 + 4
    assert estimate_input(picture("data:image/png;base64,broken")) == 765 + 4


def test_the_worst_case_of_a_picture_only_bounds() -> None:
    assert bound_input(picture(png(1, 1), "low"), 48_169) >= 48_169
