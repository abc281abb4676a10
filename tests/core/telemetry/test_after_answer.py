"""The server reports a chat after it has sent the answer, so that the client does not wait for the report."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from aichat.asgi import Traced
from aichat.core.telemetry import measurements, tracing
from aichat.core.telemetry.measurements import AttemptEnded, Measurement
from tests.conftest import Actor
from tests.logs import Logs
from tests.test_trace import completion
from tests.trace import NEW

SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": []}
LAST: dict[str, Any] = {"type": "http.response.body"}
done: list[object] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    done.clear()


async def pass_on(message: Any) -> None:
    done.append(message["type"])


async def request(work: Callable[[], object]) -> None:
    traced = Traced(dict(SCOPE), {}, pass_on)
    tracing.after_answer(work)
    await traced.send(LAST)
    traced.end()


def test_it_waits_for_the_answers_last_byte() -> None:
    asyncio.run(request(lambda: done.append("told")))
    assert done == ["http.response.body", "told"]


def test_it_is_done_when_the_client_left_without_an_answer() -> None:
    async def leave() -> None:
        traced = Traced(dict(SCOPE), {}, pass_on)
        tracing.after_answer(lambda: done.append("told"))
        traced.end()
        tracing.after_answer(lambda: done.append("told later"))  # by a generation that goes on
        assert done == ["told", "told later"]

    asyncio.run(leave())


def test_it_is_done_at_once_outside_of_a_request() -> None:
    async def command() -> None:
        tracing.begin("command-1")
        tracing.after_answer(lambda: done.append("told"))
        assert done == ["told"]

    asyncio.run(command())


def test_a_defect_is_logged_and_holds_up_nothing_else(logs: Logs) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    async def requests() -> None:
        traced = Traced(dict(SCOPE), {}, pass_on)
        tracing.after_answer(fail)
        tracing.after_answer(lambda: done.append("told"))
        traced.end()

    asyncio.run(requests())
    assert done == ["told"]
    assert "what waited for an answer failed" in [line["message"] for line in logs.lines]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_reported_after_its_answer(
    catalog: None, alice: Actor, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    from aichat.asgi import Application

    def hear(item: Measurement) -> None:
        if isinstance(item, AttemptEnded):
            done.append(item.outcome)

    monkeypatch.setattr(measurements, "_listeners", [hear])
    monkeypatch.setattr(Traced, "send", recording(Traced.send))
    assert asyncio.run(completion(NEW, stream=stream)(alice).send(Application())) == 200
    assert done[-2:] == ["http.response.body", "ok"]


def recording(send: Any) -> Any:
    async def recorded(self: Traced, message: Any) -> None:
        await send(self, message)
        done.append(message["type"])

    return recorded
