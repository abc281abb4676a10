"""Sends three metrics of attempts to OpenTelemetry (OTEL_EXPORTER_OTLP_ENDPOINT) by the official SDK.

Measurements are the source, as for Prometheus and StatsD. The SDK sums them up in each process and sends the sums every
minute (OTEL_METRIC_EXPORT_INTERVAL), from a thread that starts with the first measurement, so after any fork.
"""

import asyncio
import atexit
import logging
import threading
from typing import TYPE_CHECKING

from django.conf import settings

from aichat.core.background import lifecycle
from aichat.core.telemetry import gen_ai, measurements
from aichat.core.telemetry.measurements import AttemptEnded, Measurement
from aichat.core.telemetry.spans import CLOSING_SECONDS, SERVICE, resource

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram
    from opentelemetry.sdk.metrics import MeterProvider

logger = logging.getLogger(__name__)


class Recorder:
    """The histograms of a process; the SDK's provider, with its thread, is made for the first measurement."""

    def __init__(self) -> None:
        self.provider: MeterProvider | None = None
        self.histograms: dict[str, Histogram] = {}
        self.is_broken = False
        self._making = threading.Lock()

    def note(self, item: Measurement) -> None:
        """Record an attempt; a hit of the prompt cache asked no provider. A listener of measurements."""
        if not isinstance(item, AttemptEnded) or item.cached or self.is_broken:
            return
        if not self.histograms:
            with self._making:
                if not self.histograms:
                    self._make()
        operation, provider, model = gen_ai.names(item.kind, item.provider, item.model)
        names = {gen_ai.OPERATION: operation, gen_ai.PROVIDER: provider, gen_ai.MODEL: model}
        problem = gen_ai.error_type(item.outcome)
        self.histograms[gen_ai.DURATION].record(item.seconds, {**names, gen_ai.ERROR: problem} if problem else names)
        if item.first_token_seconds is not None:
            self.histograms[gen_ai.FIRST_CHUNK].record(item.first_token_seconds, names)
        for kind, count in (("input", item.input_tokens), ("output", item.output_tokens)):
            if count:
                self.histograms[gen_ai.TOKENS].record(count, {**names, gen_ai.TOKEN_TYPE: kind})

    def _make(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        try:
            reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=endpoint()))
            self.provider = MeterProvider([reader], resource=resource(), shutdown_on_exit=False)
        except Exception:  # a wrong variable of the SDK; the measurements' own handler logs it
            self.is_broken = True
            raise
        meter = self.provider.get_meter(SERVICE, settings.RELEASE)
        self.histograms = {
            name: meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=buckets)
            for name, unit, text, buckets in (
                (gen_ai.DURATION, "s", "GenAI operation duration.", gen_ai.SECOND_BUCKETS),
                (gen_ai.FIRST_CHUNK, "s", "Time to receive the first chunk.", gen_ai.SECOND_BUCKETS),
                (gen_ai.TOKENS, "{token}", "Number of input and output tokens used.", gen_ai.TOKEN_BUCKETS),
            )
        }

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Send the last sums, for at most `seconds`."""
        if self.provider is not None:
            sending = threading.Thread(target=self.provider.shutdown, daemon=True)
            sending.start()
            sending.join(seconds)
            self.provider = None


def endpoint() -> str:
    """The address to which metrics are sent; empty: none are sent."""
    base: str = settings.OTEL_EXPORTER_OTLP_ENDPOINT
    own: str = settings.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT
    found = own or (f"{base}/v1/metrics" if base else "")
    return found if settings.OTEL_METRICS_EXPORTER == "otlp" else ""


def start() -> Recorder | None:
    """Record every measurement from now on, when a setting says where metrics go; called once at start."""
    if not endpoint():
        return None
    try:
        import opentelemetry.exporter.otlp.proto.http.metric_exporter  # noqa: F401
    except ImportError:
        return None  # the system check aichat.E042 says the mend
    recorder = Recorder()
    measurements.register(recorder.note)
    atexit.register(recorder.close)

    @lifecycle.on_shutdown
    async def close() -> None:
        await asyncio.to_thread(recorder.close)

    return recorder
