"""What probes and monitoring ask: `/healthz`, `/readyz`, `/metrics`."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from hmac import compare_digest
from typing import Any, ClassVar

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from rest_framework.decorators import permission_classes

from accounts.permissions import Public
from aichat.catalog import snapshot
from aichat.catalog.snapshot import Catalog
from aichat.core.database import executor, transactions
from aichat.core.errors import MethodNotAllowed, PermissionDenied
from aichat.core.redis import health
from aichat.core.telemetry import prometheus as counts
from aichat.core.web.responses import error_response
from aichat.generation import circuit_breaker

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

    `breakers` lists the models that are left alone, which is no reason to take the process out of service.
    """
    database, cache_answers = await asyncio.gather(
        _answers(executor.run(transactions.ping)), _answers(asyncio.to_thread(health.ping))
    )
    failing = [name for name, answers in (("database", database), ("cache", cache_answers)) if not answers]
    if not database:
        return JsonResponse({"status": "unavailable", "failing": failing}, status=503)
    facts: dict[str, Any] = {"status": "degraded" if failing else "ok", "failing": failing}
    if breakers := await executor.run(lambda: circuit_breaker.describe(snapshot.current().values())):
        facts["breakers"] = breakers
    return JsonResponse(facts)


@permission_classes([Public])  # type: ignore[type-var]  # DRF's stubs don't know coroutines
@only_get
async def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics of all workers, for Prometheus: to METRICS_TOKEN as the bearer, or to a client on this machine."""
    if not may_read_metrics(request):
        return error_response(PermissionDenied("Send METRICS_TOKEN as the bearer token, or ask from this machine."))
    body = await asyncio.to_thread(counts.exposition, BreakerMetrics(await snapshot.ready()))
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


async def _answers(probe: Awaitable[bool | None]) -> bool:
    """Whether the probe ends within PROBE_TIMEOUT without an error, and not with False."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            return await probe is not False
    except (DatabaseFailure, TimeoutError):
        return False
