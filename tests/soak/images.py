"""Image jobs while their workers are killed and their provider fails. `make soak` runs it with 200 jobs.

A server, two `run_image_worker` processes, one of which dies by `kill -9` every few seconds and is started again, and a
provider that fails one request in ten. In the end every job is over, each picture is stored once, and the ledger is right.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.engines import end_with_parent
from tests.images.conftest import Answer, FakeUpstream
from tests.service import ROOT, Service, running_service

JOBS = int(os.environ.get("SOAK_JOBS", "200"))
KILL_EVERY = float(os.environ.get("SOAK_KILL_SECONDS", "5"))
SHARE = float(os.environ.get("SOAK_FAULTS", "0.1"))
DRAWING = float(os.environ.get("SOAK_DRAWING_SECONDS", "0.5"))  # how long the provider takes for a picture
PATIENCE = 600.0  # seconds
SEED = int(os.environ.get("SOAK_SEED", "1"))
FAULTS: list[Answer] = [
    (500, {"error": {"message": "down"}}),
    (429, {"error": {"message": "slow down"}}),
    (200, {"created": 1, "data": [{"b64_json": "bm8gcGljdHVyZQ=="}]}),  # no picture
    (400, {"error": {"code": "moderation_blocked", "message": "no"}}),
]


class FailingUpstream(FakeUpstream):
    """Takes its time, and fails at random."""

    chance = random.Random(SEED)

    def picture(self, path: str, body: dict[str, Any]) -> Answer:
        time.sleep(self.chance.uniform(0, 2 * DRAWING))
        if self.chance.random() < SHARE:
            return self.chance.choice(FAULTS)
        return super().picture(path, body)


def start_worker(service: Service) -> "subprocess.Popen[bytes]":
    with service.log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "manage.py", "run_image_worker", "--concurrency", "4"],
            cwd=ROOT,
            env=service.environment,
            stdout=output,
            stderr=output,
            preexec_fn=partial(end_with_parent, signal.SIGTERM),
            start_new_session=True,
        )


def jobs(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    path = "/api/v1/images?page_size=200"
    while path:
        page = client.get(path).raise_for_status().json()
        found += page["results"]
        path = page["next"]
    return found


def is_over(job: dict[str, Any]) -> bool:
    return job["status"] in {"succeeded", "failed", "cancelled"}


def kill_until_over(service: Service, client: httpx.Client) -> int:
    """How many workers it took."""
    workers = [start_worker(service) for _ in range(2)]
    killed, next_kill, until = 0, time.monotonic() + KILL_EVERY, time.monotonic() + PATIENCE
    while not all(map(is_over, jobs(client))):
        assert time.monotonic() < until, Counter(job["status"] for job in jobs(client))
        time.sleep(0.5)
        if time.monotonic() >= next_kill:
            victim = workers.pop(0)
            victim.kill()
            victim.wait()
            workers.append(start_worker(service))
            killed, next_kill = killed + 1, time.monotonic() + KILL_EVERY
    for worker in workers:
        worker.terminate()
        assert worker.wait(timeout=60) in {0, -signal.SIGTERM}  # it may not have got as far as to listen for it
    return killed


def test_every_job_ends_and_each_picture_is_stored_once(tmp_path: Path, capsys: Any) -> None:
    upstream = FailingUpstream()
    upstream.server.handle_error = lambda *args: None  # type: ignore[method-assign]  # its clients are killed
    options = {
        "OPENAI_API_KEY": "test-key",
        "OPENAI_BASE_URL": f"{upstream.url}/v1",
        "MEDIA_ROOT": str(tmp_path),
        "STARTER_CREDITS": "1000000",
        "IMAGE_WORKER_CONCURRENCY": "0",
        "IMAGE_POLL_SECONDS": "0.2",
        "IMAGE_LEASE_SECONDS": "3",
        "IMAGE_BACKOFF_SECONDS": "0.5",
        "IMAGE_ATTEMPTS": "6",
        "BREAKER_COOLDOWN": "1",
        "RATE_LIMIT_ADMIN": "100000/min",
    }
    with running_service(workers=1, **options) as service:
        with httpx.Client(base_url=service.address, headers=service.headers, timeout=60) as client:
            for number in range(JOBS):
                body = {"prompt": f"picture {number}", "n": 1 + number % 2, "background": True}
                answer = client.post("/api/v1/images", json=body)
                assert answer.status_code == 202, answer.text
            started = time.monotonic()
            killed = kill_until_over(service, client)
            took, found = time.monotonic() - started, jobs(client)
            files = [file for file in tmp_path.rglob("*") if file.is_file()]
            pictures = [picture["url"] for job in found for picture in job["images"]]
            shown = [client.get(url).status_code for url in pictures[:: max(1, len(pictures) // 20)]]
        statuses = Counter(job["status"] for job in found)
        with capsys.disabled():
            print(  # noqa: T201
                f"\n{JOBS} jobs in {took:.0f} s, {killed} workers killed, {len(upstream.requests)} requests upstream\n"
                f"  jobs   {dict(statuses)}\n"
                f"  errors {dict(Counter(job['error']['code'] for job in found if job['error']))}\n"
                f"  {len(pictures)} pictures, {len(files)} files"
            )
        assert len(found) == JOBS
        assert set(statuses) <= {"succeeded", "failed"}
        assert set(shown) == {200}
        assert all(
            len(job["images"]) == (1 + int(job["prompt"].split()[1]) % 2)
            for job in found
            if job["status"] == "succeeded"
        )
        assert len(files) == 2 * len(pictures), "each picture is a file and a thumbnail, and nothing else is left"
        assert service.credits()["held"] == "0"
        service.manage("verify_ledger")
