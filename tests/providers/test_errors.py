"""What a provider's error means, in every body providers put it into."""

import json
from typing import Any

import pytest

from aichat.providers.errors import AttemptOutcome, ProviderError, from_body, redacted
from aichat.providers.http import wait_asked_for
from tests.providers.conftest import Ask
from tests.upstream import Reply, Upstream

BLOCKED, UNSUPPORTED = AttemptOutcome.BLOCKED, AttemptOutcome.UNSUPPORTED
TOO_LONG, INVALID, KEY = AttemptOutcome.CONTEXT_LENGTH, AttemptOutcome.INVALID_REQUEST, AttemptOutcome.AUTH_FAILURE


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (403, {"code": "x", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}, BLOCKED),
        (403, error("Your input was flagged", code=403, metadata={"reasons": ["violence"]}), BLOCKED),
        (400, error("Content Exists Risk", type="invalid_request_error"), BLOCKED),
        (400, error("The request was rejected because it was considered high risk"), BLOCKED),
        (403, error("You have no access to this project"), KEY),
        (403, error("This region is not supported", type="invalid_request_error"), KEY),
        (400, error("Penalty is not enabled for this model", code=400, status="INVALID_ARGUMENT"), UNSUPPORTED),
        (400, error("Unsupported value", code="unsupported_value", param="temperature"), UNSUPPORTED),
        (400, error("Failed to call a function.", code="tool_use_failed"), UNSUPPORTED),
        (400, error("This model's maximum context length is 8192 tokens", code="context_length_exceeded"), TOO_LONG),
        (400, error("The input token count (9) exceeds the maximum number of tokens allowed (8)."), TOO_LONG),
        (400, error("prompt is too long: 9 tokens > 8 maximum"), TOO_LONG),
        (413, error("Request too large for model"), TOO_LONG),
        (400, error("messages: at least one message is required"), INVALID),
        (422, {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}]}, INVALID),
        (429, error("Too many input tokens per minute"), AttemptOutcome.RATE_LIMITED),
    ],
)  # fmt: skip
def test_an_error_is_judged_by_what_it_means(status: int, body: Any, outcome: AttemptOutcome) -> None:
    assert from_body(status, json.dumps(body).encode()).outcome == outcome


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"object": "error", "message": "Bad model"}, "Bad model"),
        ({"message": {"detail": [{"loc": ["body", "n"], "msg": "Extra inputs are not permitted"}]}},
         "body.n: Extra inputs are not permitted"),
        ({"detail": "Not that"}, "Not that"),
        ({"detail": [{"loc": ["body", "x"], "msg": "Field required"}, {"msg": "and more"}]},
         "body.x: Field required; and more"),
        ({"error": "Just text"}, "Just text"),
        ({"error": {"message": {"content": 1}, "detail": "Deeper"}}, "Deeper"),
        ([{"error": {"message": "In a list"}}], "In a list"),
        ({"errors": [{"message": "Several"}]}, "Several"),
        ("text", "invalid_request"),
        ({"error": {"message": None}}, "invalid_request"),
    ],
)  # fmt: skip
def test_the_provider_s_reason_is_found_wherever_it_stands(body: Any, words: str) -> None:
    assert str(from_body(400, json.dumps(body).encode())) == words


@pytest.mark.parametrize(
    "secret",
    ["sk-proj-abcdef123456", "gsk_abcdef123456", "xai-abcdef123456", "AIzaSyabcdef123456", "Bearer abcdef.123456",
     "sk-ab***yz12", "eyJhbGciOiJI.eyJzdWIi.abc-_1", 'api_key="abcdef123456"'],
)  # fmt: skip
def test_keys_in_a_provider_s_words_are_blotted_out(secret: str) -> None:
    text = redacted(f"Wrong: {secret}, try again: max_tokens: 4096000")
    assert not any(part in text for part in ("123456", "yz12", "eyJ"))
    assert text.startswith("Wrong: ") and text.endswith(", try again: max_tokens: 4096000")


async def test_our_own_key_is_blotted_out_whatever_it_looks_like(ask: Ask, fake: Upstream) -> None:
    from aichat.providers.base import Endpoint

    fake.always("openai", Reply("recorded_error", 400, payload=error("No such thing: 0123-plain-4567")))
    endpoint = Endpoint(f"{fake.address}/v1", "0123-plain-4567")
    with pytest.raises(ProviderError) as caught:
        await ask("openai_compatible", endpoint=endpoint)
    assert str(caught.value) == "No such thing: [redacted]"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "2.5"}, 2.5), ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"retry-after-ms": "soon", "Retry-After": "9"}, 9.0), ({}, None), ({"Retry-After": "1e9"}, None),
    ],
)  # fmt: skip
def test_a_provider_s_wait_is_read_in_all_its_units(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_asked_for(headers) == seconds
