"""What providers report and what it costs, over HTTP: an answer is always delivered, settled and charged in bounds."""

from typing import Any

import httpx
import pytest
from django.core.cache import cache
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aichat.catalog import snapshot
from aichat.core.telemetry import product_events
from aichat.generation.charging import plausibility, tokens
from aichat.generation.charging.plausibility import Bounds, tolerated
from aichat.providers.anthropic.usage import ANTHROPIC
from aichat.providers.base import Usage
from aichat.providers.gemini.usage import GEMINI
from aichat.providers.usage import OPENAI, UsageReport
from aichat.usage.models import UsageRecord
from credits.models import Hold
from tests.conftest import Actor
from tests.generation.test_faults import MODELS, charge_of
from tests.upstream import Reply, Upstream
from tests.upstream_answers import openai_chunk

TEXT = (
    "The answer has about forty tokens, which is what two hundred bytes of ordinary English come to, more or less. " * 2
)
OPENAI_MODEL, GEMINI_MODEL = MODELS["openai"], MODELS["gemini"]


def openai_answer(usage: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def gemini_answer(usage: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": TEXT}]}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}


def chat(http: httpx.Client, actor: Actor, model: str, **extra: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **extra}
    return http.post("/v1/chat/completions", json=body, headers=actor.headers)


def metered(http: httpx.Client, actor: Actor, upstream: Upstream, provider: str, usage: Any) -> UsageRecord:
    """The record of a chat that was answered, with its usage reported so."""
    whole = openai_answer(usage) if provider == "openai" else gemini_answer(usage)
    upstream.always(provider, Reply("recorded", payload=whole))
    answer = chat(http, actor, MODELS[provider])
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == TEXT
    assert not Hold.objects.filter(state=Hold.State.OPEN).exists()
    record = UsageRecord.objects.latest("created_at")
    assert record.charged == charge_of(record.model, used(record))
    return record


def used(record: UsageRecord) -> Usage:
    return Usage(record.input_tokens, record.output_tokens, record.cached_input_tokens)


def test_an_answer_reported_as_nothing_is_not_free(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    zero = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    record = metered(http, alice, upstream, "openai", zero)
    assert (record.source, record.output_tokens) == ("ESTIMATED", tokens.estimate_text(TEXT))
    assert record.input_tokens > 0


def test_output_that_only_the_total_has_is_paid(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    record = metered(http, alice, upstream, "gemini", {"promptTokenCount": 12, "totalTokenCount": 52})
    assert (record.input_tokens, record.output_tokens) == (12, 40)


@pytest.mark.parametrize("figure", [2**31, 5_000_000_000, -7, 1e300, 2**70])
def test_a_figure_beyond_the_column_is_estimated_and_told(
    http: httpx.Client, upstream: Upstream, alice: Actor, figure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[product_events.ProductEvent] = []
    monkeypatch.setattr(product_events, "_sinks", [told.append])
    record = metered(http, alice, upstream, "openai", {"prompt_tokens": 12, "completion_tokens": figure})
    assert (record.source, record.output_tokens) == ("IMPLAUSIBLE", tokens.estimate_text(TEXT))
    assert record.reported and "output" in record.reported
    assert [event.model for event in told if isinstance(event, product_events.UsageImplausible)] == [OPENAI_MODEL]


def test_an_absurd_figure_costs_no_more_than_was_allowed(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    usage = {"prompt_tokens": 900_000, "completion_tokens": 900_000, "prompt_tokens_details": {"cached_tokens": 10**6}}
    record = metered(http, alice, upstream, "openai", usage)
    assert (record.source, record.output_tokens) == ("IMPLAUSIBLE", 4096)
    assert record.input_tokens <= 100
    assert record.reported == {"input": 900_000, "output": 900_000, "cached": 10**6}


def test_a_little_more_than_was_allowed_is_believed(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    record = metered(http, alice, upstream, "openai", {"prompt_tokens": 12, "completion_tokens": 4200})
    assert (record.source, record.output_tokens) == ("EXACT", 4200)


@pytest.mark.parametrize(
    ("provider", "usage", "expected"),
    [
        (
            "openai",
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(32, 103),
        ),
        (
            "gemini",
            {"promptTokenCount": 50, "candidatesTokenCount": 70, "thoughtsTokenCount": 30, "totalTokenCount": 120},
            Usage(50, 70),
        ),
        (
            "openai",
            {"prompt_tokens": 50, "completion_tokens": 9, "prompt_cache_hit_tokens": 48, "prompt_cache_miss_tokens": 2},
            Usage(50, 9, 48),
        ),
    ],
)
def test_reasoning_and_cache_hits_are_billed_once(
    http: httpx.Client, upstream: Upstream, alice: Actor, provider: str, usage: Any, expected: Usage
) -> None:
    record = metered(http, alice, upstream, provider, usage)
    assert (record.source, used(record)) == ("EXACT", expected)


def test_usage_reported_before_a_stream_breaks_counts(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    usage = {"prompt_tokens": 5000, "completion_tokens": 40, "total_tokens": 5040}
    chunks = [{**openai_chunk({"content": TEXT}, None), "usage": usage}]
    upstream.always("openai", Reply("recorded", payload=chunks))
    text = " ".join(["word"] * 5000)
    chat(http, alice, OPENAI_MODEL, messages=[{"role": "user", "content": text}], stream=True)
    record = UsageRecord.objects.get()
    assert (record.status, record.input_tokens, record.output_tokens) == ("partial", 5000, 40)


LONG = "word " * 200_000


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "refusal": LONG},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": LONG}]},
    ],
)
def test_text_in_any_field_is_held_and_measured(
    http: httpx.Client, upstream: Upstream, alice: Actor, message: dict[str, Any]
) -> None:
    messages = [message, {"role": "user", "content": "Hi"}]
    alice.set_credits(2)
    assert chat(http, alice, OPENAI_MODEL, messages=messages).status_code == 402
    alice.set_credits(100_000)
    answer = chat(http, alice, "gpt-4o-mini", messages=messages)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
    assert upstream.requests == []


def test_three_tiny_pictures_fit_into_a_window(http: httpx.Client, upstream: Upstream, alice: Actor) -> None:
    from tests.generation.charging.test_tokens import png

    alice.set_credits(1000)
    upstream.always("openai", Reply("recorded", payload=openai_answer(None)))
    part = {"type": "image_url", "image_url": {"url": png(1, 1), "detail": "low"}}
    answer = chat(http, alice, "gpt-4o-mini", messages=[{"role": "user", "content": [part] * 3}])
    assert answer.status_code == 200, answer.text
    assert UsageRecord.objects.get().input_tokens == pytest.approx(3 * 2833, rel=0.01)


# --- Whatever is reported ---------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(0, 5000),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
)
NAMES = {
    name: sorted({path.partition(".")[0] for paths in form.paths.values() for path in paths})
    for name, form in {"openai": OPENAI, "gemini": GEMINI, "anthropic": ANTHROPIC}.items()
}
DETAILS = st.dictionaries(
    st.sampled_from(["cached_tokens", "reasoning_tokens", "cache_write_tokens", "thinking_tokens"]), NUMBERS, max_size=3
)
FORMATS = {"openai": OPENAI, "gemini": GEMINI, "anthropic": ANTHROPIC}


@st.composite
def reports(draw: st.DrawFn) -> UsageReport:
    """One to three usage objects of one vendor, as nobody would expect them."""
    vendor = draw(st.sampled_from(sorted(FORMATS)))
    usages = st.dictionaries(st.sampled_from(NAMES[vendor]), NUMBERS | DETAILS, max_size=8) | NUMBERS
    report = UsageReport()
    for usage in draw(st.lists(usages, min_size=1, max_size=3)):
        report.read(FORMATS[vendor], usage)
    return report


@settings(max_examples=3000, deadline=None)
@given(
    report=reports(),
    bounds=st.builds(Bounds, st.integers(1, 10**6), st.integers(1, 10**5)),
    counted=st.tuples(st.integers(0, 10**6), st.integers(0, 10**5)),
    is_whole=st.booleans(),
)
def test_whatever_the_usage_the_charge_is_between_nothing_and_what_was_allowed(
    report: UsageReport, bounds: Bounds, counted: tuple[int, int], is_whole: bool
) -> None:
    count_input, count_output = min(counted[0], bounds.input), counted[1]
    found = plausibility.meter(
        report, bounds, is_whole=is_whole, count_input=lambda: count_input, count_output=lambda: count_output
    )
    usage = found.usage
    assert 0 <= usage.input_tokens <= tolerated(bounds.input)
    assert 0 <= usage.output_tokens <= tolerated(bounds.output)
    assert 0 <= usage.cached_input_tokens + usage.cache_write_tokens <= usage.input_tokens
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens
    assert (found.reported is not None) == (found.source == "IMPLAUSIBLE")
    if is_whole and found.source == "EXACT":
        assert usage.input_tokens and usage.output_tokens


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    usage=st.dictionaries(st.sampled_from(NAMES["openai"]), NUMBERS.filter(lambda item: item == item), max_size=8)
    | st.none()
)
def test_whatever_the_usage_the_answer_is_delivered_and_settled(
    http: httpx.Client, upstream: Upstream, alice: Actor, usage: Any
) -> None:
    cache.clear()  # no answer from the prompt cache
    alice.set_credits(100)
    finite = {name: value for name, value in (usage or {}).items() if value not in (float("inf"), float("-inf"))}
    record = metered(http, alice, upstream, "openai", finite)
    rates = snapshot.current()[OPENAI_MODEL].rates
    assert rates is not None
    most = Usage(input_tokens=tolerated(100), output_tokens=tolerated(4096))
    assert 0 <= record.charged <= rates.most(most)
