"""Errors that reach Sentry: each once, with its IDs, and without anything that people wrote or keys are made of."""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import sentry_sdk
from django.core.checks import run_checks

from aichat.core.background import lifecycle
from aichat.core.telemetry import measurements, sentry, tracing
from tests.conftest import Actor
from tests.receiver import Receiver

SECRETS = ("sk-live-hunter2", "my darkest prompt", "eve@example.com")
FAILURE = " ".join(SECRETS)


def fail(*args: Any, **kwargs: Any) -> Any:
    prompt = FAILURE
    raise RuntimeError(prompt)


def dsn_of(receiver: Receiver) -> str:
    return f"http://0123456789abcdef@127.0.0.1:{receiver.server.server_address[1]}/7"


def events_of(receiver: Receiver, kind: str = "event") -> list[dict[str, Any]]:
    """The events of a type in the envelopes that arrived: lines of a header, then of an item's header and its payload."""
    found = []
    for path, _, body in receiver.got:
        assert path == "/api/7/envelope/"
        assert not any(secret.encode() in body for secret in SECRETS)
        lines = body.splitlines()
        found += [
            json.loads(payload)
            for head, payload in zip(lines[1::2], lines[2::2], strict=False)
            if json.loads(head).get("type") == kind
        ]
    return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(otherwise=200)
    yield receiver
    receiver.close()


@pytest.fixture
def arrived(receiver: Receiver, settings: Any) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    settings.SENTRY_DSN = dsn_of(receiver)
    hook = sys.excepthook
    handler = sentry.start()
    assert handler is not None

    def read() -> list[dict[str, Any]]:
        sentry_sdk.flush(5)
        return events_of(receiver)

    yield read
    if sentry.note_times in measurements._listeners:
        measurements._listeners.remove(sentry.note_times)
    for name in ("", *sentry.APART):
        logging.getLogger(name).removeHandler(handler)
    sentry_sdk.get_client().close(1)
    sentry_sdk.get_global_scope().set_client(None)
    sys.excepthook = hook


def check(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The one event: an error of `fail` with its place and without its text."""
    [event] = events
    [error] = event["exception"]["values"]
    assert (error["type"], "value" in error) == ("RuntimeError", False)
    frame = error["stacktrace"]["frames"][-1]
    assert (frame["function"], "vars" in frame) == ("fail", False)
    assert (event["release"], event["environment"]) == ("0.1.0", "production")
    assert not {"request", "breadcrumbs", "extra", "server_name"} & event.keys()
    return event


def test_an_error_in_a_chat_arrives_once_with_its_ids(
    arrived: Any, http: httpx.Client, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aichat.generation.pipeline.choose", fail)
    answer = http.post(
        "/v1/chat/completions",
        json={"model": "demo", "messages": [{"role": "user", "content": SECRETS[1]}]},
        headers={"Authorization": f"Bearer {alice.token}", "X-Request-ID": "chat-1"},
    )
    assert answer.status_code == 500, answer.text
    event = check(arrived())
    assert event["tags"]["request_id"] == "chat-1"
    assert event["user"] == {"id": str(alice.user.pk)}
    assert event["tags"]["organization"] == str(alice.organization.pk)


def test_an_error_in_another_view_arrives_once(arrived: Any, alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rest_framework.views.APIView.check_permissions", fail)
    assert alice.get("/api/v1/me?secret=sk-live-hunter2", headers={"X-Request-ID": "me-1"}).status_code == 500
    assert check(arrived())["tags"]["request_id"] == "me-1"


def test_an_error_of_background_work_arrives_once(arrived: Any) -> None:
    async def work() -> None:
        tracing.begin("work-1")
        task = asyncio.ensure_future(asyncio.to_thread(fail))
        await asyncio.wait([task])
        lifecycle._report_defect(task)

    asyncio.run(work())
    assert check(arrived())["tags"]["request_id"] == "work-1"


def test_values_in_a_log_line_stay_in_the_house(arrived: Any) -> None:
    logging.getLogger("aichat.images").error("the job of %s failed", SECRETS[2])
    logging.getLogger("somebody.else").error(f"failed: {SECRETS[0]}")
    ours, other = arrived()
    assert ours["logentry"]["message"] == "the job of %s failed"
    assert "logentry" not in other


def test_the_times_of_sampled_requests_arrive_without_more(
    receiver: Receiver,
    settings: Any,
    http: httpx.Client,
    alice: Actor,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.SENTRY_TRACES_SAMPLE_RATE = 1.0
    monkeypatch.setattr(sentry._times, "every", 0.01)
    arrived = request.getfixturevalue("arrived")
    path = f"/api/v1/me?secret={SECRETS[0]}"
    assert http.get(path, headers={**alice.headers, "X-Request-ID": "me-2"}).status_code == 200
    receiver.wait_for(1)  # the request's end is noted after its answer
    arrived()
    [event] = events_of(receiver, "transaction")
    assert (event["transaction"], event["tags"]["request_id"]) == ("GET api/v1/me", "me-2")
    assert event["timestamp"] > event["start_timestamp"]
    assert event["contexts"]["trace"]["data"] == {"http.response.status_code": 200}
    assert not {"request", "server_name", "extra", "modules"} & event.keys()


def test_an_error_that_ends_a_command_arrives_once(receiver: Receiver) -> None:
    code = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from tests.core.telemetry.test_sentry import fail\n"
        "import django.core.management.commands.check as check\n"
        "check.Command.handle = fail\n"
        "call_command('check')\n"
    )
    environment = {**os.environ, "SENTRY_DSN": dsn_of(receiver), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=60)
    assert ended.returncode == 1
    check(events_of(receiver))


@pytest.mark.parametrize(
    "dsn", ["nonsense", "https://sentry.example/1", "https://key@sentry.example/", "https://key@[/1"]
)
def test_a_dsn_of_no_project_stops_the_start(settings: Any, dsn: str) -> None:
    settings.SENTRY_DSN = dsn
    assert [problem.id for problem in run_checks(tags=["aichat"]) if problem.is_serious()] == ["aichat.E041"]


def test_the_missing_package_is_named(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SENTRY_DSN = "https://key@sentry.example/1"
    monkeypatch.setattr("aichat.core.config.checks.find_spec", lambda name: None)
    [problem] = [problem for problem in run_checks(tags=["aichat"]) if problem.is_serious()]
    assert "`sentry`" in str(problem.hint)


def test_the_release_is_the_packages_version(settings: Any) -> None:
    import tomllib

    with open(settings.BASE_DIR / "pyproject.toml", "rb") as file:
        assert tomllib.load(file)["project"]["version"] == settings.RELEASE
