"""A running server keeps the daily sums up to date by itself."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from aichat.core.database import executor
from aichat.usage import keeping_up
from aichat.usage.models import DailyUsage, UsageRecord
from aichat.usage.rollup import roll_up
from tests.conftest import Actor


def test_a_server_rolls_up_by_itself_and_outlives_an_error(
    transactional_db: None, alice: Actor, usage_record: Callable[..., UsageRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage_record(alice, created_at=timezone.now() - timedelta(hours=1))
    calls = []

    def flaky() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("the database is away")
        return real()

    real = roll_up
    monkeypatch.setattr(keeping_up, "roll_up", flaky)
    monkeypatch.setattr(keeping_up, "EVERY", 0.01)

    async def a_while() -> None:
        task = asyncio.create_task(keeping_up.keep_up())
        for _ in range(200):
            await asyncio.sleep(0.02)
            if len(calls) >= 3:
                break
        task.cancel()

    asyncio.run(a_while())
    executor.close()
    assert DailyUsage.objects.get().requests == 1
