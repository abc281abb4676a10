"""A host whose clock is off against the database's is named."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from django.db import connection

from aichat import health
from aichat.core.database import clock, executor
from tests.logs import Logs


@pytest.fixture(params=[600, -600])
def off(request: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """This host's clock is ten minutes ahead, or behind."""
    right = clock.now

    def wrong() -> datetime:
        return right() + timedelta(seconds=request.param)

    monkeypatch.setattr(clock, "now", wrong)
    return int(request.param)


def test_readyz_says_nothing_of_a_clock_that_is_right(http: httpx.Client) -> None:
    assert http.get("/readyz").json() == {"status": "ok", "failing": []}


def test_readyz_says_how_far_the_clock_is_off_and_stays_in_service(http: httpx.Client, off: int) -> None:
    answer = http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    if connection.vendor == "sqlite":
        assert "clock_off_seconds" not in answer.json()
    else:
        assert answer.json()["clock_off_seconds"] == pytest.approx(off, abs=2.5)


def test_a_clock_that_is_off_is_a_warning_in_the_log(transactional_db: None, logs: Logs, off: int) -> None:
    asyncio.run(health.compare_clocks())
    executor.close()
    warnings = [line["message"] for line in logs.lines if "clock of this host" in line["message"]]
    if connection.vendor == "sqlite":
        assert warnings == []
    else:
        (warning,) = warnings
        assert ("ahead of" if off > 0 else "behind") in warning
