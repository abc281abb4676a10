"""A client that leaves before its generation has begun leaves its Idempotency-Key free."""

import asyncio
import threading
from typing import Any
from unittest import mock

import httpx
import pytest

from aichat.core.database import executor
from aichat.idempotency import keys, renewal
from aichat.idempotency.models import IdempotentRequest
from tests.conftest import Actor
from tests.generation.charging.test_bill import eventually
from tests.idempotency.test_keys import BODIES, CHAT, COMPLETIONS, charges, post

PREPARE = {CHAT: "aichat.chat.views.prepare", COMPLETIONS: "aichat.api.openai.chat_completions.prepare"}


def leave(http: httpx.Client, actor: Actor, path: str) -> None:
    """Send the request with the key, and close the connection when no answer has come after half a second."""
    with pytest.raises(httpx.ReadTimeout):
        http.post(path, json=BODIES[path], headers={**actor.headers, "Idempotency-Key": "k"}, timeout=0.5)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_client_that_leaves_while_its_request_is_being_prepared_frees_its_key(
    http: httpx.Client, alice: Actor, path: str
) -> None:
    claimed: list[int] = []

    async def prepare(*args: Any) -> None:
        claimed.append(await executor.run(IdempotentRequest.objects.count))
        await asyncio.Event().wait()

    with mock.patch(PREPARE[path], prepare):
        leave(http, alice, path)
    assert claimed == [1]
    eventually(lambda: not IdempotentRequest.objects.exists())
    assert not renewal.held
    answer = post(http, alice, path)
    assert answer.status_code == 200 and "Idempotent-Replayed" not in answer.headers
    assert charges() == 1


def test_a_client_that_leaves_while_its_key_is_being_claimed_leaves_the_key_free(
    http: httpx.Client, alice: Actor
) -> None:
    may_claim, has_claimed = threading.Event(), threading.Event()

    def claim_late(*args: Any) -> Any:
        assert may_claim.wait(10)
        found = keys.claim_key(*args)
        has_claimed.set()
        return found

    with mock.patch.object(renewal, "claim_key", claim_late):
        leave(http, alice, CHAT)
        may_claim.set()
        assert has_claimed.wait(10)
    eventually(lambda: not IdempotentRequest.objects.exists())
    assert not renewal.held
    assert post(http, alice).status_code == 200
    assert charges() == 1
