"""Experiments as administrators run them: their life, what is refused, and what the results say."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from admin_dashboard.experiments.results import NOT_ENOUGH, results_of
from aichat.catalog.models import AIModel
from aichat.catalog.sync import sync_models
from aichat.chat.models import Conversation, Feedback, Message
from aichat.flags import services
from aichat.flags.models import Experiment
from aichat.usage.models import UsageRecord
from tests.conftest import Actor

PATH = "/api/v1/admin/experiments"
HALVES = [{"name": "control", "weight": 50}, {"name": "short", "weight": 50, "system": "Be brief."}]


@pytest.fixture
def boss(ada: Actor) -> Client:
    """A browser in which Ada is logged in to the admin."""
    browser = Client()
    browser.force_login(ada.user)
    return browser


# --- Its life ---------------------------------------------------------------------------------------------------------


def test_an_experiment_is_drafted_started_ramped_frozen_and_won(ada: Actor, alice: Actor) -> None:
    made = ada.post(PATH, {"key": "prompt", "variants": HALVES, "percentage": 10})
    assert (made.status_code, made.json()["status"]) == (201, "draft")
    assert "prompt" not in alice.get("/api/v1/flags").json()
    one = f"{PATH}/prompt"
    assert ada.patch(one, {"status": "running"}).json()["started_at"]
    assert ada.patch(one, {"percentage": 100}).status_code == 200
    assert alice.get("/api/v1/flags").json()["prompt"]["enabled"]
    assert ada.patch(one, {"status": "frozen"}).json()["ended_at"]
    assert ada.patch(one, {"percentage": 50}).json()["error"]["param"] == "percentage"
    assert ada.patch(one, {"winner": "short"}).json()["error"]["param"] == "winner"
    won = ada.patch(one, {"status": "stopped", "winner": "short"})
    assert won.json()["winner"] == "short"
    history = ada.get(f"{one}/history").json()["results"]
    assert history[0]["changes"] == {"status": ["frozen", "stopped"], "winner": ["", "short"]}
    assert [entry["changes"].get("status") for entry in history[1:4]] == [
        ["running", "frozen"],
        None,
        ["draft", "running"],
    ]
    assert {entry["actor"] for entry in history} == {"ada@example.com"} and history[0]["request_id"]


def test_what_decides_who_gets_what_is_fixed_once_it_runs(ada: Actor) -> None:
    ada.post(PATH, {"key": "prompt", "variants": HALVES, "status": "running"})
    uneven = [{**HALVES[0], "weight": 60}, {**HALVES[1], "weight": 40}]
    for change in ({"variants": uneven}, {"unit": "conversation"}, {"sample_size": 5}, {"roles": ["USER"]}):
        refused = ada.patch(f"{PATH}/prompt", change)
        assert refused.status_code == 400 and refused.json()["error"]["param"] == next(iter(change))
    assert ada.patch(f"{PATH}/prompt", {"status": "draft"}).json()["error"]["param"] == "status"
    assert ada.delete(f"{PATH}/prompt").status_code == 400


def test_only_a_draft_is_deleted(ada: Actor) -> None:
    ada.post(PATH, {"key": "prompt", "variants": HALVES})
    assert ada.delete(f"{PATH}/prompt").status_code == 204
    assert ada.get(f"{PATH}/prompt").status_code == 404


def test_only_admins_run_experiments(alice: Actor, ada: Actor) -> None:
    ada.post(PATH, {"key": "prompt", "variants": HALVES})
    for path in ("", "/prompt", "/prompt/history", "/prompt/results"):
        assert alice.get(PATH + path).status_code == 403
        assert ada.get(PATH + path).status_code == 200
    assert alice.post(PATH, {"key": "mine", "variants": HALVES}).status_code == 403


# --- What is refused --------------------------------------------------------------------------------------------------


def variants(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**variant, **change} for variant, change in zip(HALVES, changes, strict=True)]


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"variants": variants({"weight": 60}, {})}, "variants", "sum to 110"),
        ({"variants": variants({"weight": -50}, {"weight": 150})}, "variants", "weight -50"),
        ({"variants": variants({"weight": "half"}, {})}, "variants", "'half'"),
        ({"variants": HALVES[:1]}, "variants", "at least two"),
        ({"variants": variants({}, {"name": "control"})}, "variants", "two variants 'control'"),
        ({"variants": variants({}, {"name": ""})}, "variants", "no name"),
        ({"variants": "halves"}, "variants", "list of objects"),
        ({"variants": variants({}, {"temperature": 3})}, "variants", "temperature 3"),
        ({"variants": variants({}, {"max_tokens": 0})}, "variants", "max_tokens 0"),
        ({"variants": variants({}, {"top_p": 1})}, "variants", "'top_p'"),
        ({"variants": variants({}, {"model": "gpt-99"})}, "variants", "'gpt-99'"),
        ({"variants": variants({}, {"model": "demo-image"})}, "variants", "can't chat"),
        ({"variants": variants({}, {"model": "demo", "max_tokens": 10**9})}, "variants", "writes at most"),
        ({"requested_models": ["gpt-99"]}, "requested_models", "'gpt-99'"),
        ({"percentage": 101}, "percentage", "100"),
        ({"status": "stopped"}, "status", "After draft comes running"),
        ({"sample_size": 1}, "sample_size", "2"),
        ({"key": "streaming"}, "key", "shared"),
        ({"unit": "planet"}, "unit", "planet"),
    ],
)
def test_a_wrong_experiment_is_a_400_that_names_the_field(
    catalog: None, ada: Actor, body: Any, param: str, says: str
) -> None:
    services.save(services.flag_or_switch("streaming"), actor=None)  # type: ignore[arg-type]
    response = ada.post(PATH, {"key": "prompt", "variants": HALVES, **body})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param), error
    assert says in error["message"]
    assert not Experiment.objects.exists()


def test_a_model_that_is_disabled_can_not_be_started_with_but_can_be_stopped(catalog: None, ada: Actor) -> None:
    ada.post(PATH, {"key": "prompt", "variants": variants({}, {"model": "demo"}), "status": "running"})
    ada.post(PATH, {"key": "later", "variants": variants({}, {"model": "demo"})})
    AIModel.objects.update(enabled=False)
    assert ada.patch(f"{PATH}/prompt", {"status": "stopped"}).status_code == 200
    assert ada.patch(f"{PATH}/later", {"status": "running"}).json()["error"]["param"] == "variants"


def test_two_running_experiments_that_could_meet_are_refused(ada: Actor) -> None:
    ada.post(PATH, {"key": "first", "variants": HALVES, "status": "running", "roles": ["USER"]})
    second = ada.post(PATH, {"key": "second", "variants": HALVES, "status": "running", "percentage": 5})
    assert second.json()["error"]["param"] == "status" and "'first'" in second.json()["error"]["message"]
    assert ada.post(PATH, {"key": "second", "variants": HALVES}).status_code == 201  # a draft meets nobody
    other = ada.post(PATH, {"key": "third", "variants": HALVES, "status": "running", "roles": ["SUBSCRIBER"]})
    assert other.status_code == 201
    assert ada.patch(f"{PATH}/first", {"status": "stopped"}).status_code == 200
    assert ada.patch(f"{PATH}/third", {"status": "stopped"}).status_code == 200
    assert ada.patch(f"{PATH}/second", {"status": "running"}).status_code == 200


# --- Results ----------------------------------------------------------------------------------------------------------

Use = Callable[..., None]


@pytest.fixture
def running(db: None) -> Experiment:
    row = Experiment(key="prompt", status="running", variants=HALVES, sample_size=20)
    services.save(row, actor=None)
    Experiment.objects.update(started_at=timezone.now() - timedelta(days=3))
    row.refresh_from_db()
    return row


@pytest.fixture
def use(alice: Actor) -> Use:
    """Writes a request's usage record, for a unit of its own unless one is given."""

    def record(variant: str, **facts: Any) -> None:
        now = timezone.now()
        defaults = {
            "request_id": str(uuid4()),
            "organization": alice.organization,
            "user": alice.user,
            "experiment": "prompt",
            "unit": uuid4(),
            "model": "demo",
            "provider": "demo",
            "status": "ok",
            "charged": 1_000_000,
            "cost_nanousd": 2_000_000,
            "latency_ms": 100,
            "created_at": now,
            "day": now.date(),
        }
        UsageRecord.objects.create(**{**defaults, "variant": variant, **facts})

    return record


def test_results_add_up_what_became_of_the_requests(running: Experiment, use: Use, ada: Actor) -> None:
    unit = uuid4()
    use("short", unit=unit, latency_ms=100)
    use("short", unit=unit, latency_ms=300, charged=3_000_000, finish_reason="length")
    use("short", unit=unit, status="timeout_attempt", final=False, cost_nanousd=4_000_000, charged=0)
    use("short", unit=unit, fallback=True, latency_ms=500, attempt=2)
    use("short", status="provider_error", charged=0, cost_nanousd=0)
    use("short", status="partial")
    use("short", status="cancelled")
    use("short", experiment="other")
    use("short", created_at=timezone.now() - timedelta(days=5))
    result = ada.get(f"{PATH}/prompt/results").json()
    control, short = result["variants"]
    assert (control["requests"], control["metrics"]["cost_usd"]["value"]) == (0, None)
    assert (short["requests"], short["users"]) == (6, 1)
    assert short["latency_ms"] == {"p50": 300, "p95": 500}
    metrics = {name: metric["value"] for name, metric in short["metrics"].items()}
    assert metrics["credits"] == pytest.approx(7 / 6)
    assert metrics["cost_usd"] == pytest.approx((5 * 0.002 + 0.004) / 6)
    assert metrics["latency_ms"] == pytest.approx(300)
    assert metrics["error_rate"] == pytest.approx(1 / 6)
    assert metrics["fallback_rate"] == pytest.approx(1 / 6)
    assert metrics["cut_off_rate"] == pytest.approx(2 / 6)
    assert sum(day["requests"] for day in result["by_day"]) == 6


def test_there_is_no_verdict_before_the_sample_is_complete(running: Experiment, use: Use, ada: Actor) -> None:
    for number in range(39):
        use("short" if number % 2 else "control", status="ok" if number % 2 else "provider_error")
    result = ada.get(f"{PATH}/prompt/results").json()
    assert not result["enough_data"] and result["verdict"].startswith(NOT_ENOUGH)
    assert result["variants"][1]["metrics"]["error_rate"]["difference"] is None
    use("short")
    result = ada.get(f"{PATH}/prompt/results").json()
    assert result["enough_data"] and "errors of short" in result["verdict"]
    metric = result["variants"][1]["metrics"]["error_rate"]
    assert (metric["difference"], metric["significant"]) == (-1.0, True)
    assert metric["difference_interval"][1] < -0.5


def test_equal_variants_are_not_called_different(running: Experiment, use: Use) -> None:
    for number in range(60):
        use("short" if number % 2 else "control", charged=1_000_000 * (1 + number // 2 % 5))
    assert results_of(running).verdict == "No difference to the control that chance would not explain."


def test_a_broken_split_is_said_before_anything_else(running: Experiment, use: Use, ada: Actor) -> None:
    for number in range(120):
        use("short" if number % 4 == 0 else "control")
    result = ada.get(f"{PATH}/prompt/results").json()
    assert result["sample_ratio"]["mismatch"] and "don't trust" in result["verdict"]


def test_a_frozen_experiments_results_stand_still(running: Experiment, use: Use) -> None:
    use("short")
    running.status = "frozen"
    services.save(running, actor=None)
    use("short", created_at=timezone.now() + timedelta(seconds=1))
    assert results_of(running).variants[1].requests == 1


def test_results_come_as_csv(running: Experiment, use: Use, ada: Actor) -> None:
    use("short")
    answer = ada.get(f"{PATH}/prompt/results?format=csv")
    lines = answer.content.decode().splitlines()
    assert answer["Content-Type"].startswith("text/csv") and len(lines) == 3
    assert dict(zip(lines[0].split(","), lines[2].split(","), strict=True))["credits"] == "1.0"


def test_results_ask_the_database_the_same_few_questions_however_much_there_is(
    running: Experiment, use: Use, django_assert_num_queries: Any
) -> None:
    for number in range(30):
        use("short" if number % 2 else "control", latency_ms=number)
    with django_assert_num_queries(4):
        results_of(running)


# --- Feedback ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def answer(alice: Actor, running: Experiment, use: Use) -> Message:
    conversation = Conversation.objects.create(organization=alice.organization, user=alice.user, title="Soup")
    Message.objects.create(
        conversation=conversation, role="user", content="How long do I cook a soup?", request_id="r1"
    )
    use("short", request_id="r1")
    return Message.objects.create(
        conversation=conversation, role="assistant", content="An hour.", model="demo", request_id="r1"
    )


def rate(who: Actor, message: Message, **body: Any) -> Any:
    return who.post(f"/api/v1/messages/{message.pk}/feedback", body)


def test_an_answer_is_rated_and_rated_again(alice: Actor, answer: Message, ada: Actor) -> None:
    assert rate(alice, answer, rating=-1, comment="Too short").status_code == 201
    again = rate(alice, answer, rating=1)
    assert (again.json()["rating"], again.json()["comment"]) == (1, "")
    assert Feedback.objects.get().variant == "short"
    metrics = ada.get(f"{PATH}/prompt/results").json()["variants"][1]
    assert (metrics["ratings"], metrics["metrics"]["feedback"]["value"]) == (1, 1.0)


def test_a_strangers_answer_and_ones_own_question_can_not_be_rated(
    alice: Actor, charlie: Actor, answer: Message
) -> None:
    assert rate(charlie, answer, rating=1).status_code == 404
    question = Message.objects.get(role="user")
    assert rate(alice, question, rating=1).status_code == 400
    for rating in (0, 2, "good", None):
        assert rate(alice, answer, rating=rating).json()["error"]["param"] == "rating"
    assert not Feedback.objects.exists()


def test_the_message_behind_feedback_is_for_admins_who_may_read_it(boss: Client, alice: Actor, answer: Message) -> None:
    rate(alice, answer, rating=-1, comment="Too short")
    page = f"/admin/chat/feedback/{Feedback.objects.get().pk}/change/"
    assert all(text in boss.get(page).content.decode() for text in ("How long do I cook", "An hour.", "Too short"))
    switch = services.flag_or_switch("message_content")
    assert switch
    switch.users = [str(alice.user.pk)]
    services.save(switch, actor=None)
    page_without = boss.get(page).content.decode()
    assert "disliked" in page_without
    assert not any(text in page_without for text in ("How long do I cook", "An hour.", "Too short"))
    assert boss.get("/admin/chat/conversation/").status_code == 403


# --- The pages of the admin -------------------------------------------------------------------------------------------


def test_the_results_page_shows_the_table_the_chart_and_the_csv(running: Experiment, use: Use, boss: Client) -> None:
    for number in range(60):
        use("short" if number % 2 else "control", status="ok" if number % 2 else "provider_error")
    url = f"/admin/flags/experiment/{running.pk}/results"
    page = boss.get(url, follow=True).content.decode()
    assert "Different from the control: " in page and "-100.0 %" in page and "<svg" in page
    assert "short,50,30" in boss.get(f"{url}?format=csv", follow=True).content.decode()
    assert boss.get("/admin/flags/experiment/").status_code == 200
    assert boss.get(f"/admin/flags/experiment/{running.pk}/change/").status_code == 200


def test_the_admin_switches_a_flag_and_puts_it_on_record(boss: Client, ada: Actor, alice: Actor) -> None:
    form = {
        "key": "greeting",
        "description": "",
        "enabled": "on",
        "users": "alice@example.com",
        "percentage": "",
    }
    assert boss.post("/admin/flags/flag/add/", form).status_code == 302
    assert alice.get("/api/v1/flags").json()["greeting"]["enabled"]
    history = ada.get("/api/v1/admin/flags/greeting/history").json()["results"]
    assert len(history) == 1 and history[0]["changes"]["enabled"] == [None, "True"]
    assert "1 named user" in boss.get("/admin/flags/flag/").content.decode()
    refused = boss.post("/admin/flags/flag/add/", {**form, "key": "other", "percentage": "101"})
    assert "less than or equal to 100" in refused.content.decode()


def test_the_admin_refuses_a_variant_whose_model_does_not_exist(boss: Client) -> None:
    sync_models()
    form = {
        "key": "prompt",
        "status": "draft",
        "unit": "user",
        "sample_size": "100",
        "variants": '[{"name": "a", "weight": 50}, {"name": "b", "weight": 50, "model": "gpt-99"}]',
    }
    page = boss.post("/admin/flags/experiment/add/", form).content.decode()
    assert "there is no enabled model" in page and not Experiment.objects.exists()
    assert (
        boss.post(
            "/admin/flags/experiment/add/", {**form, "variants": form["variants"].replace("gpt-99", "demo")}
        ).status_code
        == 302
    )
