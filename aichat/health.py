"""The views for probes and monitoring: `/healthz`, `/readyz`, `/metrics`."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from hmac import compare_digest
from typing import Any, ClassVar

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from rest_framework.decorators import permission_classes

from accounts.permissions import Public
from aichat import backlog
from aichat.backlog import Backlog
from aichat.catalog import snapshot
from aichat.catalog.snapshot import Catalog
from aichat.core.background.repeating import Repeating
from aichat.core.database import clock, executor
from aichat.core.errors import MethodNotAllowed, PermissionDenied
from aichat.core.redis import health
from aichat.core.telemetry import prometheus as counts
from aichat.core.web.responses import error_response
from aichat.generation import circuit_breaker

logger = logging.getLogger(__name__)
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
PROBE_TIMEOUT = 2.0  # seconds; who probes gives up soon after


Probe = Callable[[HttpRequest], Coroutine[Any, Any, HttpResponse]]


def only_get(view: Probe) -> Probe:
    """Decorate a view so that other methods than GET and HEAD get a 405 in our error shape."""

    @csrf_exempt
    @functools.wraps(view)
    async def guarded(request: HttpRequest) -> HttpResponse:
        if request.method in {"GET", "HEAD"}:
            return await view(request)
        response = error_response(MethodNotAllowed(f"{request.method} is not allowed here."))
        response["Allow"] = "GET, HEAD"
        return response

    return guarded


@permission_classes([Public])  # type: ignore[type-var]  # DRF's stubs don't know coroutines
@only_get
async def home(request: HttpRequest) -> HttpResponseRedirect:
    """Redirect to the admin, for a person who opens the bare address in a browser."""
    return HttpResponseRedirect(reverse("admin:index"))


@permission_classes([Public])  # type: ignore[type-var]  # DRF's stubs don't know coroutines
@only_get
async def healthz(request: HttpRequest) -> JsonResponse:
    """Say that the process answers; the database is not asked."""
    return JsonResponse({"status": "ok"})


@permission_classes([Public])  # type: ignore[type-var]  # DRF's stubs don't know coroutines
@only_get
async def readyz(request: HttpRequest) -> JsonResponse:
    """200 when requests can be served, `degraded` when only the cache is gone; 503 when the database is. Bounded in time.

    `breakers` lists the models that are left alone, and `clock_off_seconds` says by how much this host's clock is ahead of
    the database's (negative: behind); neither is a reason to take the process out of service.
    """
    seconds_ahead, cache_answers = await asyncio.gather(_seconds_ahead(), _answers(asyncio.to_thread(health.ping)))
    database = seconds_ahead is not None
    failing = [name for name, answers in (("database", database), ("cache", cache_answers)) if not answers]
    if seconds_ahead is None:
        return JsonResponse({"status": "unavailable", "failing": failing}, status=503)
    facts: dict[str, Any] = {"status": "degraded" if failing else "ok", "failing": failing}
    if breakers := await executor.run(lambda: circuit_breaker.describe(snapshot.current().values())):
        facts["breakers"] = breakers
    if abs(seconds_ahead) > clock.TOLERANCE:
        facts["clock_off_seconds"] = round(seconds_ahead, 1)
    return JsonResponse(facts)


@permission_classes([Public])  # type: ignore[type-var]  # DRF's stubs don't know coroutines
@only_get
async def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics of all workers, for Prometheus: to METRICS_TOKEN as the bearer, or to a client on this machine."""
    if not may_read_metrics(request):
        return error_response(PermissionDenied("Send METRICS_TOKEN as the bearer token, or ask from this machine."))
    breakers = BreakerMetrics(await snapshot.ready())
    body = await asyncio.to_thread(counts.exposition, breakers, BacklogMetrics(await _backlog()))
    return HttpResponse(body, content_type=counts.CONTENT_TYPE)


def may_read_metrics(request: HttpRequest) -> bool:
    """Whether the request has METRICS_TOKEN, or comes from this machine and not through a proxy on it."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if settings.METRICS_TOKEN and scheme.lower() == "bearer":
        return compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())
    is_passed_on = any(name in request.headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"))
    return request.META.get("REMOTE_ADDR") in LOOPBACK and not is_passed_on


class BreakerMetrics:
    """A gauge of each model's circuit breaker: 0 closed, 1 open, 0.5 half open."""

    VALUES: ClassVar[dict[str, float]] = {
        circuit_breaker.CLOSED: 0,
        circuit_breaker.OPEN: 1,
        circuit_breaker.HALF_OPEN: 0.5,
    }

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def collect(self) -> Iterable[Metric]:
        gauge = GaugeMetricFamily("aichat_breaker_open", "1 open, 0.5 half open.", labels=["provider", "model"])
        for item in circuit_breaker.states(self.catalog.values()):
            gauge.add_metric([item.provider, item.model], self.VALUES[item.state])
        yield gauge


class BacklogMetrics:
    """The gauges of `backlog.py`. Each host reports the same values, so a panel shows the largest, not the sum."""

    def __init__(self, found: Backlog | None) -> None:
        self.found = found

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "aichat_database_up", "0: it did not answer in time.", value=float(self.found is not None)
        )
        for gauge in self.found or ():
            family = GaugeMetricFamily(gauge.name, gauge.meaning, labels=[gauge.label] if gauge.label else [])
            for word, value in gauge.values.items():
                family.add_metric([word] if gauge.label else [], value)
            yield family


async def _backlog() -> Backlog | None:
    """`backlog.read`; None when the database does not answer within PROBE_TIMEOUT."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            return await executor.run(backlog.read)
    except (DatabaseFailure, TimeoutError):
        return None


async def compare_clocks() -> None:
    """Log a warning when this host's clock is off against the database's. A database that is away is told elsewhere."""
    seconds_ahead = await _seconds_ahead()
    if seconds_ahead is not None and abs(seconds_ahead) > clock.TOLERANCE:
        logger.warning(
            "The clock of this host is %.1f seconds %s the database's: set both by NTP. Spending limits go by this host's.",
            abs(seconds_ahead),
            "ahead of" if seconds_ahead > 0 else "behind",
        )


clock_comparison = Repeating(
    "the comparison of clocks", compare_clocks, every=lambda: 600.0, is_wanted=lambda: connection.vendor != "sqlite"
)

shared_clock = Repeating(
    "keeping the database's time",
    lambda: executor.run(clock.keep_compared),
    every=lambda: clock.COMPARED_EVERY,
    is_wanted=lambda: connection.vendor != "sqlite",
)


async def _seconds_ahead() -> float | None:
    """`clock.seconds_ahead`; None when the database does not answer within PROBE_TIMEOUT."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            return await executor.run(clock.seconds_ahead)
    except (DatabaseFailure, TimeoutError):
        return None


async def _answers(probe: Awaitable[bool | None]) -> bool:
    """Whether the probe ends within PROBE_TIMEOUT without an error, and with another result than False."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            return await probe is not False
    except (DatabaseFailure, TimeoutError):
        return False
