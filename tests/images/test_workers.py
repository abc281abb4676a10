"""Workers outside the server: the command, and the admin's actions on what they did."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.authentication import Caller
from accounts.models import AccessToken
from aichat.celery import app
from aichat.core.money import CREDIT
from aichat.images import claims, jobs
from aichat.images.models import ImageJob
from credits.verify import problems
from tests.conftest import Actor
from tests.engines import Valkey


def enqueue(actor: Actor, **fields: Any) -> ImageJob:
    token = AccessToken.objects.get(user=actor.user, kind="API_KEY")
    caller = Caller(actor.user, actor.organization, token)
    wanted = {"prompt": "a cat", "model": "auto", "size": "1024x1024", "n": 1, "background": True, "amount": 5 * CREDIT}
    return jobs.enqueue(caller, **{**wanted, **fields})


def wait_for(status: str, count: int, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while ImageJob.objects.filter(status=status).count() < count:
        assert time.monotonic() < until, list(ImageJob.objects.values_list("status", "error_message"))
        time.sleep(0.1)


@pytest.fixture
def environment(tmp_path: Path, settings: Any) -> dict[str, str]:
    """For a process of its own on the tests' database."""
    if connection.vendor != "sqlite":
        pytest.skip("the command is the same on every engine")
    return {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
        "MEDIA_ROOT": str(settings.MEDIA_ROOT),
        "IMAGE_POLL_SECONDS": "0.1",
        "DJANGO_SETTINGS_MODULE": "aichat.settings",
    }


def test_the_command_works_on_the_queue_and_drains_on_sigterm(
    transactional_db: None, catalog: None, alice: Actor, environment: dict[str, str]
) -> None:
    for _ in range(3):
        enqueue(alice)
    command = [sys.executable, "manage.py", "run_image_worker"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as worker:
        try:
            wait_for("succeeded", 3)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=20) == 0
        finally:
            worker.kill()
    assert alice.wallet.available == 85 * CREDIT
    assert list(problems()) == []


CELERY = [sys.executable, *["-m", "celery", "--app", "aichat", "worker", "--pool", "solo", "--loglevel", "WARNING"]]
QUIET = ["--without-mingle", "--without-gossip", "--without-heartbeat"]


@pytest.fixture
def dispatched(valkey: Valkey, settings: Any, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Celery hands out the jobs; the environment for its workers."""
    app.conf.broker_url = valkey.url
    settings.IMAGE_DISPATCHER = "celery"
    yield {**environment, "IMAGE_DISPATCHER": "celery", "REDIS_URL": valkey.url}
    app.close()


def test_two_celery_workers_share_the_jobs(
    transactional_db: None, catalog: None, alice: Actor, dispatched: dict[str, str]
) -> None:
    workers = [
        subprocess.Popen([*CELERY, *QUIET, "--hostname", name], env=dispatched) for name in ("one@here", "two@here")
    ]
    try:
        for _ in range(6):
            enqueue(alice)
        wait_for("succeeded", 6, seconds=40)
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait(timeout=20)
    assert alice.wallet.available == 70 * CREDIT
    assert set(ImageJob.objects.values_list("attempts", flat=True)) == {1}
    assert list(problems()) == []


def test_a_job_the_broker_lost_is_found_by_the_sweep(
    transactional_db: None, catalog: None, alice: Actor, dispatched: dict[str, str], valkey: Valkey
) -> None:
    valkey.stop()
    enqueue(alice)  # not refused: the row is the job
    assert claims.claim_due(1) == []  # Celery's turn
    ImageJob.objects.update(run_after=timezone.now() - timedelta(seconds=11))
    assert len(claims.claim_due(1)) == 1


@pytest.fixture
def console(ada: Actor) -> Client:
    client = Client()
    client.force_login(ada.user)
    return client


def test_the_gallery_lists_many_jobs_with_few_queries(
    console: Client, alice: Actor, catalog: None, django_assert_max_num_queries: Any
) -> None:
    alice.set_credits(1000)
    for _ in range(30):
        enqueue(alice)
    url = reverse("admin:images_imagejob_changelist")
    console.get(url)
    with django_assert_max_num_queries(9):
        answer = console.get(url)
    assert answer.content.count(b"a cat") >= 30


def test_an_admin_retries_a_failed_job_with_a_hold_of_its_own(console: Client, alice: Actor, catalog: None) -> None:
    job = enqueue(alice)
    ImageJob.objects.update(attempts=3)
    claims.claim_due(1)
    assert alice.wallet.held == 0
    action = {"action": "retry", "_selected_action": [str(job.pk)]}
    console.post(reverse("admin:images_imagejob_changelist"), action)
    assert ImageJob.objects.get().status == "queued"
    assert alice.wallet.held == 5 * CREDIT
    assert list(problems()) == []


def test_an_admin_cancels_a_queued_job(console: Client, alice: Actor, catalog: None) -> None:
    job = enqueue(alice)
    action = {"action": "cancel", "_selected_action": [str(job.pk)]}
    console.post(reverse("admin:images_imagejob_changelist"), action)
    assert ImageJob.objects.get().status == "cancelled"
    assert alice.wallet.available == 100 * CREDIT


def test_a_job_page_shows_and_changes_nothing(console: Client, alice: Actor, catalog: None) -> None:
    job = enqueue(alice)
    url = reverse("admin:images_imagejob_change", args=[job.pk])
    ImageJob.objects.update(charged=2_500_000)
    page = console.get(url).content.decode()
    assert "2.5" in page and "2500000" not in page, "amounts are in credits"
    assert 'name="_save"' not in page
    assert console.post(url, {"prompt": "another"}).status_code == 403
    assert ImageJob.objects.get().prompt == "a cat"
