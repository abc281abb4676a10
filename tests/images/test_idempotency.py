"""Requests for pictures with an Idempotency-Key: the same key again draws and charges nothing."""

from datetime import timedelta
from typing import Any

import httpx
from django.utils import timezone

from aichat.core.money import CREDIT
from aichat.images.models import ImageJob
from tests.conftest import Actor
from tests.images.conftest import FakeUpstream
from tests.images.test_images import BLOCKED, URL


def keyed(http: httpx.Client, actor: Actor, **fields: Any) -> httpx.Response:
    headers = {**actor.headers, "Idempotency-Key": "once"}
    return http.post(URL, json={"prompt": "a cat", **fields}, headers=headers)


def test_the_same_key_again_shows_the_same_picture_and_costs_nothing(http: httpx.Client, alice: Actor) -> None:
    first, again = keyed(http, alice), keyed(http, alice)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert keyed(http, alice, prompt="a dog").json()["error"]["code"] == "idempotency_conflict"
    assert alice.wallet.available == 95 * CREDIT


def test_a_background_job_is_queued_once_for_its_key(http: httpx.Client, alice: Actor) -> None:
    first, again = keyed(http, alice, background=True), keyed(http, alice, background=True)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert ImageJob.objects.count() == 1


def test_a_key_whose_job_is_still_running_asks_for_patience(http: httpx.Client, alice: Actor) -> None:
    keyed(http, alice)
    ImageJob.objects.update(status="running", run_after=timezone.now() + timedelta(hours=1))
    again = keyed(http, alice)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "idempotency_in_progress")
    ImageJob.objects.update(status="succeeded")


def test_a_failure_frees_the_key(http: httpx.Client, upstream: FakeUpstream, alice: Actor) -> None:
    upstream.script = [BLOCKED]
    assert keyed(http, alice, model="gpt-image-2").status_code == 400
    assert keyed(http, alice, model="gpt-image-2").status_code == 201
