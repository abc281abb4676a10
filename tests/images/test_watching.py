"""Watches of image jobs over HTTP: counted, polled together, and ended with a last event."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from accounts import services
from aichat.api import open_streams
from aichat.images import watching
from aichat.images.models import ImageJob
from tests.conftest import Actor
from tests.generation.charging.test_bill import eventually

EVENT = "event: "


@pytest.fixture
def job(http: httpx.Client, alice: Actor) -> str:
    """The address of a queued job, which nobody works on."""
    answer = http.post("/api/v1/images", json={"prompt": "a cat", "background": True}, headers=alice.headers)
    return str(answer.headers["Location"])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    settings.IMAGE_WORKER_CONCURRENCY = 0
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(open_streams, "CHECK_SECONDS", 0.2)
    yield
    eventually(lambda: not watching._watches)  # who leaves is forgotten


def watch_and(http: httpx.Client, actor: Actor, job: str, act: Callable[[], Any]) -> str:
    """Watch a job, `act` after the first event, and return the last event."""
    text = ""
    with http.stream("GET", f"{job}/events", headers=actor.headers) as response:
        assert response.status_code == 200
        for part in response.iter_text():
            if not text:
                act()
            text += part
    return text.rpartition(EVENT)[2]


def test_watches_count_as_streams_and_give_their_places_back(
    http: httpx.Client, alice: Actor, job: str, settings: Any
) -> None:
    settings.STREAMS_PER_USER = 2

    def another() -> int:
        with http.stream("GET", f"{job}/events", headers=alice.headers) as response:
            return response.status_code

    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(http.stream("GET", f"{job}/events", headers=alice.headers))
        refused = http.get(f"{job}/events", headers=alice.headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert "STREAMS_PER_USER" in refused.json()["error"]["message"]
    eventually(lambda: another() == 200)


def test_the_watch_of_a_deleted_job_ends_with_a_last_event(http: httpx.Client, alice: Actor, job: str) -> None:
    last = watch_and(http, alice, job, ImageJob.objects.all().delete)
    assert last.startswith("deleted\n")
    assert '"status":"deleted"' in last


def test_the_watch_of_a_cancelled_job_ends_with_its_status(http: httpx.Client, alice: Actor, job: str) -> None:
    last = watch_and(http, alice, job, lambda: httpx.delete(str(http.base_url.join(job)), headers=alice.headers))
    assert last.startswith("status\n")
    assert '"status":"cancelled"' in last


def test_the_watch_of_a_deactivated_user_ends_with_an_error(http: httpx.Client, alice: Actor, job: str) -> None:
    last = watch_and(http, alice, job, lambda: services.change_user(alice.user, is_active=False))
    assert last.startswith("error\n")
    assert "deactivated" in last


def test_one_poll_reads_all_watched_jobs_in_three_statements(
    http: httpx.Client, alice: Actor, job: str, django_assert_num_queries: Any
) -> None:
    for _ in range(3):
        http.post("/api/v1/images", json={"prompt": "a dog", "background": True}, headers=alice.headers)
    ids = list(ImageJob.objects.order_by("run_after").values_list("pk", flat=True))
    with django_assert_num_queries(3):
        found = watching.look_at(ids)
    assert [found[one].position for one in ids] == [0, 1, 2, 3]
    assert found[ids[2]].position == ImageJob.objects.get(pk=ids[2]).position_in_queue()
