"""Pictures, made of a prompt or of a picture: what each vendor is asked, and what becomes of every answer."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from aichat.providers import http
from aichat.providers.base import Endpoint, ImageAnswer, ImageRequest
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.registry import image_adapter, image_edit_adapter
from aichat.providers.single_calls import ImageEditAnswer, ImageEditRequest
from tests.upstream import Reply, Upstream, unconnected_address

KINDS = ("openai", "gemini")
PNG = b"\x89PNG\r\n\x1a\n and more"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Draw = Callable[..., Awaitable[ImageAnswer | ImageEditAnswer]]


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def of_openai(*images: Any, **more: Any) -> dict[str, Any]:
    return {"created": 1, "data": [{"b64_json": image} for image in images], **more}


def of_gemini(*parts: Any, reason: str = "STOP", **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": reason}], **more}


def inline(data: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": data}}


GOOD = {"openai": of_openai(encoded(PNG)), "gemini": of_gemini(inline(encoded(PNG)))}


@pytest.fixture
async def draw(fake: Upstream, task: str) -> AsyncIterator[Draw]:
    """Asks an adapter for pictures, in both ways: `await draw("gemini", n=2)`."""

    async def call(
        kind: str, *, n: int = 1, model: str = "gpt-image-2", endpoint: Endpoint | None = None, **more: Any
    ) -> ImageAnswer | ImageEditAnswer:
        address = f"{fake.address}/v1" if kind == "openai" else fake.address
        where = endpoint or Endpoint(address, "a-secret-key", **more)
        if task == "generate":
            request = ImageRequest(model, "a cat", "1536x1024", n, request_id="request-1")
            return await image_adapter(kind).images(request, where)
        edit = ImageEditRequest(model, "a hat", [(PNG, "image/png")], None, "1536x1024", n, "request-1")
        return await image_edit_adapter(kind).edit(edit, where)

    yield call
    await http.close()


@pytest.fixture(params=["generate", "edit"])
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aichat.core.telemetry.spans.traceparent", lambda: TRACE)


async def failed(draw: Draw, kind: str, **more: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await draw(kind, **more)
    return caught.value


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_carries_the_key_the_ids_and_the_headers_of_its_endpoint(
    draw: Draw, fake: Upstream, kind: str
) -> None:
    fake.always(kind, Reply("recorded", payload=GOOD[kind]))
    assert (await draw(kind, headers={"X-Team": "blue"})).images == [PNG]
    (asked,) = fake.requests
    key = {"openai": ("authorization", "Bearer a-secret-key"), "gemini": ("x-goog-api-key", "a-secret-key")}
    assert asked.headers[key[kind][0]] == key[kind][1]
    sent = (asked.headers["x-request-id"], asked.headers["traceparent"], asked.headers["x-team"])
    assert sent == ("request-1", TRACE, "blue")


@pytest.mark.parametrize("task", ["generate"])
async def test_older_models_of_openai_are_asked_for_the_bytes_and_newer_ones_send_them_anyway(
    draw: Draw, fake: Upstream
) -> None:
    fake.always("openai", Reply("recorded", payload=GOOD["openai"]))
    for model in ("dall-e-3", "gpt-image-2"):
        await draw("openai", model=model)
    assert [request.body.get("response_format") for request in fake.requests] == ["b64_json", None]


async def test_several_pictures_of_gemini_are_as_many_calls_of_which_some_may_fail(
    draw: Draw, fake: Upstream, task: str
) -> None:
    used = {"promptTokenCount": 10, "candidatesTokenCount": 1120, "totalTokenCount": 1130}
    answer = {**GOOD["gemini"], "usageMetadata": used}
    replies = [Reply("refuse", 500), Reply("recorded", payload=answer), Reply("recorded", payload=answer)]
    fake.plan("gemini", *replies)
    made = await draw("gemini", n=3)
    assert (len(fake.requests), made.images) == (3, [PNG, PNG])
    if isinstance(made, ImageAnswer):
        reading = made.report.reading()
        assert (made.billed, reading.input, reading.output) == (2, 20, 2240)
    else:
        assert made.usage
        assert (made.usage.images, made.usage.input_tokens, made.usage.output_tokens) == (2, 20, 2240)


async def test_usage_that_one_of_several_calls_did_not_report_is_not_made_up(
    draw: Draw, fake: Upstream, task: str
) -> None:
    used = {"promptTokenCount": 10, "candidatesTokenCount": 1120, "totalTokenCount": 1130}
    fake.plan("gemini", Reply("recorded", payload={**GOOD["gemini"], "usageMetadata": used}))
    fake.plan("gemini", Reply("recorded", payload=GOOD["gemini"]))
    made = await draw("gemini", n=2)
    assert made.report.is_empty if isinstance(made, ImageAnswer) else made.usage is None


async def test_thoughts_of_gemini_are_no_pictures_of_the_answer(draw: Draw, fake: Upstream) -> None:
    thought = {**inline(encoded(b"a sketch")), "thought": True}
    fake.always("gemini", Reply("recorded", payload=of_gemini(thought, {"text": "Here:"}, inline(encoded(PNG)))))
    assert (await draw("gemini")).images == [PNG]


async def test_a_picture_that_is_not_base64_leaves_the_others(draw: Draw, fake: Upstream) -> None:
    fake.always("openai", Reply("recorded", payload=of_openai(encoded(PNG), "abc", 7)))
    assert (await draw("openai", n=3)).images == [PNG, b"", b""]
    fake.plan("gemini", Reply("recorded", payload=of_gemini(inline("abc"))), Reply("recorded", payload=GOOD["gemini"]))
    assert sorted((await draw("gemini", n=2)).images) == [b"", PNG]


def raw(*pieces: bytes, code: str = "", status: int = 200) -> Reply:
    return Reply("raw", status, code, payload=list(pieces))


SAFETY = {"error": {"code": "moderation_blocked", "message": "no", "type": "image_generation_user_error"}}
ANY_KIND: dict[str, tuple[Reply, AttemptOutcome]] = {
    "no JSON": (raw(b"<html>oops</html>"), AttemptOutcome.MALFORMED),
    "JSON that ends in the middle": (raw(json.dumps(GOOD["openai"]).encode()[:40]), AttemptOutcome.MALFORMED),
    "a body that breaks off": (raw(b'{"data": [', code="cut"), AttemptOutcome.BROKEN_STREAM),
    "a list": (Reply("recorded", payload=[]), AttemptOutcome.MALFORMED),
    "null": (raw(b"null"), AttemptOutcome.MALFORMED),
    "nothing": (raw(), AttemptOutcome.MALFORMED),
    "an empty object": (Reply("recorded", payload={}), AttemptOutcome.EMPTY),
    "a hang-up": (Reply("drop"), AttemptOutcome.BROKEN_STREAM),
    "an error that is no JSON": (raw(b"<html>bad gateway</html>", status=502), AttemptOutcome.OVERLOADED),
}
OF_ONE_KIND: dict[str, tuple[str, Reply, AttemptOutcome]] = {
    "a word instead of pictures": ("openai", raw(b'{"data": "cat"}'), AttemptOutcome.MALFORMED),
    "numbers instead of pictures": ("openai", raw(b'{"data": [1, 2]}'), AttemptOutcome.MALFORMED),
    "addresses instead of pictures": ("openai", raw(b'{"data": [{"url": "https://a/b"}]}'), AttemptOutcome.EMPTY),
    "a moderation": ("openai", Reply("recorded_error", 400, payload=SAFETY), AttemptOutcome.BLOCKED),
    "a word instead of candidates": ("gemini", raw(b'{"candidates": "cat"}'), AttemptOutcome.MALFORMED),
    "a number instead of a candidate": ("gemini", raw(b'{"candidates": [7]}'), AttemptOutcome.MALFORMED),
    "a word instead of parts": ("gemini", Reply("recorded", payload=of_gemini("cat")), AttemptOutcome.MALFORMED),
    "a word instead of data": (
        "gemini",
        Reply("recorded", payload=of_gemini({"inlineData": "cat"})),
        AttemptOutcome.MALFORMED,
    ),
    "text alone": ("gemini", Reply("recorded", payload=of_gemini({"text": "I can't"})), AttemptOutcome.EMPTY),
    "a blocked prompt": ("gemini", Reply("blocked"), AttemptOutcome.BLOCKED),
    "a blocked picture": (
        "gemini",
        Reply("recorded", payload=of_gemini(reason="IMAGE_SAFETY")),
        AttemptOutcome.BLOCKED,
    ),
    "a blocked picture with a text": (
        "gemini",
        Reply("recorded", payload=of_gemini({"text": "I made"}, reason="IMAGE_PROHIBITED_CONTENT")),
        AttemptOutcome.BLOCKED,
    ),
}
BAD = [
    *(pytest.param(kind, *case, id=f"{kind}: {name}") for kind in KINDS for name, case in ANY_KIND.items()),
    *(pytest.param(*case, id=f"{case[0]}: {name}") for name, case in OF_ONE_KIND.items()),
]


@pytest.mark.parametrize(("kind", "reply", "outcome"), BAD)
async def test_an_answer_without_a_picture_is_told_by_its_cause(
    draw: Draw, fake: Upstream, kind: str, reply: Reply, outcome: AttemptOutcome
) -> None:
    fake.always(kind, reply)
    assert (await failed(draw, kind)).outcome == outcome


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_says_how_long_to_wait_and_never_repeats_the_key(draw: Draw, fake: Upstream, kind: str) -> None:
    error = {"error": {"code": 429, "message": "a-secret-key is too fast", "status": "RESOURCE_EXHAUSTED"}}
    fake.always(kind, Reply("recorded_error", 429, headers={"Retry-After": "7"}, payload=error))
    found = await failed(draw, kind)
    assert (found.outcome, found.retry_after) == (AttemptOutcome.RATE_LIMITED, 7)
    assert "too fast" in str(found) and "a-secret-key" not in str(found)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_redirect_is_followed(draw: Draw, fake: Upstream, kind: str) -> None:
    fake.always(kind, Reply("refuse", 307, headers={"Location": f"{fake.address}/elsewhere"}))
    assert (await failed(draw, kind)).outcome == AttemptOutcome.MALFORMED
    assert len(fake.requests) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_more_than_the_largest_answer_is_not_read(
    draw: Draw, fake: Upstream, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    fake.always(kind, Reply("recorded", payload=GOOD[kind]))
    monkeypatch.setattr(http, "LARGEST_ANSWER", 50)
    assert (await failed(draw, kind)).outcome == AttemptOutcome.MALFORMED


@pytest.mark.parametrize("kind", KINDS)
async def test_who_can_not_be_reached_is_told_from_who_takes_no_connection(
    draw: Draw, fake: Upstream, kind: str
) -> None:
    gone = await failed(draw, kind, endpoint=Endpoint("http://127.0.0.1:1", "a-key"))
    assert gone.outcome == AttemptOutcome.UNREACHABLE
    private = await failed(draw, kind, public_only=True)
    assert (private.outcome, "private address" in str(private)) == (AttemptOutcome.UNREACHABLE, True)
    with unconnected_address() as address:
        slow = await failed(draw, kind, endpoint=Endpoint(address, "a-key", connect_timeout=0.1))
    assert slow.outcome == AttemptOutcome.TIMEOUT_CONNECT
    assert not fake.requests
