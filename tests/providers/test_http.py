"""The HTTP client under the adapters."""

import pytest

from aichat.providers import http
from aichat.providers.base import Endpoint
from aichat.providers.errors import AttemptOutcome, ProviderError
from tests.providers.conftest import Ask, text_of
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANSWER


async def test_the_session_is_shared_and_closed_at_shutdown(ask: Ask) -> None:
    first = http.session(public_only=False)
    await ask("openai")
    await ask("gemini")
    assert http.session(public_only=False) is first
    await http.close()
    assert first.closed
    assert text_of(await ask("openai")) == ANSWER  # whoever still needs one gets a new one
    await http.close()


async def test_what_may_reach_private_addresses_shares_no_connection_with_what_may_not(
    ask: Ask, fake: Upstream
) -> None:
    await ask("openai")
    with pytest.raises(ProviderError) as caught:
        await ask("openai", endpoint=Endpoint(f"{fake.address}/v1", "a-key", public_only=True))
    assert caught.value.outcome == AttemptOutcome.UNREACHABLE
    assert "private address" in str(caught.value)


async def test_no_redirect_is_followed(ask: Ask, fake: Upstream) -> None:
    fake.always("openai", Reply("refuse", 302, headers={"Location": f"{fake.address}/elsewhere"}))
    with pytest.raises(ProviderError) as caught:
        await ask("openai")
    assert caught.value.outcome == AttemptOutcome.MALFORMED
    assert len(fake.requests) == 1


async def test_an_answer_without_end_is_cut_off(ask: Ask, fake: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "LARGEST_ANSWER", 100)
    for stream in (False, True):
        with pytest.raises(ProviderError) as caught:
            await ask("openai", stream=stream)
        assert caught.value.outcome == AttemptOutcome.MALFORMED


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("", None), ("soon", None), ("-3", None), ("1e9", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float | None) -> None:
    assert http.retry_after(value) == seconds
