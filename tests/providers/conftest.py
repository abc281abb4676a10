"""Adapters without the product around them: what they put on the wire, and what they make of an answer."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from aichat.providers import http
from aichat.providers.base import ChatRequest, Delta, Endpoint, Finished, Part
from aichat.providers.registry import chat_adapter
from aichat.providers.usage import Reading, UsageReport
from tests.upstream import Upstream

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]


class Parts(list[Part | Finished]):
    """The parts of an answer in order, its end last, and what the provider reported of its usage."""

    report = UsageReport()

    @property
    def usage(self) -> Reading:
        return self.report.reading()


Ask = Callable[..., Awaitable[Parts]]


@pytest.fixture
def fake(upstream_server: Upstream) -> Upstream:
    upstream_server.reset()
    return upstream_server


@pytest.fixture
async def ask(fake: Upstream) -> AsyncIterator[Ask]:
    """Calls an adapter: `await ask("gemini", messages, stream=True, tools=[…])`."""

    async def call(
        kind: str,
        messages: list[dict[str, Any]] = HELLO,
        *,
        stream: bool = False,
        endpoint: Endpoint | None = None,
        may_drop: bool = False,
        **parameters: Any,
    ) -> Parts:
        address = fake.address if kind in {"gemini", "anthropic"} else f"{fake.address}/v1"
        request = ChatRequest("a-model", messages, 100, stream, parameters, request_id="request-1", may_drop=may_drop)
        parts = Parts()
        parts.report = request.report

        async def hear(part: Part) -> None:
            parts.append(part)

        parts.append(await chat_adapter(kind).chat(request, endpoint or Endpoint(address, "a-key"), hear))
        return parts

    yield call
    await http.close()


def text_of(parts: list[Part | Finished]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Delta))


def calls_of(parts: list[Part | Finished]) -> list[dict[str, Any]]:
    return [call for part in parts if isinstance(part, Delta) for call in part.tool_calls]


def end_of(parts: list[Part | Finished]) -> Finished:
    assert isinstance(parts[-1], Finished)
    return parts[-1]
