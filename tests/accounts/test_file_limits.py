"""FILES_PER_USER_MB: how much room a person's files in chats and pictures take altogether."""

from typing import Any

import httpx
import pytest

from accounts import file_limits
from aichat.chat.models import Attachment
from aichat.images.models import ImageJob
from credits.models import Hold
from tests.conftest import Actor

HALF = b"%PDF-1.7 " + b"x" * (file_limits.MB // 2)


@pytest.fixture(autouse=True)
def _one_megabyte(settings: Any) -> None:
    settings.FILES_PER_USER_MB = 1


def send(actor: Actor) -> Any:
    return actor.client.post("/api/v1/attachments?name=a.pdf", HALF, content_type="application/pdf")


def room(actor: Actor) -> Any:
    return actor.get("/api/v1/me/files").json()


def test_a_file_beyond_the_limit_is_refused_until_others_are_deleted(alice: Actor, bob: Actor, settings: Any) -> None:
    assert send(alice).status_code == 201
    refused = send(alice)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (413, "file_limit_exceeded")
    assert (error["limit"], error["used"]) == (file_limits.MB, len(HALF))
    assert "0.5 of 1 MB" in error["message"] and "Delete" in error["message"]
    assert room(alice) == {"used": len(HALF), "limit": file_limits.MB}
    assert send(bob).status_code == 201, "the limit is of each person"
    Attachment.objects.filter(user=alice.user).delete()
    assert send(alice).status_code == 201
    settings.FILES_PER_USER_MB = 0
    assert send(alice).status_code == 201
    assert room(alice) == {"used": 2 * len(HALF), "limit": None}


def test_twins_that_were_both_checked_do_not_both_stay(alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_limits, "check", lambda *args: None)  # each saw only what was there before the other
    assert [send(alice).status_code for _ in range(3)] == [201, 413, 413]
    assert Attachment.objects.filter(user=alice.user).count() == 1


@pytest.mark.django_db(transaction=True)
def test_pictures_count_what_their_files_take_and_before_that_what_they_may_take(
    http: httpx.Client, alice: Actor, settings: Any
) -> None:
    def draw(**more: Any) -> httpx.Response:
        return http.post("/api/v1/images", json={"prompt": "a cat", **more}, headers=alice.headers)

    settings.IMAGE_WORKER_CONCURRENCY = 0
    waiting = draw(background=True)
    assert waiting.status_code == 202
    refused = draw()
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "file_limit_exceeded")
    assert ImageJob.objects.count() == 1 and Hold.objects.filter(state=Hold.State.OPEN).count() == 1
    path = f"/api/v1/images/{waiting.json()['id']}"
    assert http.delete(path, headers=alice.headers).is_success
    assert room(alice)["used"] == 0
    made = draw()
    assert made.status_code == 201
    job = ImageJob.objects.get(pk=made.json()["id"])
    assert room(alice)["used"] == job.files_size and 1000 < (job.files_size or 0) < file_limits.MB
    assert http.delete(f"/api/v1/images/{job.pk}", headers=alice.headers).status_code == 204
    assert room(alice)["used"] == 0
