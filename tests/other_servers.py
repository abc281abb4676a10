"""Fixtures of the servers that ours asks: a real Redis, and fakes of the providers."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from aichat.catalog.sync import sync_models
from aichat.core.config import stores
from aichat.core.redis import change_marks, health
from tests.engines import Valkey
from tests.upstream import Upstream


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.close()


@pytest.fixture
def no_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With SQLite too, processes learn of each other's changes by Redis alone, if at all."""
    monkeypatch.setattr(change_marks, "_file", lambda: None)


@pytest.fixture
def valkey(valkey_server: Valkey, settings: Any) -> Iterator[Valkey]:
    """A real Redis in use, empty; a test may stop, start and freeze it."""
    use_redis(settings, valkey_server.url)
    redis.Redis(connection_pool=health.pool()).flushall()
    yield valkey_server
    valkey_server.restore()
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()  # an open breaker would be one for the services of other tests, too


def use_redis(settings: Any, url: str) -> None:
    settings.REDIS_URL = url
    settings.CACHES = stores.caches(url, timeout=settings.CACHE_TIMEOUT)


@pytest.fixture(scope="session")
def upstream_server() -> Iterator[Upstream]:
    with Upstream().running() as running:
        yield running


@pytest.fixture
def upstream(upstream_server: Upstream, settings: Any, transactional_db: None) -> Upstream:
    """A fake Gemini, OpenAI and Anthropic that can fail in every way; the first two are in use, and limits are short."""
    upstream_server.reset()
    settings.GEMINI_API_KEY, settings.GEMINI_BASE_URL = "gemini-key", upstream_server.address
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "openai-key", f"{upstream_server.address}/v1"
    settings.CHAT_CONNECT_TIMEOUT = 0.3
    settings.CHAT_ATTEMPT_TIMEOUT = settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_IDLE_TIMEOUT = 0.6
    settings.CHAT_TOTAL_TIMEOUT = 5.0
    sync_models()
    return upstream_server


@pytest.fixture
def claude(upstream: Upstream, settings: Any) -> Upstream:
    """The fake upstream with Anthropic in use as well."""
    settings.ANTHROPIC_API_KEY, settings.ANTHROPIC_BASE_URL = "anthropic-key", upstream.address
    sync_models()
    return upstream


@pytest.fixture
def openai_upstream(llmock: Any, settings: Any, transactional_db: None) -> Any:
    """A fake OpenAI with scripted faults, in use as the only provider; answers the `llmock` controls."""
    settings.OPENAI_API_KEY = "test-key"
    settings.OPENAI_BASE_URL = llmock.base_url("openai")
    sync_models()
    return llmock
