"""OpenAI-compatible servers as rows of the catalog: address, key, headers, and where they may not be."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.core.exceptions import ValidationError

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel, Price, Provider
from aichat.core.outbound.public_addresses import is_public
from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.generation.test_faults import ask
from tests.upstream import Upstream
from tests.upstream_answers import ANSWER


@pytest.fixture
def compatible(upstream: Upstream, settings: Any) -> Callable[..., None]:
    """Adds a provider `local` with the model `llama`."""
    settings.ALLOW_PRIVATE_UPSTREAMS = True

    def add(**fields: Any) -> None:
        row = {"base_url": f"{upstream.address}/v1", **fields}
        provider = Provider(slug="local", kind="openai_compatible", **row)
        provider.full_clean()
        provider.save()
        model = AIModel.objects.create(slug="llama", upstream_name="llama3:8b", provider=provider)
        Price.objects.create(model=model, request_price=1000)
        snapshot.forget()

    return add


def test_a_server_without_a_key_serves(
    compatible: Callable[..., None], http: httpx.Client, upstream: Upstream, alice: Actor
) -> None:
    compatible()
    seen = ask(http, alice, "llama", "stream")
    assert (seen.text, seen.body["provider"], seen.body["model"]) == (ANSWER, "local", "llama")
    (request,) = upstream.requests
    assert request.path == "/v1/chat/completions"
    assert request.body["model"] == "llama3:8b"
    assert "max_tokens" in request.body
    assert "authorization" not in request.headers
    assert UsageRecord.objects.get().charged == 1000


def test_the_key_comes_from_the_named_variable(
    compatible: Callable[..., None],
    http: httpx.Client,
    upstream: Upstream,
    alice: Actor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compatible(api_key_env="LOCAL_API_KEY", extra_headers={"HTTP-Referer": "https://example.com"})
    assert ask(http, alice, "llama", "json").status == 404  # not in use without its key
    monkeypatch.setenv("LOCAL_API_KEY", "secret")
    snapshot.forget()
    assert ask(http, alice, "llama", "json").text == ANSWER
    assert upstream.requests[0].headers["authorization"] == "Bearer secret"
    assert upstream.requests[0].headers["http-referer"] == "https://example.com"


def test_azure_wants_its_key_in_a_header_and_a_version_in_the_address(
    compatible: Callable[..., None],
    http: httpx.Client,
    upstream: Upstream,
    alice: Actor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_API_KEY", "secret")
    compatible(
        base_url=f"{upstream.address}/openai/deployments/gpt?api-version=2024-10-21",
        api_key_env="AZURE_API_KEY",
        extra_headers={"api-key": "{api_key}"},
    )
    assert ask(http, alice, "llama", "json").text == ANSWER
    (request,) = upstream.requests
    assert request.path == "/openai/deployments/gpt/chat/completions?api-version=2024-10-21"
    assert request.headers["api-key"] == "secret"
    assert "authorization" not in request.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_private_address_is_not_called_unless_allowed(
    host: str, compatible: Callable[..., None], http: httpx.Client, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    compatible(base_url=upstream.address.replace("127.0.0.1", host) + "/v1")
    seen = ask(http, alice, "llama", "json")
    assert (seen.status, seen.code) == (503, "provider_unavailable")
    assert upstream.requests == []
    assert UsageRecord.objects.get().status == "unreachable"


def test_it_is_a_candidate_like_any_other(
    compatible: Callable[..., None], http: httpx.Client, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    compatible()
    settings.GEMINI_BASE_URL = settings.OPENAI_BASE_URL = "http://127.0.0.1:9"
    AIModel.objects.filter(slug="llama").update(auto_position=30)
    snapshot.forget()
    seen = ask(http, alice, "auto", "json")
    assert (seen.text, seen.body["model"], seen.body["fallback"]) == (ANSWER, "llama", True)
    assert [record.status for record in UsageRecord.objects.order_by("attempt")] == ["unreachable", "unreachable", "ok"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "::1", "::",
        "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_private_addresses_are_known_in_every_disguise(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": ""},
        {"base_url": "file:///etc/passwd"},
        {"base_url": "https://user:password@host/v1"},
        {"api_key_env": "SECRET_KEY"},
        {"api_key_env": "DATABASE_URL"},
        {"extra_headers": {"Host": "elsewhere"}},
        {"extra_headers": {"X-A": "b\r\nX-C: d"}},
        {"extra_headers": {"X A": "b"}},
    ],
    ids=str,
)
def test_a_wrong_row_is_refused(fields: dict[str, Any], db: None) -> None:
    row = {"base_url": "https://example.com/v1", **fields}
    with pytest.raises(ValidationError):
        Provider(slug="x", kind="openai_compatible", **row).full_clean()


@pytest.mark.parametrize("kind", ["openai", "gemini", "demo"])
def test_only_a_compatible_row_has_an_address_of_its_own(kind: str, db: None) -> None:
    with pytest.raises(ValidationError):
        Provider(slug="x", kind=kind, base_url="http://169.254.169.254").full_clean()
    Provider(slug="x", kind=kind).full_clean()
