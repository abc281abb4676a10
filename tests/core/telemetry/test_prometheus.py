"""`GET /metrics`: what it says, and who may read it."""

import fcntl
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from aichat.images.models import ImageJob
from credits.models import Hold
from tests.conftest import Actor
from tests.service import running_service


def value(text: str, series: str) -> float:
    found = [line for line in text.splitlines() if line.startswith(series)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def test_this_machine_may_read_and_a_stranger_may_not(client: Client, db: None, settings: Any) -> None:
    settings.METRICS_TOKEN = "secret"
    bearer = {"Authorization": "Bearer secret"}
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 403
    assert client.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 403
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.1", headers=bearer).status_code == 200
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 403


@pytest.mark.parametrize("token", ["", "secret"])
def test_nobody_is_let_in_by_an_empty_token(client: Client, db: None, settings: Any, token: str) -> None:
    settings.METRICS_TOKEN = token
    refused = client.get("/metrics", REMOTE_ADDR="192.0.2.1", headers={"Authorization": "Bearer "})
    assert refused.status_code == 403


def test_requests_generations_and_cache_hits_are_counted(http: httpx.Client, alice: Actor, settings: Any) -> None:
    settings.PROMPT_CACHE_TTL = 60
    before = http.get("/metrics").text
    for _ in range(3):
        http.post("/api/v1/chat", json={"message": "Hi"}, headers=alice.headers)
    after = http.get("/metrics").text
    for series, expected in {
        'aichat_prompt_cache_requests_total{result="hit"}': 2,
        'aichat_prompt_cache_requests_total{result="miss"}': 1,
        "aichat_prompt_cache_saved_credits_total": 2,
        'aichat_generations_total{kind="chat",model="demo",outcome="ok",provider="demo"}': 1,
        'aichat_generations_total{kind="chat",model="demo",outcome="cache_hit",provider="demo"}': 2,
        'aichat_http_requests_total{method="POST",route="api/v1/chat",status="200"}': 3,
    }.items():
        assert value(after, series) - value(before, series) == pytest.approx(expected), series
    assert 'aichat_breaker_open{model="demo",provider="demo"} 0.0' in after


def test_what_waits_in_the_database_is_told(http: httpx.Client, alice: Actor, settings: Any, tmp_path: Path) -> None:
    settings.SETTLEMENT_JOURNAL = tmp_path
    journal = (tmp_path / "other.journal").open("w")
    fcntl.flock(journal, fcntl.LOCK_EX)  # its process lives: nobody settles from it
    journal.write("12345")
    journal.flush()
    job = http.post("/api/v1/images", json={"prompt": "A cat", "background": True}, headers=alice.headers).json()
    text = http.get("/metrics").text
    for series, expected in {
        "aichat_database_up": 1,
        "aichat_holds_open": 1,
        "aichat_held_credits": 5,
        'aichat_image_jobs{status="queued"}': 1,
        'aichat_image_jobs{status="running"}': 0,
        'aichat_webhooks{state="given_up"}': 0,
        "aichat_journal_bytes": 5,
    }.items():
        assert f"{series} {float(expected)}" in text
    Hold.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    ImageJob.objects.update(run_after=timezone.now() - timedelta(seconds=90))
    text = http.get("/metrics").text
    assert "aichat_holds_overdue 1.0" in text
    assert 90 <= value(text, "aichat_image_queue_age_seconds") < 100
    assert http.delete(f"/api/v1/images/{job['id']}", headers=alice.headers).status_code == 204
    assert value(http.get("/metrics").text, "aichat_image_queue_age_seconds") == 0
    journal.close()


def test_metrics_are_told_while_the_database_is_away(client: Client, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OperationalError

    monkeypatch.setattr("aichat.backlog.read", away)
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert "aichat_database_up 0.0" in answer.content.decode()


def test_all_workers_count_together_also_those_that_died(tmp_path: Any) -> None:
    with running_service(workers=2, PROMPT_CACHE_TTL="0", PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) as service:
        for number in range(20):
            with httpx.Client(headers=service.headers) as connection:  # any worker's
                assert connection.post(f"{service.address}/api/v1/chat", json={"message": str(number)}).is_success
        series = 'aichat_http_requests_total{method="POST",route="api/v1/chat",status="200"}'
        readings = {value(httpx.get(f"{service.address}/metrics").text, series) for _ in range(6)}
        assert readings == {20.0}
        first = service.workers()
        for worker in first:
            os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while any(file.stem.endswith(f"_{pid}") for file in tmp_path.iterdir() for pid in first):
            assert time.monotonic() < deadline, "their files are still there"
            time.sleep(0.1)
        service.wait_until_ready()
        assert value(httpx.get(f"{service.address}/metrics").text, series) == 20.0
