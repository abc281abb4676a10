"""What `/metrics` counts, over all workers: a leaf, so that every part may count.

Under gunicorn each worker writes its values into files of its own in PROMETHEUS_MULTIPROC_DIR (`gunicorn.conf.py` makes
it), which whichever worker is asked adds up. A count is a few microseconds.
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

from aichat.core.money import CREDIT
from aichat.core.telemetry import measurements
from aichat.core.telemetry.measurements import AttemptEnded, Measurement, RequestEnded

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

_requests = Counter("aichat_http_requests", "HTTP requests by route.", ["route", "method", "status"])
_durations = Histogram("aichat_http_request_seconds", "To the last byte.", ["route", "method"], buckets=SECONDS)
_attempts = Counter(
    "aichat_generations", "Attempts at a chat or an image, by how they ended.", ["kind", "provider", "model", "outcome"]
)
_tokens = Counter("aichat_tokens", "Tokens that providers bill.", ["provider", "model", "direction"])
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
    """The one of a metric's series with these labels: looking it up in the library takes longer than counting."""
    return metric.labels(*labels)


def hear(item: Measurement) -> None:
    """Count what was measured. A hit of the prompt cache used no provider's tokens."""
    match item:
        case RequestEnded(method=method, route=route, status=status, seconds=seconds):
            _with(_requests, route or "none", method, str(status)).inc()
            _with(_durations, route or "none", method).observe(seconds)
        case AttemptEnded(kind=kind, provider=provider, model=model):
            _with(_attempts, kind, provider, model, "cache_hit" if item.cached else str(item.outcome)).inc()
            if not item.cached:
                _with(_tokens, provider, model, "input").inc(item.input_tokens)
                _with(_tokens, provider, model, "output").inc(item.output_tokens)


def start() -> None:
    """At the start of the process (`AppConfig.ready`)."""
    measurements.register(hear)


def prompt_cache(result: str) -> None:
    _with(_lookups, result).inc()


def saved(microcredits: int, nanousd: int) -> None:
    """What one hit of the prompt cache spared its user and us."""
    _saved_credits.inc(microcredits / CREDIT)
    _saved_usd.inc(nanousd / 10**9)


class Collector(Protocol):
    """Says what is known at the time of asking."""

    def collect(self) -> Iterable[Metric]: ...


def exposition(*momentary: Collector) -> bytes:
    """Everything in Prometheus's text format, with what `momentary` collectors say besides."""
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
    """What a worker that is gone had open is not open any more; what it counted goes to what all of those have counted.

    Two files for all of them, instead of some for each: workers that keep being killed must not make each reading slower.
    Called by the one process that sees them go.
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
