"""The storage of pictures fails after the provider has answered; the database goes away while a picture is drawn."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone

from aichat.core.database import executor
from aichat.core.money import CREDIT
from aichat.images import claims, completion, worker
from aichat.images.models import ImageJob
from aichat.providers import http as http_of_providers
from aichat.usage.models import UsageRecord
from credits.models import LedgerEntry
from tests.conftest import Actor
from tests.databases.test_outage import gone
from tests.images.conftest import Answer, FakeUpstream
from tests.images.test_workers import enqueue
from tests.service import running_service

ORDER = {"prompt": "a cat", "model": "gpt-image-2", "background": True}
OVER = {"succeeded", "failed"}


class Disk:
    """MEDIA_ROOT below a path that is no folder, so that no file can be stored; `mend` makes the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failures = 0
        path.write_text("")

    def mend(self) -> None:
        if self.path.is_file():
            self.path.unlink()


@pytest.fixture
def disk(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A storage that can't be written, and works again after its first failure."""
    found = Disk(tmp_path / "disk")
    settings.MEDIA_ROOT = found.path / "pictures"
    store_pictures = completion.store_pictures

    def store_and_mend(*args: Any) -> Any:
        try:
            return store_pictures(*args)
        except OSError:
            found.failures += 1
            found.mend()
            raise

    monkeypatch.setattr(completion, "store_pictures", store_and_mend)
    return found


def wait_until_over(http: httpx.Client, headers: dict[str, str], job: str, seconds: float = 30) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found: dict[str, Any] = http.get(f"/api/v1/images/{job}", headers=headers).json()
        if found["status"] in OVER:
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def order(http: httpx.Client, actor: Actor) -> dict[str, Any]:
    answer = http.post("/api/v1/images", json=ORDER, headers=actor.headers)
    assert answer.status_code == 202, answer.text
    return wait_until_over(http, actor.headers, answer.json()["id"])


@pytest.mark.usefixtures("embedded_worker")
def test_pictures_that_can_not_be_stored_at_once_are_stored_soon_after_and_drawn_once(
    http: httpx.Client, upstream: FakeUpstream, alice: Actor, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STORAGE_PAUSES", (0.05,))
    assert order(http, alice)["status"] == "succeeded"
    assert (disk.failures, len(upstream.requests), ImageJob.objects.get().attempts) == (1, 1, 1)
    assert LedgerEntry.objects.filter(kind="CHARGE").count() == 1


@pytest.mark.usefixtures("embedded_worker")
def test_the_cost_of_pictures_that_no_storage_took_is_recorded_and_the_job_is_tried_again(
    http: httpx.Client,
    upstream: FakeUpstream,
    alice: Actor,
    disk: Disk,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "STORAGE_PAUSES", ())
    settings.IMAGE_BACKOFF_SECONDS = 0.05
    assert order(http, alice)["status"] == "succeeded"
    assert (disk.failures, len(upstream.requests), ImageJob.objects.get().attempts) == (1, 2, 2)
    unstored, stored = UsageRecord.objects.order_by("id")
    assert (unstored.status, unstored.final, unstored.charged) == (worker.UNSTORED, False, 0)
    assert unstored.cost_nanousd == stored.cost_nanousd > 0
    assert (stored.status, stored.final) == ("ok", True)
    charge = LedgerEntry.objects.get(kind="CHARGE")
    assert -charge.amount == stored.charged > 0
    assert alice.wallet.available == 10_000 * CREDIT - stored.charged


@pytest.mark.parametrize("has_it", ["another worker", "nobody else"])
def test_a_worker_whose_lease_ran_out_before_it_asked_the_provider_asks_only_if_the_job_is_its_own(
    upstream: FakeUpstream, alice: Actor, has_it: str
) -> None:
    job = enqueue(alice, model="gpt-image-2")
    assert claims.take(job)
    job.run_after = timezone.now() - timedelta(seconds=1)  # as if it had been frozen
    ImageJob.objects.filter(pk=job.pk).update(run_after=job.run_after)
    if has_it == "another worker":
        assert claims.claim_due(1)

    async def run() -> None:
        await worker.run_job(job)
        await http_of_providers.close()

    asyncio.run(run())
    executor.close()
    assert len(upstream.requests) == (has_it == "nobody else")
    assert ImageJob.objects.get().status == ("succeeded" if upstream.requests else "running")


def test_a_picture_is_paid_once_although_the_database_is_away_for_longer_than_its_lease(
    tmp_path: Path,
) -> None:
    fake = FakeUpstream()

    def draw_slowly() -> Answer:
        time.sleep(6)
        return fake.picture("/v1/images/generations", {"n": 1})

    fake.script = [draw_slowly]
    options = {
        "OPENAI_API_KEY": "test-key",
        "OPENAI_BASE_URL": f"{fake.url}/v1",
        "MEDIA_ROOT": str(tmp_path),
        "STARTER_CREDITS": "10000",
        "IMAGE_LEASE_SECONDS": "2",
        "IMAGE_POLL_SECONDS": "0.2",
        "DATABASE_TIMEOUT": "1",
    }
    with (
        running_service(workers=2, **options) as service,
        httpx.Client(base_url=service.address, headers=service.headers, timeout=30) as client,
    ):
        job = client.post("/api/v1/images", json=ORDER).json()["id"]
        until = time.monotonic() + 20
        while not fake.requests:
            assert time.monotonic() < until
            time.sleep(0.05)
        with gone(service):
            time.sleep(3)
        until = time.monotonic() + 30
        while not (found := client.get(f"/api/v1/images/{job}")).is_success or found.json()["status"] not in OVER:
            assert time.monotonic() < until, found.text
            time.sleep(0.2)
        assert found.json()["status"] == "succeeded"
        service.manage("verify_ledger")
        entries = client.get("/api/v1/credits/entries").json()["results"]
        assert [entry["kind"] for entry in entries].count("CHARGE") == 1
    fake.server.shutdown()
