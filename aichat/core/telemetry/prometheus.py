"""The counters that `/metrics` shows, summed over all workers.

Under gunicorn each worker writes its values into files of its own in PROMETHEUS_MULTIPROC_DIR (which `gunicorn.conf.py`
makes), and the worker that is asked adds up all files. Counting takes a few microseconds.
"""

import os
import shutil
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from aichat.core.background import batch_queue
from aichat.core.money import CREDIT
from aichat.core.telemetry import gen_ai, measurements
from aichat.core.telemetry.measurements import AttemptEnded, Measurement, RequestEnded

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


def _named(name: str, unit: str = "") -> str:
    """A name of OpenTelemetry's as Prometheus writes it."""
    return "_".join(filter(None, (name.replace(".", "_"), unit)))


_requests = Counter("aichat_http_requests", "HTTP requests by route.", ["route", "method", "status"])
_durations = Histogram("aichat_http_request_seconds", "To the last byte.", ["route", "method"], buckets=SECONDS)
_attempts = Counter(
    "aichat_generations", "Attempts at a chat or an image, by how they ended.", ["kind", "provider", "model", "outcome"]
)
_seconds = Histogram(
    _named(gen_ai.DURATION, "seconds"), "One attempt, to its end.",
    [*map(_named, (gen_ai.OPERATION, gen_ai.PROVIDER, gen_ai.MODEL, gen_ai.ERROR))], buckets=gen_ai.SECOND_BUCKETS,
)  # fmt: skip
_first_chunk_seconds = Histogram(
    _named(gen_ai.FIRST_CHUNK, "seconds"), "From an attempt's begin to the first piece of its answer.",
    [*map(_named, (gen_ai.OPERATION, gen_ai.PROVIDER, gen_ai.MODEL))], buckets=gen_ai.SECOND_BUCKETS,
)  # fmt: skip
_token_usage = Histogram(
    _named(gen_ai.TOKENS), "Tokens of one attempt.",
    [*map(_named, (gen_ai.OPERATION, gen_ai.PROVIDER, gen_ai.MODEL, gen_ai.TOKEN_TYPE))], buckets=gen_ai.TOKEN_BUCKETS,
)  # fmt: skip
_sources = Counter(
    "aichat_usage", "Attempts by whose figures their bill has: EXACT, ESTIMATED or IMPLAUSIBLE (alert on it).",
    ["provider", "model", "source"],
)  # fmt: skip
_tokens = Counter("aichat_tokens", "Tokens that providers bill.", ["provider", "model", "direction"])
_images = Counter("aichat_images", "Pictures that were delivered.", ["provider", "model"])
_charged = Counter("aichat_credits_charged", "Credits that were charged.", ["kind", "provider", "model"])
_batches = Histogram(
    "aichat_commit_batch_size", "Reservations or settlements in one transaction.", ["lane"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)  # fmt: skip
_commit_waits = Histogram(
    "aichat_commit_wait_seconds", "How long the oldest of a batch had waited.", ["lane"], buckets=SECONDS
)
_dropped = Counter("aichat_queue_dropped", "What background queues gave up: analytics, StatsD, Sentry …", ["queue"])
open_streams = Gauge("aichat_open_streams", "Event streams being written.", multiprocess_mode="livesum")

_lookups = Counter(
    "aichat_prompt_cache_requests", "Chats: hit, coalesced (a hit it waited for), miss, bypass.", ["result"]
)
stored = Counter("aichat_prompt_cache_stored", "Answers stored.")
stored_bytes = Counter("aichat_prompt_cache_stored_bytes", "Their bytes.")
_saved_credits = Counter("aichat_prompt_cache_saved_credits", "Credits hits did not cost their users.")
_saved_usd = Counter("aichat_prompt_cache_saved_usd", "US dollars no provider was paid for hits.")


@lru_cache(maxsize=4096)
def _with(metric: Any, *labels: str) -> Any:
    """A metric's series with these labels, cached: the library's own look-up takes longer than counting."""
    return metric.labels(*labels)


def count(item: Measurement) -> None:
    """Count one measurement. A hit of the prompt cache used no provider's tokens."""
    match item:
        case RequestEnded(method=method, route=route, status=status, seconds=seconds):
            _with(_requests, route or "none", method, str(status)).inc()
            _with(_durations, route or "none", method).observe(seconds)
        case AttemptEnded(kind=kind, provider=provider, model=model):
            _with(_attempts, kind, provider, model, "cache_hit" if item.cached else str(item.outcome)).inc()
            if item.charged:
                _with(_charged, kind, provider, model).inc(item.charged / CREDIT)
            if item.images:
                _with(_images, provider, model).inc(item.images)
            if not item.cached:
                names = gen_ai.names(kind, provider, model)
                _with(_seconds, *names, gen_ai.error_type(item.outcome)).observe(item.seconds)
                if item.first_token_seconds is not None:
                    _with(_first_chunk_seconds, *names).observe(item.first_token_seconds)
                _with(_sources, provider, model, str(item.source)).inc()
                for type_, amount in (("input", item.input_tokens), ("output", item.output_tokens)):
                    _with(_tokens, provider, model, type_).inc(amount)
                    if amount:
                        _with(_token_usage, *names, type_).observe(amount)


def start() -> None:
    """Count every measurement from now on; called once at start (`AppConfig.ready`)."""
    measurements.register(count)
    batch_queue.on_drop(lambda queue, items: _with(_dropped, queue).inc(items))


def batch(lane: str, size: int, waited: float) -> None:
    """Count one batch of group commit; its oldest unit had `waited` so many seconds."""
    _with(_batches, lane).observe(size)
    _with(_commit_waits, lane).observe(waited)


def prompt_cache(result: str) -> None:
    """Count one look into the prompt cache: `hit`, `coalesced`, `miss` or `bypass`."""
    _with(_lookups, result).inc()


def saved(microcredits: int, nanousd: int) -> None:
    """Count what one hit of the prompt cache spared the user (microcredits) and the operator (billionths of a US dollar)."""
    _saved_credits.inc(microcredits / CREDIT)
    _saved_usd.inc(nanousd / 10**9)


class Collector(Protocol):
    """A source of metrics whose values are computed when `/metrics` is read."""

    def collect(self) -> Iterable[Metric]: ...


def exposition(*momentary: Collector) -> bytes:
    """All counters of all workers and the metrics of the `momentary` collectors, in Prometheus's text format."""
    others = CollectorRegistry()
    for collector in momentary:
        others.register(collector)
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY) + generate_latest(others)
    MultiProcessCollector(others)  # type: ignore[no-untyped-call]
    try:
        return generate_latest(others)
    except FileNotFoundError:  # a worker was buried between the look into the directory and the reading
        return generate_latest(others)


def bury(pid: int) -> None:
    """Close the gauges of a worker that ended, and add its counters to the common files of all ended workers.

    The ended workers share two files instead of having some each: workers that keep being killed must not make each reading
    of `/metrics` slower. gunicorn's master, the one process that sees workers end, calls this.
    """
    mark_process_dead(pid)  # type: ignore[no-untyped-call]
    directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    for kind in ("counter", "histogram"):
        counted, gone, new = (directory / name for name in (f"{kind}_{pid}.db", f"{kind}_gone.db", f"{kind}_gone.new"))
        if not counted.exists():
            continue
        if gone.exists():
            shutil.copyfile(gone, new)
        sums = MmapedDict(str(new))  # type: ignore[no-untyped-call]
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(counted)):  # type: ignore[no-untyped-call]
            sums.write_value(key, sums.read_value(key)[0] + value, timestamp)  # type: ignore[no-untyped-call]
        sums.close()  # type: ignore[no-untyped-call]
        counted.unlink()
        new.replace(gone)
