"""How much one request makes Python do. Counts, no times; `make trace` prints them, ARGS=-vv each function too."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from accounts import caller_cache
from aichat.core import snapshot
from aichat.core.database import executor
from aichat.core.web.fast_path.handler import CancelledWhenLeft
from aichat.generation import circuit_breaker
from tests.conftest import Actor
from tests.trace import NEW, Request, Tracer, tracing

pytestmark = pytest.mark.django_db(transaction=True)
COMPLETIONS, CHAT = "/v1/chat/completions", "/api/v1/chat"


@dataclass(frozen=True)
class Kind:
    """A kind of request, and the most it may take: a little more than it does, so that a new layer is noticed."""

    name: str
    make: Callable[[Actor], Request]
    calls: int
    files: int
    hops: int
    status: int = 200


def completion(question: str, **more: Any) -> Callable[[Actor], Request]:
    body = {"model": "demo", "messages": [{"role": "user", "content": question}], **more}
    return lambda alice: Request("POST", COMPLETIONS, alice.headers, body)


def conversation(alice: Actor) -> Request:
    answer = alice.post(CHAT, {"message": "Hello", "model": "demo"})
    return Request("GET", f"/api/v1/conversations/{answer.json()['conversation_id']}", alice.headers)


KINDS = [
    Kind("chat completion, JSON", completion(NEW), calls=440, files=75, hops=2),
    Kind("chat completion, stream", completion(NEW, stream=True), calls=832, files=80, hops=2),
    Kind("prompt-cache hit", completion("the same"), calls=270, files=66, hops=1),
    Kind(
        "chat in a conversation",
        lambda alice: Request("POST", CHAT, alice.headers, {"model": "demo", "message": NEW}),
        calls=478, files=78, hops=2,
    ),
    Kind("one resource", conversation, calls=116, files=28, hops=3),
    Kind(
        "list", lambda alice: Request("GET", "/api/v1/conversations", alice.headers), calls=119, files=28, hops=3,
    ),
    Kind("refused for credits", completion(NEW), calls=285, files=68, hops=1, status=402),
]  # fmt: skip


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracer]:
    """Nothing grows old while it counts: what is read again after a time is not part of a request."""
    for module, name in (
        (snapshot, "REFRESH"), (snapshot, "LIMIT"), (caller_cache, "ALONE_SECONDS"), (caller_cache, "FRESH_SECONDS"),
        (circuit_breaker, "WELL_SECONDS"), (CancelledWhenLeft, "LISTEN_AFTER"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 3600.0)
    executor.close()  # threads that have begun before can't be profiled
    with tracing() as found:
        yield found
    executor.close()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_request_takes_few_calls_files_and_changes_of_thread(
    catalog: None, alice: Actor, settings: Any, tracer: Tracer, kind: Kind, pytestconfig: pytest.Config
) -> None:
    settings.PROMPT_CACHE_TTL = 86_400
    request = kind.make(alice)
    if kind.status == 402:
        alice.set_credits(0)
    counts = tracer.count(request, kind.status)
    print(f"\n{kind.name:24}{counts}")  # noqa: T201
    if pytestconfig.option.verbose > 1:
        print(counts.details())  # noqa: T201
    assert counts.calls <= kind.calls
    assert len(counts.files) <= kind.files
    assert counts.hops <= kind.hops
