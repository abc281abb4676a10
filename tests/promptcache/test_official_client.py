"""Cached answers as the official `openai` client reads them."""

from typing import Any

import openai

from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.generation.test_faults import MODELS
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANSWER

QUESTION: Any = {"model": MODELS["openai"], "messages": [{"role": "user", "content": "Hello"}]}


def test_a_hit_is_parsed_whole_and_streamed(server: str, upstream: Upstream, alice: Actor) -> None:
    upstream.always("openai", Reply())
    upstream.plan("openai", Reply("answer"))
    client = openai.OpenAI(base_url=f"{server}/v1", api_key=alice.key, max_retries=0).chat.completions.with_raw_response
    first, second = client.create(**QUESTION), client.create(**QUESTION)
    assert [answer.headers["x-cache"] for answer in (first, second)] == ["miss", "hit"]
    assert second.parse().choices == first.parse().choices
    assert second.parse().usage == first.parse().usage
    stream = client.create(**QUESTION, stream=True, stream_options={"include_usage": True})
    assert stream.headers["x-cache"] == "hit"
    chunks = list(stream.parse())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage == first.parse().usage
    assert UsageRecord.objects.filter(cached=True, charged=0).count() == 2
