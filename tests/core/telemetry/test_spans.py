"""Spans and metrics that reach a collector over OTLP: what each kind of request makes, and nothing when they are off."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.core.checks import run_checks
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from aichat.core.telemetry import gen_ai, measurements, otlp_metrics, spans
from aichat.images import claims
from aichat.images.models import ImageJob
from aichat.images.worker import run_job
from tests.conftest import Actor
from tests.receiver import HANG, Receiver
from tests.upstream import Reply, Upstream

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
PROMPT = "my darkest prompt"
COMPLETIONS = "/v1/chat/completions"


class Collected:
    """The spans that a collector got, by name; a name of several spans has the last."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    @property
    def all(self) -> list[Span]:
        assert spans._maker is not None and spans._maker.provider is not None
        spans._maker.provider.force_flush()
        return [
            span
            for path, _, body in self.receiver.got
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if path == "/v1/traces"
        ]

    def whole(self, name: str) -> dict[str, Span]:
        """All spans, once the one with this name is there: that of a request ends after its answer."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if spans._maker and spans._maker.provider and name in {span.name for span in self.all}:
                break
            time.sleep(0.01)
        return {span.name: span for span in self.all}


def facts(span: Any) -> dict[str, Any]:
    return {
        item.key: [each.string_value for each in item.value.array_value.values]
        if item.value.HasField("array_value")
        else getattr(item.value, item.value.WhichOneof("value"))
        for item in span.attributes
    }


def above(span: Span, found: dict[str, Span]) -> str:
    """The name of the span's parent."""
    return next((name for name, each in found.items() if each.span_id == span.parent_span_id), "")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(otherwise=200)
    yield receiver
    receiver.close()


@pytest.fixture
def collected(receiver: Receiver, settings: Any) -> Iterator[Collected]:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = receiver.url
    assert spans.start()
    yield Collected(receiver)
    spans.close(1)
    spans.switch_off()


def ask(http: httpx.Client, actor: Actor, **more: Any) -> httpx.Response:
    body = {"model": "auto", "messages": [{"role": "user", "content": PROMPT}], "temperature": 0.5, **more}
    headers = {**actor.headers, "X-Request-ID": "chat-1", "traceparent": TRACEPARENT}
    return http.post(COMPLETIONS, json=body, headers=headers)


CHAT_SPAN = f"POST {COMPLETIONS[1:]}"


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_makes_a_trace_from_the_request_to_the_settlement(
    collected: Collected, upstream: Upstream, http: httpx.Client, alice: Actor, stream: bool
) -> None:
    assert ask(http, alice, stream=stream).status_code == 200
    found = collected.whole(CHAT_SPAN)
    server, generation = found[CHAT_SPAN], found["generation"]
    assert {span.trace_id.hex() for span in found.values()} == {TRACE}
    assert server.parent_span_id.hex() == TRACEPARENT[36:52]
    attempt = next(span for name, span in found.items() if name.startswith("chat "))
    assert above(generation, found) == CHAT_SPAN
    assert [above(span, found) for span in (found["reserve"], attempt, found["settle"])] == ["generation"] * 3
    assert found["reserve"].start_time_unix_nano < attempt.start_time_unix_nano
    assert attempt.end_time_unix_nano <= found["settle"].start_time_unix_nano

    asked = facts(attempt)
    assert (asked["gen_ai.operation.name"], asked["gen_ai.provider.name"]) == ("chat", "gcp.gemini")
    assert asked["gen_ai.usage.input_tokens"] > 0 and asked["gen_ai.usage.output_tokens"] > 0
    assert asked["gen_ai.response.finish_reasons"] == ["stop"]
    assert asked["gen_ai.response.model"] == "m"  # as the provider names it
    assert (asked["gen_ai.request.stream"], asked["gen_ai.request.temperature"]) == (stream, 0.5)
    assert attempt.kind == Span.SpanKind.SPAN_KIND_CLIENT
    assert facts(server)["http.response.status_code"] == 200
    assert facts(server)["user.id"] == str(alice.user.pk)
    assert {facts(span)["aichat.request_id"] for span in (server, generation, attempt)} == {"chat-1"}
    told = upstream.requests[-1].headers["traceparent"]
    assert told == f"00-{TRACE}-{attempt.span_id.hex()}-01"
    assert not any(PROMPT.encode() in body for _, _, body in collected.receiver.got)


def test_each_attempt_of_a_fallback_has_a_span(
    collected: Collected, upstream: Upstream, http: httpx.Client, alice: Actor
) -> None:
    upstream.always("gemini", Reply("refuse", status=500))
    assert ask(http, alice).status_code == 200
    collected.whole(CHAT_SPAN)
    failed, served = sorted(
        (span for span in collected.all if span.name.startswith("chat ")), key=lambda span: span.start_time_unix_nano
    )
    assert failed.status.code == Status.StatusCode.STATUS_CODE_ERROR and facts(failed)["error.type"]
    assert served.status.code != Status.StatusCode.STATUS_CODE_ERROR
    assert (facts(failed)["gen_ai.provider.name"], facts(served)["gen_ai.provider.name"]) == ("gcp.gemini", "openai")
    assert [facts(span)["aichat.attempt"] for span in (failed, served)] == [1, 2]


def test_a_job_in_the_background_belongs_to_its_requests_trace(
    collected: Collected, http: httpx.Client, alice: Actor
) -> None:
    headers = {**alice.headers, "traceparent": TRACEPARENT}
    asked = http.post("/api/v1/images", json={"prompt": PROMPT, "background": True}, headers=headers)
    assert asked.status_code == 202, asked.text
    found = collected.whole("POST api/v1/images")
    job = ImageJob.objects.get()
    assert job.traceparent == f"00-{TRACE}-{found['POST api/v1/images'].span_id.hex()}-01"

    assert claims.take(job)
    asyncio.run(run_job(job))
    found = collected.whole("image job")
    assert above(found["image job"], found) == "POST api/v1/images"
    attempt = next(span for name, span in found.items() if name.startswith("generate_content "))
    assert [above(span, found) for span in (attempt, found["settle"])] == ["image job"] * 2
    assert (facts(attempt)["gen_ai.output.type"], facts(attempt)["aichat.usage.images"]) == ("image", 1)


def test_metrics_of_attempts_reach_the_collector(
    receiver: Receiver, upstream: Upstream, http: httpx.Client, alice: Actor, settings: Any
) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = receiver.url
    recorder = otlp_metrics.start()
    assert recorder is not None
    upstream.plan("gemini", Reply("refuse", status=500))
    try:
        assert ask(http, alice, stream=True).status_code == 200
        deadline = time.monotonic() + 5
        while not recorder.histograms and time.monotonic() < deadline:
            time.sleep(0.01)
        recorder.close()
    finally:
        measurements._listeners.remove(recorder.note)
    [body] = [body for path, _, body in receiver.got if path == "/v1/metrics"]
    [resource] = ExportMetricsServiceRequest.FromString(body).resource_metrics
    [scope] = resource.scope_metrics
    points = {metric.name: metric.histogram.data_points for metric in scope.metrics}
    durations = {facts(point)["gen_ai.provider.name"]: facts(point) for point in points.pop(gen_ai.DURATION)}
    assert set(durations) == {"gcp.gemini", "openai"}
    assert durations["gcp.gemini"]["error.type"] and "error.type" not in durations["openai"]
    assert len(points.pop(gen_ai.FIRST_CHUNK)) == 1
    assert {facts(point)["gen_ai.token.type"] for point in points.pop(gen_ai.TOKENS)} == {"input", "output"}
    assert not points


def test_texts_are_told_where_the_operator_wants_it(
    collected: Collected, http: httpx.Client, alice: Actor, settings: Any
) -> None:
    settings.OTEL_CAPTURE_CONTENT = True
    answer = ask(http, alice, model="demo").json()["choices"][0]["message"]["content"]
    attempt = collected.whole(CHAT_SPAN)["chat demo"]
    assert PROMPT in facts(attempt)["gen_ai.input.messages"]
    assert answer[:20] in facts(attempt)["gen_ai.output.messages"]


def test_a_refusal_names_its_code_and_no_text(collected: Collected, http: httpx.Client, alice: Actor) -> None:
    alice.set_credits(0)
    assert ask(http, alice, model="demo").status_code == 402
    found = collected.whole(CHAT_SPAN)
    assert facts(found["generation"])["error.type"] == "insufficient_credits"
    assert not found["generation"].events


@pytest.mark.parametrize("collector", ["gone", "hanging", "failing"])
def test_a_collector_that_does_not_answer_delays_nothing(
    receiver: Receiver, settings: Any, http: httpx.Client, alice: Actor, collector: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        gone = f"http://127.0.0.1:{free.getsockname()[1]}"
    receiver.otherwise = {"hanging": HANG, "failing": 503}.get(collector, 200)
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = gone if collector == "gone" else receiver.url
    assert spans.start()
    began = time.monotonic()
    assert [ask(http, alice, model="demo").status_code for _ in range(3)] == [200] * 3
    spans.close(0.2)
    assert time.monotonic() - began < 3
    spans.switch_off()


def test_a_wrong_variable_of_the_sdk_fails_no_request(
    receiver: Receiver, settings: Any, http: httpx.Client, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = receiver.url
    assert spans.start()
    assert ask(http, alice, model="demo").status_code == 200
    assert not spans.enabled


def test_a_defect_of_a_span_fails_no_request(
    collected: Collected, http: httpx.Client, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aichat.generation.spans.server", lambda base_url: 1 / 0)
    monkeypatch.setattr("aichat.generation.spans.figures", lambda usage: 1 / 0)
    assert ask(http, alice, model="demo").status_code == 200
    assert "chat demo" not in collected.whole(CHAT_SPAN)


def test_off_makes_no_spans_and_passes_the_clients_header_on(
    upstream: Upstream, http: httpx.Client, alice: Actor, receiver: Receiver
) -> None:
    assert not spans.start()
    assert ask(http, alice).status_code == 200
    assert upstream.requests[-1].headers["traceparent"] == TRACEPARENT
    assert receiver.got == []


def test_monitoring_that_is_off_is_not_imported() -> None:
    code = (
        "import django; django.setup(); import aichat.api.async_views, sys;"
        "sys.exit({'opentelemetry.sdk.trace', 'sentry_sdk'} & sys.modules.keys() != set())"
    )
    off = {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "SENTRY_DSN": "", "DJANGO_SETTINGS_MODULE": "tests.settings"}
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, **off}, timeout=60).returncode == 0


def test_the_missing_package_is_named(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:4318"
    monkeypatch.setattr("aichat.core.config.checks.find_spec", lambda name: None)
    [problem] = [problem for problem in run_checks(tags=["aichat"]) if problem.is_serious()]
    assert problem.id == "aichat.E042" and "`otel`" in str(problem.hint)
