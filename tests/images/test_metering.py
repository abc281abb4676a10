"""What pictures cost when a provider delivers fewer of them, or reports little, or nonsense."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from accounts.authentication import Caller
from accounts.models import AccessToken
from aichat.catalog import snapshot
from aichat.core.errors import ApiError
from aichat.core.money import CREDIT
from aichat.images import claims, completion, jobs
from aichat.images.models import ImageJob, WebhookDelivery
from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.images.conftest import PNG, FakeUpstream

MODEL = "gpt-image-2"
GOOD = {"b64_json": base64.b64encode(PNG).decode()}
BAD = {"b64_json": base64.b64encode(b"no picture").decode()}
Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(http: httpx.Client, alice: Actor) -> Ask:
    def ask(**fields: Any) -> httpx.Response:
        return http.post("/api/v1/images", json={"prompt": "a cat", "model": MODEL, **fields}, headers=alice.headers)

    return ask


def usage(output: int) -> dict[str, Any]:
    details = {"text_tokens": 10, "image_tokens": 0}
    return {"input_tokens": 10, "output_tokens": output, "total_tokens": 10 + output, "input_tokens_details": details}


def test_a_picture_whose_usage_is_not_reported_is_estimated_and_paid(ask: Ask, upstream: FakeUpstream) -> None:
    upstream.script = [(200, {"created": 1, "data": [GOOD]})]
    assert ask().status_code == 201
    record = UsageRecord.objects.get()
    assert (record.source, record.images, record.output_tokens) == ("ESTIMATED", 1, 6240)
    assert record.charged > 0


@pytest.mark.parametrize("bad", [BAD, {"b64_json": "!"}])
def test_of_two_pictures_one_of_which_is_none_half_is_paid(ask: Ask, upstream: FakeUpstream, bad: Any) -> None:
    upstream.script = [(200, {"created": 1, "data": [GOOD, bad], "usage": usage(2000)})]
    assert len(ask(n=2).json()["images"]) == 1
    record = UsageRecord.objects.get()
    rates = snapshot.current()[MODEL].rates
    assert rates is not None
    assert (record.input_tokens, record.output_tokens, record.images) == (5, 1000, 1)
    whole = rates.price.input * 10 + rates.price.output * 2000
    assert record.charged == -(-whole // 2 // 10**6)
    assert record.cost_nanousd * 1000 == pytest.approx(rates.cost.input * 10 + rates.cost.output * 2000)  # all of it


@pytest.mark.parametrize("figure", [5_000_000_000, 10**6, -1])
def test_a_figure_that_is_not_believed_never_costs_the_picture(ask: Ask, upstream: FakeUpstream, figure: int) -> None:
    upstream.script = [(200, {"created": 1, "data": [GOOD], "usage": usage(figure)})]
    assert ask().json()["status"] == "succeeded"
    record, job = UsageRecord.objects.get(), ImageJob.objects.get()
    assert record.source == "IMPLAUSIBLE"
    assert record.reported and record.reported["output"] in (figure, str(figure))
    assert 0 < record.charged <= job.hold_amount
    assert record.output_tokens <= 6240


def enqueue(actor: Actor, prompt: str) -> ImageJob:
    token = AccessToken.objects.get(user=actor.user, kind="API_KEY")
    return jobs.enqueue(
        Caller(actor.user, actor.organization, token),
        prompt=prompt,
        model="auto",
        size="1024x1024",
        n=1,
        background=True,
        amount=5 * CREDIT,
        webhook_url="https://example.com/hook",
    )


@pytest.fixture
def queued(alice: Actor, transactional_db: None, catalog: None) -> ImageJob:
    return enqueue(alice, "a cat")


def test_a_job_that_failed_and_is_tried_again_ends_again(queued: ImageJob) -> None:
    assert completion.fail(queued, ApiError())
    WebhookDelivery.objects.update(state=WebhookDelivery.State.DELIVERED, attempts=3)
    queued.refresh_from_db()
    assert jobs.retry(queued)
    again = ImageJob.objects.get()
    assert completion.fail(again, ApiError())
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.attempts) == ("WAITING", 0)


def test_a_job_that_can_not_be_ended_does_not_stop_the_others(
    queued: ImageJob, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(alice, "another")
    ImageJob.objects.filter(pk=queued.pk).update(attempts=3)
    fail = completion.fail

    def defective(job: ImageJob, *args: Any) -> bool:
        if job.pk == queued.pk:
            raise ZeroDivisionError
        return fail(job, *args)

    monkeypatch.setattr(claims, "fail", defective)
    assert [job.prompt for job in claims.claim_due(1)] == []
    assert [job.prompt for job in claims.claim_due(1)] == ["another"]
    monkeypatch.undo()
    ImageJob.objects.filter(pk=queued.pk).update(run_after=queued.run_after)
    claims.claim_due(1)
    queued.refresh_from_db()
    assert (queued.status, queued.error_code) == ("failed", "internal_error")
