"""`/api/v1/images` and `/v1/images/generations` over HTTP."""

import asyncio
import base64
import io
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from django.utils import timezone
from PIL import Image

from accounts.services import create_api_key
from aichat.catalog import snapshot
from aichat.core.database import executor
from aichat.core.database.models import uuid7
from aichat.core.money import CREDIT
from aichat.images import claims, completion, jobs, storage
from aichat.images.models import ImageJob, Picture
from aichat.images.worker import ImageWorker
from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry
from tests.conftest import Actor
from tests.images.conftest import PNG, Answer, FakeUpstream
from tests.upstream import unconnected_address

URL = "/api/v1/images"
BLOCKED = (400, {"error": {"code": "moderation_blocked", "message": "no", "type": "image_generation_user_error"}})
DOWN = (503, {"error": {"message": "overloaded"}})


@pytest.fixture
def ask(http: httpx.Client, alice: Actor) -> Callable[..., httpx.Response]:
    def ask(prompt: str = "a cat", **fields: Any) -> httpx.Response:
        return http.post(URL, json={"prompt": prompt, **fields}, headers=alice.headers)

    return ask


def wait_until_over(http: httpx.Client, actor: Actor, location: str) -> dict[str, Any]:
    for _ in range(100):
        job: dict[str, Any] = http.get(location, headers=actor.headers).json()
        if job["status"] not in {"queued", "running"}:
            return job
        time.sleep(0.1)
    raise AssertionError("the job is not over after ten seconds")


def test_a_picture_is_made_at_once_and_paid(
    ask: Callable[..., httpx.Response], http: httpx.Client, alice: Actor
) -> None:
    answer = ask()
    job = answer.json()
    assert (answer.status_code, job["status"], job["credits"], job["model"]) == (201, "succeeded", "5", "demo-image")
    picture = http.get(job["images"][0]["url"])
    assert picture.headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).size == (1024, 1024)
    assert http.get(job["images"][0]["thumbnail_url"]).status_code == 200
    assert alice.wallet.available == 95 * CREDIT
    assert UsageRecord.objects.get().images == 1


@pytest.mark.usefixtures("embedded_worker")
def test_a_background_job_is_done_by_the_server_itself(
    ask: Callable[..., httpx.Response], http: httpx.Client, alice: Actor
) -> None:
    answer = ask(background=True, n=2)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    job = wait_until_over(http, alice, answer.headers["Location"])
    assert (job["status"], len(job["images"]), job["credits"]) == ("succeeded", 2, "10")
    assert alice.wallet.held == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 4001}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 5}, "n"),
        ({"size": "huge"}, "size"),
        ({"size": "333x333"}, "size"),
        ({"model": "demo"}, "model"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_input_names_the_field(ask: Callable[..., httpx.Response], fields: dict[str, Any], param: str) -> None:
    answer = ask(**fields)
    assert answer.status_code in {400, 404}
    assert answer.json()["error"]["param"] == param
    assert Hold.objects.count() == 0


def test_too_few_credits_are_a_402_and_leave_no_job(ask: Callable[..., httpx.Response], alice: Actor) -> None:
    alice.set_credits(4)
    assert ask().status_code == 402
    assert ImageJob.objects.count() == 0


def test_cancelling_a_queued_job_frees_its_credits(
    http: httpx.Client, ask: Callable[..., httpx.Response], alice: Actor
) -> None:
    location = ask(background=True).headers["Location"]
    assert alice.wallet.held == 5 * CREDIT
    assert http.delete(location, headers=alice.headers).status_code == 204
    assert http.get(location, headers=alice.headers).json()["status"] == "cancelled"
    assert alice.wallet.available == 100 * CREDIT


def test_a_running_job_can_neither_be_cancelled_nor_deleted(
    http: httpx.Client, ask: Callable[..., httpx.Response], alice: Actor
) -> None:
    location = ask(background=True).headers["Location"]
    assert len(claims.claim_due(1)) == 1
    assert http.delete(location, headers=alice.headers).status_code == 409
    claims.give_up(ImageJob.objects.get())


def test_the_place_in_the_queue_is_told(http: httpx.Client, ask: Callable[..., httpx.Response], alice: Actor) -> None:
    ask(background=True)
    second = ask(background=True).json()
    assert second["position"] == 1


def test_a_strangers_job_does_not_exist(ask: Callable[..., httpx.Response], http: httpx.Client, charlie: Actor) -> None:
    location = ask().headers["Location"]
    assert http.get(location, headers=charlie.headers).status_code == 404
    assert http.delete(location, headers=charlie.headers).status_code == 404
    assert http.get(f"{location}/events", headers=charlie.headers).status_code == 404
    assert http.get(URL, headers=charlie.headers).json()["results"] == []


def test_a_url_that_was_tampered_with_shows_nothing(ask: Callable[..., httpx.Response], http: httpx.Client) -> None:
    url = ask().json()["images"][0]["url"]
    assert http.get(url[:-2] + "xx").status_code == 404


def test_deleting_a_finished_job_deletes_its_files(
    ask: Callable[..., httpx.Response], http: httpx.Client, alice: Actor, settings: Any
) -> None:
    answer = ask()
    url = answer.json()["images"][0]["url"]
    assert http.delete(answer.headers["Location"], headers=alice.headers).status_code == 204
    assert http.get(url).status_code == 404
    assert [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()] == []
    assert LedgerEntry.objects.filter(kind="CHARGE").count() == 1  # the money's history stays


@pytest.mark.usefixtures("embedded_worker")
def test_the_events_end_with_the_final_status(
    ask: Callable[..., httpx.Response], http: httpx.Client, alice: Actor
) -> None:
    location = ask(background=True).headers["Location"]
    events = http.get(f"{location}/events", headers=alice.headers)
    assert events.headers["Content-Type"].startswith("text/event-stream")
    assert '"status":"succeeded"' in events.text.split("event: status")[-1]


# --- Providers --------------------------------------------------------------------------------------------------------


def test_gemini_comes_first_and_its_image_tokens_are_billed(
    ask: Callable[..., httpx.Response], upstream: FakeUpstream
) -> None:
    job = ask(n=2).json()
    assert (job["provider"], len(job["images"])) == ("gemini", 2)
    record = UsageRecord.objects.get()
    assert (record.input_tokens, record.output_tokens, record.images) == (20, 2240, 2)
    # 0.50 USD a million input tokens, 60 USD a million image tokens
    assert record.charged == 20 * 500 + 2240 * 60_000
    assert upstream.requests[0]["headers"]["x-request-id"] == job["request_id"]


def test_when_gemini_is_down_openai_draws(ask: Callable[..., httpx.Response], upstream: FakeUpstream) -> None:
    upstream.script = [DOWN]
    job = ask().json()
    assert (job["provider"], job["status"]) == ("openai", "succeeded")
    assert list(UsageRecord.objects.order_by("id").values_list("provider", "status", "final", "fallback")) == [
        ("gemini", "overloaded", False, False),
        ("openai", "ok", True, True),
    ]


def test_a_fallback_keeps_to_the_models_of_the_key(
    ask: Callable[..., httpx.Response], http: httpx.Client, alice: Actor, upstream: FakeUpstream
) -> None:
    drawn_by = ask().json()["model"]
    _, key = create_api_key(
        user=alice.user, organization=alice.organization, name="one model", allowed_models=[drawn_by]
    )
    upstream.script = [DOWN]
    upstream.requests.clear()
    refused = http.post(URL, json={"prompt": "a cat"}, headers={"Authorization": f"Bearer {key}"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "provider_unavailable")
    assert len(upstream.requests) == 1, "nobody else was asked"


def test_a_model_that_keeps_failing_is_left_alone(
    ask: Callable[..., httpx.Response], upstream: FakeUpstream, settings: Any
) -> None:
    settings.BREAKER_FAILURES = 1
    upstream.script = [DOWN]
    ask()
    upstream.requests.clear()
    assert ask().json()["provider"] == "openai"
    assert ["generateContent" in request["path"] for request in upstream.requests] == [False]
    assert UsageRecord.objects.order_by("-id")[0].fallback


def test_a_provider_that_never_answers_is_told_from_one_that_takes_no_connection(
    ask: Callable[..., httpx.Response], upstream: FakeUpstream, settings: Any
) -> None:
    settings.IMAGE_ATTEMPT_TIMEOUT, settings.CHAT_CONNECT_TIMEOUT = 0.5, 0.1

    def too_late() -> Answer:
        time.sleep(1)
        return DOWN

    upstream.script = [too_late]
    assert ask().json()["provider"] == "openai"
    with unconnected_address() as address:
        settings.GEMINI_BASE_URL = address
        snapshot.forget()
        assert ask().json()["provider"] == "openai"
    failed = UsageRecord.objects.filter(provider="gemini").order_by("id")
    assert list(failed.values_list("status", flat=True)) == ["timeout_attempt", "timeout_connect"]


def test_a_refused_prompt_costs_nothing(
    ask: Callable[..., httpx.Response], upstream: FakeUpstream, alice: Actor
) -> None:
    upstream.script = [BLOCKED]
    answer = ask(model="gpt-image-2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_blocked")
    assert alice.wallet.available == 10_000 * CREDIT
    assert ImageJob.objects.get().error_code == "content_blocked"


def test_what_is_no_image_is_never_stored(
    ask: Callable[..., httpx.Response], upstream: FakeUpstream, alice: Actor
) -> None:
    upstream.png = b"<svg onload=alert(1)>"
    answer = ask(model="gpt-image-2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_error")
    assert Picture.objects.count() == 0
    assert alice.wallet.available == 10_000 * CREDIT


def test_metadata_of_the_original_is_gone(
    ask: Callable[..., httpx.Response], upstream: FakeUpstream, http: httpx.Client, alice: Actor
) -> None:
    from PIL.PngImagePlugin import PngInfo

    notes, file = PngInfo(), io.BytesIO()
    notes.add_text("Secret", "workflow")
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=notes)
    upstream.png = file.getvalue()
    url = ask(model="gpt-image-2").json()["images"][0]["url"]
    assert b"workflow" not in http.get(url).content


@pytest.mark.usefixtures("embedded_worker")
def test_a_background_job_tries_again_later(
    ask: Callable[..., httpx.Response], upstream: FakeUpstream, http: httpx.Client, alice: Actor, settings: Any
) -> None:
    settings.IMAGE_BACKOFF_SECONDS = 0.05
    upstream.script = [DOWN]
    job = wait_until_over(http, alice, ask(model="gpt-image-2", background=True).headers["Location"])
    assert job["status"] == "succeeded"
    assert ImageJob.objects.get().attempts == 2
    assert UsageRecord.objects.filter(final=True).count() == 1


@pytest.mark.usefixtures("embedded_worker")
def test_a_background_job_gives_up_in_the_end(
    ask: Callable[..., httpx.Response], upstream: FakeUpstream, http: httpx.Client, alice: Actor, settings: Any
) -> None:
    settings.IMAGE_BACKOFF_SECONDS = 0.05
    upstream.script = [DOWN] * 3
    job = wait_until_over(http, alice, ask(model="gpt-image-2", background=True).headers["Location"])
    assert (job["status"], job["error"]["code"]) == ("failed", "provider_unavailable")
    assert alice.wallet.available == 10_000 * CREDIT


def test_the_official_client_makes_images(server: str, alice: Actor) -> None:
    client = openai.OpenAI(base_url=f"{server}/v1", api_key=alice.key, max_retries=0)
    encoded = client.images.generate(model="auto", prompt="a cat").data
    assert encoded and encoded[0].b64_json
    assert Image.open(io.BytesIO(base64.b64decode(encoded[0].b64_json))).size == (1024, 1024)
    linked = client.images.generate(model="demo-image", prompt="a cat", response_format="url", size="1024x1536").data
    assert linked and linked[0].url and httpx.get(linked[0].url).status_code == 200


# --- Crashes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def queued(alice: Actor, transactional_db: None, catalog: None) -> ImageJob:
    from accounts.authentication import Caller
    from accounts.models import AccessToken

    token = AccessToken.objects.get(user=alice.user, kind="API_KEY")
    caller = Caller(alice.user, alice.organization, token)
    return jobs.enqueue(caller, prompt="a cat", model="auto", size="1024x1024", n=1, background=True, amount=5 * CREDIT)


def work_once() -> None:
    async def work() -> None:
        worker = ImageWorker(2)
        running = asyncio.ensure_future(worker.run())
        await asyncio.sleep(0.3)
        worker.stop()
        await running

    asyncio.run(work())
    executor.close()


def test_two_workers_never_take_the_same_job(queued: ImageJob) -> None:
    twin = ImageJob.objects.get()
    assert claims.take(queued)
    assert not claims.take(twin)


def test_a_dead_workers_job_is_taken_up_when_its_lease_ends(queued: ImageJob, alice: Actor) -> None:
    claims.take(queued)  # and then the worker dies
    assert claims.claim_due(5) == []
    ImageJob.objects.update(run_after=timezone.now())
    work_once()
    job = ImageJob.objects.get()
    assert (job.status, job.attempts) == ("succeeded", 2)
    assert alice.wallet.balance == 95 * CREDIT
    assert alice.wallet.held == 0


@pytest.mark.parametrize("attempts", [1, 3])
def test_what_a_worker_stored_before_it_died_goes_when_the_job_ends(
    queued: ImageJob, settings: Any, attempts: int
) -> None:
    claims.take(queued)
    storage.store(queued.pk, uuid7(), storage.verify(PNG))  # and then the worker dies
    ImageJob.objects.update(run_after=timezone.now(), attempts=attempts)
    work_once()
    kept = {name for picture in Picture.objects.all() for name in (picture.file, picture.thumbnail)}
    stored = {file.relative_to(settings.MEDIA_ROOT).as_posix() for file in Path(settings.MEDIA_ROOT).rglob("*.png")}
    assert (ImageJob.objects.get().status, len(kept)) == (("succeeded", 2) if attempts == 1 else ("failed", 0))
    assert stored == kept


def test_who_lost_the_lease_can_neither_charge_nor_store(queued: ImageJob, settings: Any, alice: Actor) -> None:
    claims.take(queued)
    ImageJob.objects.update(run_after=timezone.now())
    work_once()  # another worker does it
    assert not claims.heartbeat(queued)
    from aichat.core.errors import ApiError

    assert not completion.fail(queued, ApiError())
    assert ImageJob.objects.get().status == "succeeded"
    assert alice.wallet.balance == 95 * CREDIT


def test_a_job_whose_workers_keep_dying_fails_and_frees_its_credits(queued: ImageJob, alice: Actor) -> None:
    ImageJob.objects.update(attempts=3)
    assert claims.claim_due(5) == []
    assert ImageJob.objects.get().status == "failed"
    assert alice.wallet.available == 100 * CREDIT


def test_queued_jobs_keep_their_holds_however_many_they_are(
    queued: ImageJob, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "AT_ONCE", 1)
    alice.post("/api/v1/images", {"prompt": "another", "background": True})
    Hold.objects.update(expires_at=timezone.now() + timedelta(seconds=5))
    for _ in range(2):
        claims.keep_holds_of_queue()
    assert Hold.objects.filter(expires_at__gt=timezone.now() + timedelta(seconds=600)).count() == 2
