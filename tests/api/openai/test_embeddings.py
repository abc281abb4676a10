"""Embeddings are made, priced by their input, and kept by single input; money is as exact as for a chat."""

import base64
from array import array
from typing import Any

import httpx
import openai
import pytest

from aichat.catalog.models import AIModel, Price, Provider
from aichat.catalog.sync import add_known
from aichat.core.money import CREDIT
from aichat.core.telemetry import product_events
from aichat.usage import verify
from aichat.usage.models import UsageRecord
from credits.models import Hold
from tests.conftest import Actor
from tests.upstream import Reply, Upstream

URL = "/v1/embeddings"
OPENAI = "text-embedding-3-small"


@pytest.fixture(autouse=True)
def _cached(settings: Any) -> None:
    settings.PROMPT_CACHE_TTL = 600


def client(server: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server}/v1", api_key=key, max_retries=0)


def embed(http: httpx.Client, who: Actor, given: Any, **changes: Any) -> Any:
    headers = {**who.headers, **changes.pop("headers", {})}
    return http.post(URL, json={"model": "demo-embedding", "input": given, **changes}, headers=headers)


def vectors(answer: Any) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    return [item["embedding"] for item in answer.json()["data"]]


def answer_of(*embeddings: list[float], tokens: int | None) -> Reply:
    data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(embeddings)]
    usage = {} if tokens is None else {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    return Reply("recorded", payload={"object": "list", "data": data, "model": OPENAI, **usage})


@pytest.mark.parametrize("given", ["one two", ["one two", "three"], [1, 2, 3], [[1, 2], [3]]])
def test_every_form_of_input_gives_one_vector_each(http: httpx.Client, alice: Actor, catalog: None, given: Any) -> None:
    found = embed(http, alice, given)
    count = len(given) if isinstance(given, list) and not isinstance(given[0], int) else 1
    assert [len(vector) for vector in vectors(found)] == [1536] * count
    assert found.json()["usage"]["prompt_tokens"] == 3 if given != "one two" else 2
    assert found.headers["X-Cache"] == "miss" and found.headers["X-Model"] == "demo-embedding"


def test_base64_and_numbers_are_the_same_vector_and_dimensions_shorten_it(
    http: httpx.Client, alice: Actor, catalog: None
) -> None:
    numbers = vectors(embed(http, alice, "hello", dimensions=64))[0]
    encoded = embed(http, alice, "hello", dimensions=64, encoding_format="base64").json()["data"][0]["embedding"]
    assert len(numbers) == 64 and array("f", base64.b64decode(encoded)).tolist() == numbers


def test_texts_that_share_words_are_nearer_than_others(http: httpx.Client, alice: Actor, catalog: None) -> None:
    cat, feline, tax = vectors(embed(http, alice, ["the cat sat here", "a cat sat", "income tax law"]))
    near, far = (sum(a * b for a, b in zip(cat, other, strict=True)) for other in (feline, tax))
    assert near > far + 0.3


def test_the_official_client_reads_them_and_the_ledger_agrees(server: str, alice: Actor, catalog: None) -> None:
    answer = client(server, alice.key).embeddings.create(model="demo-embedding", input=["a b", "c"])
    record = UsageRecord.objects.get()
    assert [len(item.embedding) for item in answer.data] == [1536, 1536]
    assert (record.kind, record.status, record.input_tokens, answer.usage.prompt_tokens) == ("embedding", "ok", 3, 3)
    assert record.charged == 3 and alice.wallet.available == 100 * CREDIT - 3
    assert not Hold.objects.filter(state="OPEN").exists() and not list(verify.problems())


def test_what_was_embedded_before_is_not_asked_for_again(
    http: httpx.Client, alice: Actor, bob: Actor, upstream: Upstream
) -> None:
    add_known([OPENAI])
    upstream.plan("openai", answer_of([1.0, 0.0], [0.0, 1.0], tokens=20), answer_of([0.5, 0.5], tokens=7))
    first = embed(http, alice, ["north", "east"], model=OPENAI)
    again = embed(http, alice, ["east", "new", "north"], model=OPENAI)
    assert vectors(again) == [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    assert upstream.asked("openai")[1].body["input"] == ["new"]
    assert first.json()["usage"]["prompt_tokens"] == 20 and again.json()["usage"]["prompt_tokens"] == 27
    whole = embed(http, alice, ["new", "north"], model=OPENAI)
    assert whole.headers["X-Cache"] == "hit" and whole.headers["X-Credits-Charged"] == "0"
    assert len(upstream.asked("openai")) == 2
    upstream.plan("openai", answer_of([1.0, 0.0], tokens=10))
    embed(http, bob, "north", model=OPENAI)  # another organization's
    assert len(upstream.asked("openai")) == 3
    tokens = UsageRecord.objects.filter(user=alice.user).order_by("created_at").values_list("input_tokens", "cached")
    assert list(tokens) == [(20, False), (7, False), (20, True)]


@pytest.mark.parametrize(
    ("wish", "cache", "times"), [("no-cache", "miss", 2), ("no-store", "bypass", 2), ("", "hit", 1)]
)
def test_cache_control_asks_for_new_vectors(
    http: httpx.Client, alice: Actor, upstream: Upstream, wish: str, cache: str, times: int
) -> None:
    add_known([OPENAI])
    upstream.plan("openai", *[answer_of([1.0], tokens=3)] * 2)
    embed(http, alice, "north", model=OPENAI)
    again = embed(http, alice, "north", model=OPENAI, headers={"Cache-Control": wish} if wish else {})
    assert (again.headers["X-Cache"], len(upstream.asked("openai"))) == (cache, times)


@pytest.mark.parametrize(
    ("tokens", "source", "shown"),
    [(None, "ESTIMATED", None), (0, "ESTIMATED", None), (10**9, "IMPLAUSIBLE", {"input": 10**9})],
)
def test_tokens_that_nobody_reported_or_believes_are_counted_by_us(
    http: httpx.Client,
    alice: Actor,
    upstream: Upstream,
    tokens: int | None,
    source: str,
    shown: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[product_events.ProductEvent] = []
    monkeypatch.setattr(product_events, "_sinks", [told.append])
    add_known([OPENAI])
    upstream.plan("openai", answer_of([1.0], tokens=tokens))
    embed(http, alice, "x" * 400, model=OPENAI)
    record = UsageRecord.objects.get()
    assert (record.source, record.input_tokens, record.reported) == (source, 100, shown)
    events = [event.model for event in told if isinstance(event, product_events.UsageImplausible)]
    assert events == ([OPENAI] if shown else [])
    assert record.charged == 2 * CREDIT // 1000  # 0.02 USD for a million: 100 tokens are 0.002 credits


def test_a_failure_costs_nothing_and_an_operators_fallback_serves(
    http: httpx.Client, alice: Actor, upstream: Upstream
) -> None:
    add_known([OPENAI])
    upstream.plan("openai", Reply("refuse"), Reply("refuse"))
    failed = embed(http, alice, "north", model=OPENAI)
    assert failed.status_code == 503 and alice.wallet.held == 0 and alice.wallet.available == 100 * CREDIT
    AIModel.objects.filter(slug=OPENAI).update(fallbacks=["demo-embedding"])
    from aichat.catalog import snapshot

    snapshot.forget()
    served = embed(http, alice, "north", model=OPENAI)
    assert served.headers["X-Model"] == "demo-embedding" and served.json()["model"] == "demo-embedding"
    assert UsageRecord.objects.filter(final=True, fallback=True, status="ok").count() == 1


def test_a_repeated_idempotency_key_is_charged_once(http: httpx.Client, alice: Actor, catalog: None) -> None:
    key = {"Idempotency-Key": "e1", "Cache-Control": "no-store"}
    first, again = (embed(http, alice, "a b c", headers=key) for _ in range(2))
    assert again.headers["Idempotent-Replayed"] == "true" and vectors(again) == vectors(first)
    assert UsageRecord.objects.count() == 1 and alice.wallet.available == 100 * CREDIT - 3


def test_who_cannot_pay_is_refused_before_anybody_is_asked(
    http: httpx.Client, alice: Actor, upstream: Upstream
) -> None:
    add_known([OPENAI])
    alice.set_credits(0)
    refused = embed(http, alice, "north", model=OPENAI)
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "insufficient_credits")
    assert not upstream.asked("openai")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [["a"]]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": "word " * 9000}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_field_is_refused_by_name(
    http: httpx.Client, alice: Actor, catalog: None, changes: dict[str, Any], param: str
) -> None:
    refused = http.post(URL, json={"model": "demo-embedding", "input": "x", **changes}, headers=alice.headers)
    assert refused.status_code == 400 and refused.json()["error"]["param"].split(".")[0] == param, refused.text


def test_a_chat_model_is_no_embedding_model_and_the_other_way_round(
    http: httpx.Client, alice: Actor, catalog: None
) -> None:
    assert embed(http, alice, "x", model="demo").status_code == 404
    chat = {"model": "demo-embedding", "messages": [{"role": "user", "content": "x"}]}
    assert http.post("/v1/chat/completions", json=chat, headers=alice.headers).status_code == 404


def test_geminis_format_is_spoken_in_batches_and_shortened_vectors_have_length_one(
    http: httpx.Client, alice: Actor, upstream: Upstream
) -> None:
    add_known(["gemini-embedding-001"])
    upstream.always("openai", Reply("recorded", payload={"embeddings": [{"values": [3.0, 4.0]}] * 100}))
    found = vectors(embed(http, alice, [f"text {n}" for n in range(200)], model="gemini-embedding-001", dimensions=2))
    assert found[0] == pytest.approx([0.6, 0.8]) and len(found) == 200
    asked = [request for request in upstream.requests if "batchEmbedContents" in request.path]
    assert [len(request.body["requests"]) for request in asked] == [100, 100]
    assert asked[0].body["requests"][0]["outputDimensionality"] == 2
    tokens = embed(http, alice, [1, 2], model="gemini-embedding-001")
    assert (tokens.status_code, tokens.json()["error"]["param"]) == (400, "input")


def test_a_compatible_server_is_asked_for_numbers(
    http: httpx.Client, alice: Actor, upstream: Upstream, settings: Any
) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    provider = Provider.objects.create(slug="local", kind="openai_compatible", base_url=f"{upstream.address}/v1")
    model = AIModel.objects.create(slug="nomic", provider=provider, kind="embedding", context_window=2048)
    Price.objects.create(model=model, input_price=1_000_000)
    upstream.plan("openai", answer_of([1.0, 2.0], tokens=4))
    assert vectors(embed(http, alice, "x", model="nomic")) == [[1.0, 2.0]]
    assert upstream.asked("openai")[-1].body["encoding_format"] == "float"
