"""No key of a provider is in an error, though some providers quote it."""

import pytest

from aichat.providers.base import Endpoint
from aichat.providers.errors import AttemptOutcome, ProviderError, from_body


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcdefghijkl",
        "sk-ant-api03-x_y-z12345",
        "sk-abcde***********wxyz",
        "AIzaSyA1234567890abcdefghijk",
        "eyJhbGciOi.eyJzdWIi.c2ln",
    ],
)
def test_what_looks_like_a_key_is_hidden(key: str) -> None:
    for text in (f"Incorrect API key provided: {key}. You can find it…", f"GET /v1?key={key} failed", f"Bearer {key}"):
        assert key not in str(ProviderError(AttemptOutcome.AUTH_FAILURE, text))
    body = b'{"error": {"message": "Bad key %s", "code": "invalid_api_key"}}' % key.encode()
    assert key not in str(from_body(401, body))


def test_a_key_in_use_is_hidden_whatever_it_looks_like() -> None:
    Endpoint("https://example.com/v1", "plain words as a key")
    error = ProviderError(AttemptOutcome.OVERLOADED, "we know plain words as a key well")
    assert str(error) == "we know [hidden] well"


def test_ordinary_words_stay() -> None:
    text = "The task-oriented model does not risk-assess; ask-me: skip."
    assert str(ProviderError(AttemptOutcome.OVERLOADED, text)) == text
